"""The consistency token: what a write answers and a later read sends back, so that it shows that write.

It holds places in topics (facts) or entries of the outbox (master data, whose place is known once the relay has
published them), never a tenant or a code, so a token that falls into other hands tells nothing.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.api_gateway.errors import Problem
from shared.events.catalogue import BY_NAME
from shared.messaging.record import RecordMetadata

LONGEST_TOKEN = 4096
MOST_ENTRIES = 64
LARGEST = 2**62
WIDEST_RANGE = 100_000
"""Outbox entries that one token may span: a bulk write of 5,000 with writes of others in between."""


@dataclass(frozen=True, slots=True)
class Position:
    """A record's place on the broker."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class OutboxRange:
    """Outbox entries `first` to `last`, both included."""

    first: int
    last: int


Entry = Position | OutboxRange


def of_records(acknowledged: Sequence[RecordMetadata]) -> str:
    """The token of published facts: the last offset in each partition."""
    if len(acknowledged) == 1:
        (only,) = acknowledged
        return _pack([{"t": only.topic, "p": only.partition, "o": only.offset}])
    return _pack(positions_of(acknowledged))


def positions_of(acknowledged: Iterable[RecordMetadata]) -> list[dict[str, Any]]:
    """Entries for the last offset in each partition."""
    last: dict[tuple[str, int], int] = {}
    for topic, partition, offset in acknowledged:
        place = (topic, partition)
        if offset > last.get(place, -1):
            last[place] = offset
    return [{"t": topic, "p": partition, "o": offset} for (topic, partition), offset in sorted(last.items())]


def of_positions(entries: list[dict[str, Any]]) -> str:
    """The token of entries that were kept for later."""
    return _pack(entries)


def of_outbox(ids: Sequence[int]) -> str:
    """The token of outbox entries; they were drawn in one transaction, so a range is small."""
    if not ids:
        return _pack([])
    first, last = min(ids), max(ids)
    return _pack([{"x": first} if first == last else {"x": first, "y": last}])


def parse(token: str) -> tuple[Entry, ...]:
    """Reads a token.

    Raises:
        Problem: 400 for anything that is no token of this gateway.
    """
    try:
        return tuple(_entry(entry) for entry in _unpack(token))
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise bad_token() from None


def bad_token() -> Problem:
    """400: the header holds something else than a token that a write answered."""
    return Problem(
        400,
        "bad-consistency-token",
        "The consistency token is not one of ours",
        "Send back the X-Consistency-Token of a write unchanged, or leave it out.",
        errors=[{"field": "X-Consistency-Token", "reason": "was not issued by this API"}],
    )


def _pack(entries: list[dict[str, Any]]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(entries)).decode().rstrip("=")


def _unpack(token: str) -> list[Any]:
    if len(token) > LONGEST_TOKEN:
        raise ValueError("too long")
    entries = orjson.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    if not isinstance(entries, list) or len(entries) > MOST_ENTRIES:
        raise ValueError("not a list")
    return entries


def _entry(entry: dict[str, Any]) -> Entry:
    names = set(entry)
    if names == {"t", "p", "o"}:
        topic, partition = BY_NAME[entry["t"]], _number(entry["p"])
        if partition >= topic.partitions:
            raise ValueError("no such partition")
        return Position(topic.name, partition, _number(entry["o"]))
    if names not in ({"x"}, {"x", "y"}):
        raise ValueError("unknown entry")
    first = _number(entry["x"])
    last = _number(entry.get("y", first))
    if not 0 <= last - first <= WIDEST_RANGE:
        raise ValueError("not a range")
    return OutboxRange(first, last)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise ValueError("not a number")
    return value
