"""Payload versions: what each event says. A field may be added, none renamed or removed within a version.

The gateway's request bodies of facts are these very models, and workers validate every record with them, so a record
produced straight to Kafka meets the same rules as one sent over HTTP.
"""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from shared.events.fields import (
    MOST_LINES,
    Code,
    Currency,
    Day,
    Label,
    Moment,
    Money,
    Name,
    Note,
    PlainNote,
    Quantity,
    Text,
    TimeZone,
    Whole,
    Word,
    label_key,
)
from shared.events.tenant_settings import TenantSettings

CENT = Decimal("0.01")
MONEY_STEP = Decimal("0.0001")
MOST_METADATA = 20


class Payload(BaseModel):
    """Strict about unknown fields: a misspelt `discount` would silently change what a customer spent."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _key_of_label(seen: dict[str, Any]) -> str:
    """What stands for the key of a line that has only a label; no code, and so refused, where it has none either."""
    return label_key(seen.get("label") or "")


class SaleLine(Payload):
    """One product on a sale. `amount`, when absent, is quantity x unit_price - discount; else it is checked to 0.01."""

    label: Text | None = None
    product_key: Code = Field(
        default_factory=_key_of_label,
        validate_default=True,
        description="of the catalogue, or a till's own; left out, it is `label:` and the label in lower case",
    )
    quantity: Quantity
    unit_price: Money
    discount: Money = Decimal(0)
    amount: Money | None = Field(None, validate_default=True)

    @field_validator("amount")
    @classmethod
    def _fits(cls, amount: Decimal | None, info: ValidationInfo) -> Decimal | None:
        seen = info.data
        if "quantity" not in seen or "unit_price" not in seen or "discount" not in seen:
            return amount
        due = seen["quantity"] * seen["unit_price"] - seen["discount"]
        if amount is None:
            return _computed(due)
        if abs(due - amount) > CENT:
            raise PydanticCustomError("amount_mismatch", "must equal quantity x unit_price - discount to 0.01")
        return amount

    @property
    def net(self) -> Decimal:
        """The amount, which validation has filled in."""
        assert self.amount is not None  # noqa: S101 - set by the validator above
        return self.amount


def _computed(due: Decimal) -> Decimal:
    if due < 0:
        raise PydanticCustomError("discount_too_large", "discount must not exceed quantity x unit_price")
    if due > 10**9:
        raise PydanticCustomError("amount_too_large", "quantity x unit_price must not exceed 1000000000")
    return due.quantize(MONEY_STEP, ROUND_HALF_EVEN)


MetadataValue = Annotated[Text, Field(description="short text")]


class SaleRecordedV1(Payload):
    """A sale: who bought what, when and where. `customer_code` null is an anonymous sale."""

    sale_id: Code
    customer_code: Code | None = None
    sold_at: Moment
    channel: Label = "store"
    currency: Currency | None = Field(None, description="the tenant's currency when absent")
    lines: list[SaleLine] = Field(min_length=1, max_length=MOST_LINES)
    metadata: dict[Label, MetadataValue] = Field(default_factory=dict, max_length=MOST_METADATA)


class ReturnLine(Payload):
    """What comes off one product of a sale."""

    product_key: Code
    quantity: Quantity
    amount: Money


class SaleReturnedV1(Payload):
    """Goods returned: takes quantities and amounts off the lines of one sale, which may arrive later."""

    return_id: Code
    sale_id: Code
    customer_code: Code | None = Field(None, description="of the sale, when known: only a routing hint")
    returned_at: Moment
    lines: list[ReturnLine] = Field(min_length=1, max_length=MOST_LINES)


class SaleCancelledV1(Payload):
    """A sale voided as a whole; it may arrive later."""

    sale_id: Code
    customer_code: Code | None = Field(None, description="of the sale, when known: only a routing hint")
    cancelled_at: Moment
    reason: Text | None = None


class Consent(Payload):
    """Whether a person may be written to over one channel."""

    status: Literal["opted_in", "opted_out"]
    at: Moment
    source: Word


class Consents(Payload):
    """Consent per channel; null where none was given or refused."""

    email: Consent | None = None
    sms: Consent | None = None


Attributes = Annotated[dict[Word, Note], Field(max_length=50)]


class CustomerFields(Payload):
    """What a merchant knows about a person; every field may be absent."""

    first_name: Name | None = None
    last_name: Name | None = None
    email: Annotated[EmailStr, StringConstraints(max_length=254)] | None = None
    phone: Annotated[str, StringConstraints(pattern=r"^\+?[0-9 ().\-]{4,32}$")] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$")] | None = None
    timezone: TimeZone | None = None
    birth_date: Day | None = None
    tags: list[Word] = Field(default_factory=list, max_length=50)
    attributes: Attributes = Field(default_factory=dict)
    consents: Consents = Field(default_factory=Consents)

    @field_validator("birth_date")
    @classmethod
    def _plausible(cls, value: date | None) -> date | None:
        if value is not None and not date(1880, 1, 1) <= value < date(2100, 1, 1):
            raise PydanticCustomError("date_range", "must lie between 1880-01-01 and 2099-12-31")
        return value

    @field_validator("tags")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        return list(dict.fromkeys(value))


class CustomerChangedV1(CustomerFields):
    """Full master data of a customer after a change; `version` grows by one per change."""

    customer_code: Code
    version: Whole = Field(ge=1)
    created_at: Moment
    updated_at: Moment


class CustomerErasedV1(Payload):
    """A person was erased: `customer_hash` = HMAC-SHA-256 of tenant and code, so that the event itself names nobody.

    Sales made up to `erased_at` stay in the ledger under a pseudonym; later ones belong to a new customer.
    """

    customer_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    erased_at: Moment


class ProductFields(Payload):
    """What a merchant knows about a product."""

    name: Name | None = None
    family: Label | None = None
    sub_family: Label | None = None
    price: Money | None = None
    margin: Annotated[Decimal, Field(ge=-(10**9), le=10**9, decimal_places=4, allow_inf_nan=False)] | None = Field(
        None, description="money earned per unit; may be negative"
    )
    stock: Annotated[Decimal, Field(ge=0, le=10**9, decimal_places=3, allow_inf_nan=False)] | None = Field(
        None, description="units on hand; null when not tracked"
    )
    active: bool = True
    tags: list[Label] = Field(default_factory=list, max_length=50)
    attributes: Annotated[dict[Label, PlainNote], Field(max_length=50)] = Field(default_factory=dict)


class ProductChangedV1(ProductFields):
    """Full master data of a product after a change; `version` grows by one per change."""

    product_key: Code
    version: Whole = Field(ge=1)
    created_at: Moment
    updated_at: Moment


class ProductAliasFields(Payload):
    """The product of the catalogue that a key stands for."""

    product_key: Code


class ProductAliasChangedV1(ProductAliasFields):
    """Full state of an alias after a change; `version` grows by one per change.

    `alias` is a key that tills and shops send in place of `product_key`.
    """

    alias: Code
    version: Whole = Field(ge=1)
    created_at: Moment
    updated_at: Moment


class TenantChangedV1(Payload):
    """Full state of a tenant after a change. `erased` asks every service to delete all that it holds of the tenant."""

    tenant_id: UUID
    name: Name
    status: Literal["active", "closed", "erased"]
    settings: TenantSettings
    version: Whole = Field(ge=1)
    updated_at: Moment


Segment = Literal[
    "champions",
    "loyal",
    "potential_loyalist",
    "new",
    "promising",
    "need_attention",
    "about_to_sleep",
    "at_risk",
    "cannot_lose",
    "hibernating",
    "lost",
    "prospect",
]
Cause = Literal["sale", "return", "cancellation", "cutoff_shift", "time", "settings", "erasure"]


class CustomerSegmentChangedV1(Payload):
    """A customer moved from one segment to another; `previous` is null for one seen for the first time."""

    customer_code: Code
    segment: Segment
    previous: Segment | None
    rfm_code: Annotated[str, StringConstraints(pattern=r"^[1-5]{3}$")] | None
    changed_at: Moment
    cause: Cause
    cause_id: str | None = Field(None, max_length=64, description="sale_id or return_id where one caused it")

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.segment == self.previous:
            raise PydanticCustomError("no_move", "segment and previous must differ")
        return self


PAYLOADS: dict[str, type[Payload]] = {
    "tenant.changed.v1": TenantChangedV1,
    "customer.changed.v1": CustomerChangedV1,
    "customer.erased.v1": CustomerErasedV1,
    "product.changed.v1": ProductChangedV1,
    "product-alias.changed.v1": ProductAliasChangedV1,
    "sale.recorded.v1": SaleRecordedV1,
    "sale.returned.v1": SaleReturnedV1,
    "sale.cancelled.v1": SaleCancelledV1,
    "customer.segment-changed.v1": CustomerSegmentChangedV1,
}
"""Every event type that may stand in a topic."""
