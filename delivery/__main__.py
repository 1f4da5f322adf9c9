"""`python -m delivery`."""

from command_line.project import add_layers_to_path

# The documents are generated from the functions' code.
add_layers_to_path()

from delivery.cli import main  # noqa: E402 - see above

main()
