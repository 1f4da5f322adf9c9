"""Entry point of `python -m dummy_stripe`: serve the dummy Stripe until Ctrl-C."""

import argparse
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

from dummy_stripe.server import DEFAULT_PORT, Server
from dummy_stripe.stores import StoreUnavailable


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m dummy_stripe", description="Serve a dummy Stripe on the loopback interface until Ctrl-C."
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port (default: %(default)s; 0 selects one)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the state in this file (default: in memory)")
    parser.add_argument("--quiet", action="store_true", help="do not log the calls")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING if options.quiet else logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), _open(options.port, options.state) as server:
        sys.stdout.write(f"The dummy Stripe is at {server.url}. Press Ctrl-C to stop.\n")
        sys.stdout.flush()
        server.serve_forever()


def _open(port: int, state: Path | None) -> Server:
    try:
        return Server(port, state)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on port {port}: {error}. Choose another one with --port.")
    except StoreUnavailable as error:
        sys.exit(f"The state is unavailable: {error}. Choose another file with --state.")


if __name__ == "__main__":
    main()
