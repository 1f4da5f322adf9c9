"""`python -m operations`."""

import signal

from command_line.project import add_layers_to_path

# End on Ctrl-C without a traceback from an import, as long as there is nothing to stop.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# For the functions' own time format.
add_layers_to_path()

from operations.cli import main  # noqa: E402 - see above

main()
