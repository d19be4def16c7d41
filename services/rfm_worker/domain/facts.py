"""What a batch consists of once its records are decoded and valid."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.events.payloads import (
    CustomerChangedV1,
    ProductChangedV1,
    SaleCancelledV1,
    SaleRecordedV1,
    SaleReturnedV1,
    TenantChangedV1,
)

Accepted = tuple[datetime, str]
"""When an event was accepted, and its id: of two events of one natural key the smaller stands."""


@dataclass(frozen=True, slots=True)
class Sale:
    tenant_id: UUID
    accepted: Accepted
    body: SaleRecordedV1


@dataclass(frozen=True, slots=True)
class Return:
    tenant_id: UUID
    accepted: Accepted
    body: SaleReturnedV1


@dataclass(frozen=True, slots=True)
class Cancellation:
    tenant_id: UUID
    accepted: Accepted
    body: SaleCancelledV1


@dataclass(frozen=True, slots=True)
class TenantChange:
    tenant_id: UUID
    body: TenantChangedV1


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """`body` is None for a tombstone."""

    tenant_id: UUID
    customer_code: str
    body: CustomerChangedV1 | None


@dataclass(frozen=True, slots=True)
class Erasure:
    tenant_id: UUID
    code_hash: bytes
    erased_at: datetime


@dataclass(frozen=True, slots=True)
class ProductChange:
    """`body` is None for a tombstone."""

    tenant_id: UUID
    product_key: str
    body: ProductChangedV1 | None


Fact = Sale | Return | Cancellation
Item = Fact | TenantChange | CustomerChange | Erasure | ProductChange
