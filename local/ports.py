"""Ports of this machine."""

import socket
from itertools import chain


def next_free_port(port: int) -> int:
    """Return the first port after `port` that this user can bind. Ports after the last one begin at 1024."""
    return next(other for other in chain(range(port + 1, 65536), range(1024, port)) if _can_bind(other))


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
