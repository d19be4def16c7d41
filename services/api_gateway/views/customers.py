"""Customers in requests and answers."""

from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from services.api_gateway.problem_docs import OffendingField
from services.api_gateway.views.lifetime import LifetimeValue
from services.api_gateway.views.numbers import Amount, Number
from shared.events.fields import Code, Note, Word
from shared.events.payloads import Consent, Consents, CustomerFields, Payload, Segment

IDENTITY = tuple(CustomerFields.model_fields)


class CustomerBody(CustomerFields):
    """Body of POST /customers, and one item of /customers/bulk."""

    customer_code: Code


class ConsentsPatch(Payload):
    """Channels left out stay as they are; null takes a consent away."""

    email: Consent | None = None
    sms: Consent | None = None


class CustomerPatch(CustomerFields):
    """A merge patch (RFC 7396): what is left out stays, null clears, keys of attributes are merged one by one."""

    tags: Annotated[list[Word], Field(max_length=50)] | None = None  # type: ignore[assignment]
    attributes: Annotated[dict[Word, Note | None], Field(max_length=50)] | None = None  # type: ignore[assignment]
    consents: ConsentsPatch | None = None  # type: ignore[assignment]

    @field_validator("tags")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:  # type: ignore[override]
        return None if value is None else list(dict.fromkeys(value))

    def apply(self, stored: CustomerFields) -> CustomerFields:
        """The fields after this patch.

        Raises:
            pydantic.ValidationError: together they break a limit (more than 50 attributes).
        """
        merged = stored.model_dump()
        for name in self.model_fields_set:
            value = getattr(self, name)
            if name == "attributes" and value is not None:
                both = {**merged["attributes"], **value}
                merged[name] = {key: text for key, text in both.items() if text is not None}
            elif name == "consents" and value is not None:
                merged[name] |= {channel: getattr(value, channel) for channel in value.model_fields_set}
            elif name in ("tags", "attributes", "consents") and value is None:
                del merged[name]
            else:
                merged[name] = value
        return CustomerFields.model_validate(merged)


class CustomerRecord(CustomerFields):
    """Master data as stored. `version` grows by one per change and is the ETag."""

    customer_code: str
    version: int
    created_at: datetime
    updated_at: datetime


class Rfm(BaseModel):
    """Recency, frequency, monetary and what follows; scores are null without a counting order."""

    recency_days: int | None = Field(description="days from the last counting order to reference_date")
    frequency: int
    monetary: Amount
    r: int | None
    f: int | None
    m: int | None
    rfm_code: str | None
    rfm_score: int | None
    segment: Segment
    segment_since: datetime | None
    first_order_at: datetime | None
    last_order_at: datetime | None
    reference_date: date | None
    cutoffs_at: datetime | None


class FamilyShare(BaseModel):
    """A preferred family and its share of the customer's decayed net spend, 0 to 1."""

    family: str
    share: float


class Budget(BaseModel):
    """What the customer usually pays for a unit; `band` compares average baskets within the tenant."""

    band: str | None = Field(description="low, medium or high")
    typical: Amount | None
    low: Amount | None
    high: Amount | None


class Profile(BaseModel):
    """Habits found in the ledger; null or empty where there is too little of it."""

    average_basket: Amount | None
    preferred_families: list[FamilyShare]
    budget: Budget
    usual_interval_days: Number | None
    next_order_expected_at: date | None
    lifetime_value: LifetimeValue


class CustomerSummary(BaseModel):
    """A customer in a list."""

    customer_code: str
    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    language: str | None
    tags: list[str]
    created_at: datetime | None
    rfm: Rfm
    average_basket: Amount | None
    next_order_expected_at: date | None = Field(description="as of some seconds ago; null with fewer than two orders")


class Customer(BaseModel):
    """All that is known of one customer; identity is null for one known from sales alone."""

    customer_code: str
    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    language: str | None
    timezone: str | None
    birth_date: date | None
    tags: list[str]
    attributes: dict[str, str]
    consents: Consents
    version: int | None = Field(description="of the master data; null for a customer known from sales alone")
    created_at: datetime | None
    updated_at: datetime | None
    rfm: Rfm
    profile: Profile
    next_best_action: None = Field(None, description="always null until recommendations are computed")


class SegmentChange(BaseModel):
    """A move between segments, and what caused it."""

    previous: str | None = Field(description="null when the customer was seen for the first time")
    segment: str
    rfm_code: str | None
    changed_at: datetime
    cause: str = Field(description="sale, return, cancellation, cutoff_shift, time, settings or erasure")
    cause_id: str | None


def rfm_of(row: Any) -> Rfm:
    """The rfm part, from a row of `repository.customers` with the columns of the projection and the cut-offs."""
    scored = row.r is not None
    recency = None
    if scored and row.last_order_day is not None and row.reference_date is not None:
        recency = max(0, (row.reference_date - row.last_order_day).days)
    return Rfm(
        recency_days=recency,
        frequency=row.frequency or 0,
        monetary=row.monetary or 0,
        r=row.r,
        f=row.f,
        m=row.m,
        rfm_code=f"{row.r}{row.f}{row.m}" if scored else None,
        rfm_score=row.r + row.f + row.m if scored else None,
        segment=row.segment or "prospect",
        segment_since=row.segment_since,
        first_order_at=row.first_order_at,
        last_order_at=row.last_order_at,
        reference_date=row.reference_date,
        cutoffs_at=row.cutoffs_at,
    )


def summary_of(row: Any) -> CustomerSummary:
    """A list item, from a row of the projection."""
    return CustomerSummary(
        customer_code=row.customer_code,
        first_name=row.first_name,
        last_name=row.last_name,
        email=row.email,
        phone=row.phone,
        language=row.language,
        tags=row.tags,
        created_at=row.created_at,
        rfm=rfm_of(row),
        average_basket=row.average_basket,
        next_order_expected_at=row.next_order_expected_at,
    )


def customer_of(row: Any, profile: Any | None, lifetime: LifetimeValue) -> Customer:
    """One customer, from the joined row, the row of `rfm.customer_profiles` where there is one, and the value."""
    return Customer(
        customer_code=row.customer_code,
        first_name=row.first_name,
        last_name=row.last_name,
        email=row.email,
        phone=row.phone,
        language=row.language,
        timezone=row.timezone,
        birth_date=row.birth_date,
        tags=row.tags or [],
        attributes=row.attributes or {},
        consents=Consents.model_validate(row.consents or {}),
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
        rfm=rfm_of(row),
        profile=_profile(profile, lifetime),
    )


def _profile(row: Any | None, lifetime: LifetimeValue) -> Profile:
    if row is None:
        nothing = Budget(band=None, typical=None, low=None, high=None)
        return Profile(
            average_basket=None,
            preferred_families=[],
            budget=nothing,
            usual_interval_days=None,
            next_order_expected_at=None,
            lifetime_value=lifetime,
        )
    return Profile(
        average_basket=row.average_basket,
        preferred_families=row.preferred_families or [],
        budget=Budget(band=row.budget_band, typical=row.budget_typical, low=row.budget_low, high=row.budget_high),
        usual_interval_days=row.usual_interval_days,
        next_order_expected_at=row.next_order_expected_at,
        lifetime_value=lifetime,
    )


def record_of(row: Any) -> CustomerRecord:
    """Master data as stored, from their row."""
    return CustomerRecord.model_validate({name: getattr(row, name) for name in CustomerRecord.model_fields})


def fields_of(row: Any | None) -> CustomerFields:
    """The fields of a row that people may change; none for a customer without master data."""
    return (
        CustomerFields()
        if row is None
        else CustomerFields.model_validate({name: getattr(row, name) for name in IDENTITY})
    )


def change_of(row: Any) -> SegmentChange:
    """A move between segments, from its row."""
    return SegmentChange.model_validate(row, from_attributes=True)


class RejectedCustomer(BaseModel):
    """A customer of a bulk body that was not stored, and why."""

    index: int
    customer_code: str | None
    errors: list[OffendingField]


class CustomersResult(BaseModel):
    """How many of a bulk body were stored, and which were not."""

    accepted: int
    rejected: list[RejectedCustomer]


class CustomersBulk(Payload):
    """Body of POST /customers/bulk."""

    customers: list[CustomerBody] = Field(max_length=5000)
