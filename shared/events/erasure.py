"""The keyed hash by which an erasure names a customer to those who hold the key, and to nobody else."""

import hashlib
import hmac
from uuid import UUID


def customer_hash(secret: str, tenant_id: UUID, customer_code: str) -> bytes:
    """HMAC-SHA-256 (32 bytes) of `<tenant_id>:<customer_code>` in UTF-8; an erasure event carries it in hex.

    The tenant is part of it, so that equal codes of two tenants cannot be linked.
    """
    return hmac.new(secret.encode(), f"{tenant_id}:{customer_code}".encode(), hashlib.sha256).digest()
