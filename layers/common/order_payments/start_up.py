"""The start of a function, made quick. A function imports this before all else, and calls `started` last."""

import gc

# Next to nothing that imports make is garbage, and the search for it takes a tenth of a cold start.
gc.disable()


def started() -> None:
    """Have garbage collected from now on, of what requests leave behind; what is there by now stays."""
    gc.freeze()
    gc.enable()
