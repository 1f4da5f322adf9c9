"""Idempotency keys. A key belongs to one caller and identifies one request."""

import hashlib


def idempotency_digest(caller_id: str, idempotency_key: str) -> str:
    """Return 32 hexadecimal digits for a caller's key. They become part of the id of the created resource."""
    digest = hashlib.sha256("\0".join((str(len(caller_id)), caller_id, idempotency_key)).encode()).hexdigest()
    return digest[:32]
