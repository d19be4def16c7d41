"""Events as the gateway sends them: key, CloudEvents headers and the bytes of the payload."""

from uuid import UUID

from services.api_gateway.dependencies import SOURCE
from shared.events.catalogue import SALES, Topic
from shared.events.envelope import Envelope
from shared.events.payloads import Payload
from shared.messaging.record import Message


def master_data(
    topic: Topic,
    type_: str,
    tenant_id: UUID,
    code: str,
    *,
    payload: Payload | None,
    request_id: str | None,
    backfill: bool = False,
) -> Message:
    """The full state of one customer or product; without a payload the tombstone of its key."""
    envelope = Envelope.new(type_, tenant_id, source=SOURCE, subject=code, request_id=request_id, backfill=backfill)
    value = None if payload is None else to_bytes(payload)
    return Message(topic.name, f"{tenant_id}:{code}".encode(), value, envelope.to_headers())


def fact(
    type_: str, tenant_id: UUID, routed_by: str, payload: Payload, *, subject: str, request_id: str | None
) -> tuple[str, Message]:
    """A sale, return or cancellation.

    Args:
        type_: event type.
        tenant_id: whose fact it is.
        routed_by: customer_code, or sale_id where no customer is known; decides the partition.
        payload: validated payload.
        subject: the fact's own id.
        request_id: of the request that brought it.

    Returns:
        The event's id and the message.
    """
    envelope = Envelope.new(type_, tenant_id, source=SOURCE, subject=subject, request_id=request_id)
    key = f"{tenant_id}:{routed_by}".encode()
    return envelope.id, Message(SALES.name, key, to_bytes(payload), envelope.to_headers())


def to_bytes(payload: Payload) -> bytes:
    """JSON of a payload; absent values are left out."""
    return payload.__pydantic_serializer__.to_json(payload, exclude_none=True)
