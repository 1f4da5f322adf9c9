"""`python -m local`."""

import signal
import sys
from pathlib import Path

# Nothing is started yet: until there is something to stop, a Ctrl-C just ends us, without the traceback of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# The dummy Stripe and the OpenAPI document are made by the functions' own code.
sys.path.append(str(Path(__file__).parents[1] / "layers" / "common"))

from local.cli import main  # noqa: E402 - see above

main()
