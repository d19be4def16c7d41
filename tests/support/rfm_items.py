"""Items as the worker's edge makes them, made short for tests."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from services.rfm_worker.domain.facts import (
    AliasChange,
    Basket,
    Cancellation,
    CustomerChange,
    Erasure,
    ProductChange,
    Return,
    Sale,
    TenantChange,
)
from shared.events.erasure import customer_hash
from shared.events.payloads import (
    CustomerChangedV1,
    ProductAliasChangedV1,
    ProductChangedV1,
    SaleCancelledV1,
    SaleRecordedV1,
    SaleReturnedV1,
    TenantChangedV1,
)

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
Line = tuple[str, str, str]
"""Product, quantity, unit price."""


def accepted(minute: int = 0, event_id: str | None = None) -> tuple[datetime, str]:
    """When an event was accepted, in minutes after `START`."""
    return START + timedelta(minutes=minute), event_id or str(uuid4())


def sale(
    tenant_id: UUID,
    sale_id: str,
    customer: str | None,
    lines: Sequence[Line],
    *,
    day: float = 0,
    minute: int = 0,
    event_id: str | None = None,
    **more: Any,
) -> Sale:
    """A sale `day` days after `START`."""
    body = SaleRecordedV1.model_validate({
        "sale_id": sale_id, "customer_code": customer, "sold_at": START + timedelta(days=day),
        "lines": [{"product_key": p, "quantity": q, "unit_price": u} for p, q, u in lines], **more,
    })  # fmt: skip
    return Sale(tenant_id, accepted(minute, event_id), Basket.of(body))


def returned(
    tenant_id: UUID,
    return_id: str,
    sale_id: str,
    lines: Sequence[Line],
    *,
    day: float = 0,
    minute: int = 0,
    event_id: str | None = None,
) -> Return:
    """A return `day` days after `START`; each line is product, quantity, amount."""
    body = SaleReturnedV1.model_validate({
        "return_id": return_id, "sale_id": sale_id, "returned_at": START + timedelta(days=day),
        "lines": [{"product_key": p, "quantity": q, "amount": a} for p, q, a in lines],
    })  # fmt: skip
    return Return(tenant_id, accepted(minute, event_id), body)


def cancelled(
    tenant_id: UUID, sale_id: str, *, day: float = 0, minute: int = 0, event_id: str | None = None
) -> Cancellation:
    """A cancellation `day` days after `START`."""
    body = SaleCancelledV1(sale_id=sale_id, cancelled_at=START + timedelta(days=day))
    return Cancellation(tenant_id, accepted(minute, event_id), body)


def tenant(tenant_id: UUID, version: int, status: str = "active", **settings: Any) -> TenantChange:
    """A tenant's state."""
    if isinstance(settings.get("reference_date"), date):
        settings["reference_date"] = settings["reference_date"].isoformat()
    body = TenantChangedV1.model_validate({
        "tenant_id": tenant_id, "name": "Shop", "status": status, "settings": settings, "version": version,
        "updated_at": START,
    })  # fmt: skip
    return TenantChange(tenant_id, body)


def person(tenant_id: UUID, code: str, version: int, *, day: float = -100, **fields: Any) -> CustomerChange:
    """A customer's master data, created `day` days after `START`."""
    created = START + timedelta(days=day)
    body = CustomerChangedV1.model_validate({
        "customer_code": code, "version": version, "created_at": created, "updated_at": created, **fields,
    })  # fmt: skip
    return CustomerChange(tenant_id, code, body)


def gone(tenant_id: UUID, code: str) -> CustomerChange:
    """A customer's tombstone."""
    return CustomerChange(tenant_id, code, None)


def erased(secret: str, tenant_id: UUID, code: str, *, day: float) -> Erasure:
    """An erasure `day` days after `START`."""
    return Erasure(tenant_id, customer_hash(secret, tenant_id, code), START + timedelta(days=day))


def article(tenant_id: UUID, key: str, version: int, family: str | None) -> ProductChange:
    """A product's master data."""
    body = ProductChangedV1.model_validate({
        "product_key": key, "version": version, "family": family, "created_at": START, "updated_at": START,
    })  # fmt: skip
    return ProductChange(tenant_id, key, body)


def no_article(tenant_id: UUID, key: str) -> ProductChange:
    """A product's tombstone."""
    return ProductChange(tenant_id, key, None)


def alias(tenant_id: UUID, key: str, version: int, product: str) -> AliasChange:
    """A key that stands for a product."""
    body = ProductAliasChangedV1.model_validate({
        "alias": key, "product_key": product, "version": version, "created_at": START, "updated_at": START,
    })  # fmt: skip
    return AliasChange(tenant_id, key, body)


def no_alias(tenant_id: UUID, key: str) -> AliasChange:
    """An alias's tombstone."""
    return AliasChange(tenant_id, key, None)
