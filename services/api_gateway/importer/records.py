"""What a part becomes: events or rows of master data, and the rows that are refused."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from services.api_gateway.dependencies import SOURCE
from services.api_gateway.importer.sources import Reject
from services.api_gateway.importer.values import Notation
from shared.events.catalogue import SALES
from shared.events.envelope import Envelope
from shared.messaging.record import Message

MOST_ROW_REASONS = 20
"""Reasons that are told of one record; the first ones are enough to mend it."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the records of one import share."""

    tenant_id: UUID
    accepted_at: datetime
    request_id: str | None
    backfill: bool
    currency: str
    """Of the tenant: sales in another are refused."""
    notation: Notation
    default_currency: str | None = None
    channel: str = "store"
    """Of sales that name none, and `default_currency` likewise."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Keys that no product may have, each with the product that it is an alias of."""

    def event(self, type_: str, subject: str, routed_by: str, payload: bytes) -> Message:
        """An event whose id follows from what it says: the same file makes the same events, whenever it is taken.

        Its time is when the file was accepted, so that of two sales with one id and other content the one that was
        accepted first stands, whichever way it came.
        """
        said = f"{type_}\n{subject}\n{hashlib.sha256(payload).hexdigest()}"
        envelope = Envelope(
            str(uuid.uuid5(self.tenant_id, said)), type_, SOURCE, self.accepted_at, self.tenant_id, subject,
            self.request_id, self.backfill,
        )  # fmt: skip
        return Message(SALES.name, f"{self.tenant_id}:{routed_by}".encode(), payload, envelope.to_headers())


@dataclass(slots=True)
class Made:
    """The outcome of some rows. `records` counts the good ones; master data are rows to store, by their fields."""

    messages: list[Message] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    records: int = 0
    records_rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)

    def refuse(self, rejects: list[Reject]) -> None:
        """One record is refused for these reasons."""
        self.records_rejected += 1
        self.rejects += rejects

    def add(self, other: "Made") -> None:
        """Takes over what other rows of the same part became."""
        self.messages += other.messages
        self.rows += other.rows
        self.records += other.records
        self.records_rejected += other.records_rejected
        self.rejects += other.rejects


def refusal(rows: list[int], found: list[Reject]) -> list[Reject]:
    """Reasons against some rows of a record, and against its other rows that they go with them."""
    found = found[:MOST_ROW_REASONS]
    guilty = {reject.row for reject in found}
    because = f"goes with row {min(guilty)}, which is refused"
    return [*found, *(Reject(row, "", because) for row in rows if row not in guilty)]
