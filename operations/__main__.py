"""`python -m operations`."""

import signal

from command_line.project import add_layers_to_path

# Nothing is started yet: until there is something to stop, a Ctrl-C just ends us, without the traceback of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# Times are read and written as the functions do.
add_layers_to_path()

from operations.cli import main  # noqa: E402 - see above

main()
