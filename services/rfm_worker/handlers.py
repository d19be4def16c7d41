"""The Kafka edge: what a record means, and one transaction per batch."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.domain.facts import (
    AliasChange,
    Basket,
    Cancellation,
    CustomerChange,
    Erasure,
    Item,
    ProductChange,
    Return,
    Sale,
    TenantChange,
)
from services.rfm_worker.quick_sale import read_quickly
from services.rfm_worker.repository.batch import BatchWriter
from services.rfm_worker.repository.rows import sale_text
from shared.db.applied import save_applied
from shared.db.engine import transaction
from shared.events.catalogue import BY_NAME, CUSTOMERS, PRODUCT_ALIASES, PRODUCTS
from shared.events.envelope import Envelope, EnvelopeError
from shared.events.payloads import (
    CustomerChangedV1,
    CustomerErasedV1,
    ProductAliasChangedV1,
    ProductChangedV1,
    SaleCancelledV1,
    SaleRecordedV1,
    SaleReturnedV1,
    TenantChangedV1,
)
from shared.messaging import faults
from shared.messaging.errors import DeadReason, Poison
from shared.messaging.record import NextOffsets, Record

M = TypeVar("M", bound=BaseModel)


def decode(record: Record) -> Item:
    """A record as a fact or a change of master data.

    Raises:
        Poison: it can never be applied. The detail names fields and kinds of error, never a value.
    """
    if record.value is None:
        return _tombstone(record)
    try:
        envelope = Envelope.from_headers(record.headers)
    except EnvelopeError as error:
        raise Poison(DeadReason.INVALID_ENVELOPE, str(error)) from None
    reader = _READERS.get(envelope.type)
    if reader is None or envelope.type not in BY_NAME[record.topic].types:
        raise Poison(DeadReason.UNKNOWN_TYPE, f"no such type in {record.topic}")
    return reader(envelope, record.value)


def _valid(model: type[M], value: bytes) -> M:
    try:
        return model.model_validate_json(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        reason = DeadReason.UNDECODABLE if problems[0]["type"] == "json_invalid" else DeadReason.INVALID_PAYLOAD
        listed = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['type']}" for p in problems[:10])
        raise Poison(reason, listed) from None


def _accepted(envelope: Envelope) -> tuple[datetime, str]:
    return envelope.time, envelope.id


def _sale(envelope: Envelope, value: bytes) -> Item:
    basket = read_quickly(value) or Basket.of(_valid(SaleRecordedV1, value))
    accepted = _accepted(envelope)
    return Sale(envelope.tenant_id, accepted, basket, sale_text(accepted, basket))


def _return(envelope: Envelope, value: bytes) -> Item:
    return Return(envelope.tenant_id, _accepted(envelope), _valid(SaleReturnedV1, value))


def _cancellation(envelope: Envelope, value: bytes) -> Item:
    return Cancellation(envelope.tenant_id, _accepted(envelope), _valid(SaleCancelledV1, value))


def _tenant(envelope: Envelope, value: bytes) -> Item:
    body = _valid(TenantChangedV1, value)
    if body.tenant_id != envelope.tenant_id:
        raise Poison(DeadReason.INVALID_PAYLOAD, "tenant_id is not that of the envelope")
    return TenantChange(envelope.tenant_id, body)


def _customer(envelope: Envelope, value: bytes) -> Item:
    body = _valid(CustomerChangedV1, value)
    return CustomerChange(envelope.tenant_id, body.customer_code, body)


def _erasure(envelope: Envelope, value: bytes) -> Item:
    body = _valid(CustomerErasedV1, value)
    return Erasure(envelope.tenant_id, bytes.fromhex(body.customer_hash), body.erased_at)


def _product(envelope: Envelope, value: bytes) -> Item:
    body = _valid(ProductChangedV1, value)
    return ProductChange(envelope.tenant_id, body.product_key, body)


def _alias(envelope: Envelope, value: bytes) -> Item:
    body = _valid(ProductAliasChangedV1, value)
    return AliasChange(envelope.tenant_id, body.alias, body)


_READERS: dict[str, Callable[[Envelope, bytes], Item]] = {
    "sale.recorded.v1": _sale,
    "sale.returned.v1": _return,
    "sale.cancelled.v1": _cancellation,
    "tenant.changed.v1": _tenant,
    "customer.changed.v1": _customer,
    "customer.erased.v1": _erasure,
    "product.changed.v1": _product,
    "product-alias.changed.v1": _alias,
}


def _tombstone(record: Record) -> Item:
    """Only the key says what is gone: `<tenant_id>:<code>`."""
    try:
        tenant, _, code = (record.key or b"").decode().partition(":")
        tenant_id = UUID(tenant)
    except ValueError:
        raise Poison(DeadReason.KEY_MISMATCH, "the key of a tombstone is <tenant_id>:<code>") from None
    if code and record.topic == CUSTOMERS.name:
        return CustomerChange(tenant_id, code, None)
    if code and record.topic == PRODUCTS.name:
        return ProductChange(tenant_id, code, None)
    if code and record.topic == PRODUCT_ALIASES.name:
        return AliasChange(tenant_id, code, None)
    raise Poison(DeadReason.UNDECODABLE, "no value")


class Applier:
    """Applies decoded items: one transaction per batch, then the scorer is told."""

    def __init__(
        self, engine: AsyncEngine, writer: BatchWriter, now: Callable[[], datetime], applied: Callable[[], None]
    ) -> None:
        """Args:
        writer: knows the SQL of a batch.
        now: the present moment, with its zone.
        applied: called after each commit that changed a tenant or told something.
        """
        self._engine = engine
        self._writer = writer
        self._now = now
        self._applied = applied

    async def apply(self, items: Sequence[Item], following: NextOffsets) -> None:
        """Applies items and the offsets that follow them; all of it or nothing.

        Raises:
            PoisonedItems: items that their tenant's settings refuse.
        """
        async with transaction(self._engine) as connection:
            touched = await self._writer.apply(connection, items, self._now()) if items else set()
            await save_applied(connection, None, following)
            faults.reach("before_commit")
        if touched:
            self._applied()
