"""Idempotency keys: a key belongs to the caller who chose it, and names one request."""

import hashlib


def idempotency_digest(caller_id: str, idempotency_key: str) -> str:
    """Return 32 hexadecimal digits for a caller's key, from which the id of what the request creates is made."""
    digest = hashlib.sha256("\0".join((str(len(caller_id)), caller_id, idempotency_key)).encode()).hexdigest()
    return digest[:32]
