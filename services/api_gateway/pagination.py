"""Pages: at most 500 items, and a cursor that says where the next page starts."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from fastapi import Query
from pydantic import BaseModel, Field

from services.api_gateway.errors import Problem

LONGEST_CURSOR = 1000
_CHECK_BYTES = 8
T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=500, description="items per page", examples=[50])]
Cursor = Annotated[
    str | None,
    Query(max_length=LONGEST_CURSOR, description="next_cursor of the page before; keep the other parameters the same"),
]


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None = Field(description="null on the last page")


def encode_cursor(kind: str, tenant: UUID | None, values: Sequence[Any]) -> str:
    """A cursor for the values of the sort key of the last item on this page.

    Args:
        kind: names the list and whatever else the cursor depends on (sort, filters).
        tenant: whose list it is.
        values: str, int, datetime, date, Decimal, UUID or None, in the order of the sort key.
    """
    packed = orjson.dumps([None if v is None else v if isinstance(v, int) else _text(v) for v in values])
    return base64.urlsafe_b64encode(_check(kind, tenant, packed) + packed).decode().rstrip("=")


def decode_cursor(
    cursor: str | None, kind: str, tenant: UUID | None, types: Sequence[type[Any]]
) -> tuple[Any, ...] | None:
    """The values of a cursor made for the same list and tenant; None stays None (the first page).

    The check value only catches mistakes: a forged cursor moves its sender within his own list, and every value is
    converted to its type here.

    Raises:
        Problem: 400 for anything that `encode_cursor` did not make for this list.
    """
    if cursor is None:
        return None
    try:
        return _unpack(cursor, kind, tenant, types)
    except (ValueError, TypeError, binascii.Error, InvalidOperation):
        raise Problem(
            400,
            "bad-cursor",
            "The cursor does not belong to this list",
            "Start again without a cursor.",
            errors=[{"field": "cursor", "reason": "was not made by this list with these parameters"}],
        ) from None


def _unpack(cursor: str, kind: str, tenant: UUID | None, types: Sequence[type[Any]]) -> tuple[Any, ...]:
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    check, packed = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    values = orjson.loads(packed)
    if check != _check(kind, tenant, packed) or not isinstance(values, list) or len(values) != len(types):
        raise ValueError("not a cursor of this list")
    return tuple(None if v is None else _convert(t, v) for t, v in zip(types, values, strict=True))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _check(kind: str, tenant: UUID | None, packed: bytes) -> bytes:
    return hashlib.sha256(b"\0".join([kind.encode(), str(tenant).encode(), packed])).digest()[:_CHECK_BYTES]


def _convert(wanted: type[Any], value: Any) -> Any:
    if wanted is int:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**62:
            raise ValueError
        return value
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    make: Callable[[str], Any] = getattr(wanted, "fromisoformat", wanted)
    converted = make(value)
    if isinstance(converted, Decimal) and not converted.is_finite():
        raise ValueError
    return converted
