"""CloudEvents 1.0 attributes in Kafka headers (binary mode): who, what, when, for which tenant."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

SPEC_VERSION = b"1.0"
CONTENT_TYPE = b"application/json"
LONGEST_ATTRIBUTE = 256
Headers = Sequence[tuple[str, bytes]]


class EnvelopeError(ValueError):
    """The headers do not describe an event. The message names the attribute, never its value."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of one event.

    `time` is when the event was accepted (not when the sale was made) and carries a zone; of two events of one natural
    key the earlier (`time`, then `id`) stands. `backfill` marks history that was loaded later: it counts like any other
    event, and nobody is ever written to because of it.
    """

    id: str
    type: str
    source: str
    time: datetime
    tenant_id: UUID
    subject: str | None = None
    request_id: str | None = None
    backfill: bool = False

    @classmethod
    def new(
        cls,
        type_: str,
        tenant_id: UUID,
        *,
        source: str,
        subject: str | None = None,
        request_id: str | None = None,
        backfill: bool = False,
    ) -> "Envelope":
        """An envelope with a fresh id and the present moment."""
        return cls(str(uuid.uuid4()), type_, source, datetime.now(UTC), tenant_id, subject, request_id, backfill)

    def to_headers(self) -> list[tuple[str, bytes]]:
        """Headers for a Kafka record."""
        headers = [
            ("ce_specversion", SPEC_VERSION),
            ("ce_id", self.id.encode()),
            ("ce_type", self.type.encode()),
            ("ce_source", self.source.encode()),
            ("ce_time", self.time.isoformat().encode()),
            ("ce_tenantid", str(self.tenant_id).encode()),
            ("content-type", CONTENT_TYPE),
        ]
        if self.subject is not None:
            headers.append(("ce_subject", self.subject.encode()))
        if self.request_id is not None:
            headers.append(("ce_requestid", self.request_id.encode()))
        if self.backfill:
            headers.append(("ce_backfill", b"true"))
        return headers

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes | None]]) -> "Envelope":
        """Reads an envelope.

        Raises:
            EnvelopeError: an attribute is missing, not UTF-8, too long or not what it should be.
        """
        found = _decode(headers)
        if found.get("ce_specversion") != "1.0":
            raise EnvelopeError("ce_specversion must be 1.0")
        return cls(
            id=_required(found, "ce_id"),
            type=_required(found, "ce_type"),
            source=_required(found, "ce_source"),
            time=_time(_required(found, "ce_time")),
            tenant_id=_uuid(_required(found, "ce_tenantid")),
            subject=found.get("ce_subject"),
            request_id=found.get("ce_requestid"),
            backfill=found.get("ce_backfill") == "true",
        )


def _decode(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        if name.startswith("ce_") and value is not None:
            try:
                found[name] = value.decode()
            except UnicodeDecodeError:
                raise EnvelopeError(f"{name} is not UTF-8") from None
            if len(value) > LONGEST_ATTRIBUTE:
                raise EnvelopeError(f"{name} is longer than {LONGEST_ATTRIBUTE} bytes")
    return found


def _required(found: dict[str, str], name: str) -> str:
    value = found.get(name)
    if not value or not value.isprintable():
        raise EnvelopeError(f"{name} is missing or not printable")
    return value


def _time(value: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise EnvelopeError("ce_time is not an RFC 3339 time") from None
    if time.tzinfo is None:
        raise EnvelopeError("ce_time has no offset")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise EnvelopeError("ce_time is out of range") from None


def _uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise EnvelopeError("ce_tenantid is not a UUID") from None
