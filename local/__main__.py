"""`python -m local`."""

import signal
import sys
from pathlib import Path

# Nothing is started yet: until there is something to stop, a Ctrl-C just ends us, without the traceback of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# The commands run the functions' own code, and the dummy Stripe.
sys.path += [str(Path(__file__).parents[1] / "layers" / layer) for layer in ("common", "dummy_stripe")]

from local.cli import main  # noqa: E402 - see above

main()
