"""`python -m local`."""

import signal

# Nothing is started yet: until there is something to stop, a Ctrl-C just ends us, without the traceback of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from local.cli import main  # noqa: E402 - see above

main()
