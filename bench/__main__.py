"""`python -m bench`."""

import sys
from pathlib import Path

# The functions' own code and the dummy Stripe are what is measured.
sys.path += [str(Path(__file__).parents[1] / "layers" / layer) for layer in ("common", "dummy_stripe")]

from bench.cli import main

# Each family is measured in a process of its own, which imports this module anew, by another name.
if __name__ == "__main__":
    main()
