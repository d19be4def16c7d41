"""What a batch consists of once its records are decoded and valid."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.rfm_worker.domain.contribution import Lines
from shared.events.payloads import (
    CustomerChangedV1,
    ProductAliasChangedV1,
    ProductChangedV1,
    SaleCancelledV1,
    SaleRecordedV1,
    SaleReturnedV1,
    TenantChangedV1,
)

Accepted = tuple[datetime, str]
"""When an event was accepted, and its id: of two events of one natural key the smaller stands."""


@dataclass(frozen=True, slots=True)
class Basket:
    """A valid sale with its lines as parallel lists, as the ledger keeps them. Numbers stay decimal text: nothing but
    sums is ever computed from a new sale's lines here."""

    sale_id: str
    customer_code: str | None
    sold_at: datetime
    channel: str
    currency: str | None
    products: list[str]
    labels: list[str | None]
    quantities: list[str]
    unit_prices: list[str]
    discounts: list[str]
    amounts: list[str]
    metadata: dict[str, str]

    @classmethod
    def of(cls, body: SaleRecordedV1) -> "Basket":
        """The sale of a payload."""
        lines = body.lines
        return cls(
            body.sale_id, body.customer_code, body.sold_at, body.channel, body.currency,
            [x.product_key for x in lines], [x.label for x in lines], [str(x.quantity) for x in lines],
            [str(x.unit_price) for x in lines], [str(x.discount) for x in lines], [str(x.net) for x in lines],
            body.metadata,
        )  # fmt: skip

    def lines(self) -> Lines:
        """Product, quantity and amount of each line."""
        return Lines(self.products, [Decimal(x) for x in self.quantities], [Decimal(x) for x in self.amounts])


@dataclass(frozen=True, slots=True)
class SaleText:
    """What of a sale goes to the database as it is, in its text format."""

    head: str
    """Time to product keys."""
    lines: str
    """Labels to the sums and weights."""
    parts: str
    """Net units and amount per product, where a product stands on several lines."""


@dataclass(frozen=True, slots=True)
class Sale:
    tenant_id: UUID
    accepted: Accepted
    body: Basket
    text: SaleText | None = field(default=None, compare=False, repr=False)
    """Written ahead, while the database is at work on the batch before."""


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


@dataclass(frozen=True, slots=True)
class AliasChange:
    """`body` is None for a tombstone."""

    tenant_id: UUID
    alias: str
    body: ProductAliasChangedV1 | None


Fact = Sale | Return | Cancellation
Item = Fact | TenantChange | CustomerChange | Erasure | ProductChange | AliasChange
