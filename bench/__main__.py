"""`python -m bench`."""

from command_line.project import add_layers_to_path

# The functions' own code and the dummy Stripe are what is measured.
add_layers_to_path()

from bench.cli import main  # noqa: E402 - see above

# Each family is measured in a process of its own, which imports this module anew, by another name.
if __name__ == "__main__":
    main()
