"""`python -m local`."""

import signal

from command_line.project import add_layers_to_path

# Nothing is started yet: until there is something to stop, a Ctrl-C just ends us, without the traceback of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# The commands run the functions' own code, and the dummy Stripe.
add_layers_to_path()

from local.cli import main  # noqa: E402 - see above

main()
