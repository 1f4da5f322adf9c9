"""Entry point of `python -m local`."""

import signal

from command_line.project import add_layers_to_path

# During the imports nothing needs to be stopped: let Ctrl-C end the process without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# The commands import code of the functions and of the dummy Stripe.
add_layers_to_path()

from local.cli import main  # noqa: E402 - needs the path

main()
