"""`python -m bench`."""

from command_line.project import add_layers_to_path

# The benchmarks run the functions' code and the dummy Stripe.
add_layers_to_path()

from bench.cli import main  # noqa: E402 - see above

# Each family is measured in a new process, which imports this module again under another name.
if __name__ == "__main__":
    main()
