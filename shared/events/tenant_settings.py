"""A tenant's settings: they are edited through the gateway and travel whole in `tenant.changed.v1`."""

from datetime import date, time
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from shared.events.fields import EARLIEST, LATEST, NO_TRUTH, Currency, Day, Money, Share, TimeZone, Whole


class Section(BaseModel):
    """A group of settings; unknown names are refused so that a typing error is not silently without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Bound = TypeVar("_Bound", int, Decimal)


def _ascending(bounds: list[_Bound]) -> list[_Bound]:
    if any(low >= high for low, high in pairwise(bounds)):
        raise PydanticCustomError("not_ascending", "must ascend strictly")
    return bounds


_FOUR = Field(min_length=4, max_length=4)
FourDays = Annotated[list[Annotated[int, Field(ge=0, le=100_000), NO_TRUTH]], _FOUR, AfterValidator(_ascending)]
FourCounts = Annotated[list[Annotated[int, Field(ge=0, le=10_000_000), NO_TRUTH]], _FOUR, AfterValidator(_ascending)]
FourAmounts = Annotated[list[Money], _FOUR, AfterValidator(_ascending)]


class RfmBounds(Section):
    """Four ascending bounds per axis; a score is counted by how many of them lie below the value."""

    recency_days: FourDays
    frequency: FourCounts
    monetary: FourAmounts


class RfmSettings(Section):
    """How scores are cut: by the tenant's own quintiles, or at fixed bounds."""

    method: Literal["quintile", "fixed"] = "quintile"
    bounds: RfmBounds | None = Field(None, validate_default=True)

    @field_validator("bounds")
    @classmethod
    def _complete(cls, value: RfmBounds | None, info: ValidationInfo) -> RfmBounds | None:
        if value is None and info.data.get("method") == "fixed":
            raise PydanticCustomError("bounds_missing", "method fixed needs bounds")
        return value


class RecommendationSettings(Section):
    """Knobs of the recommendation scenarios."""

    winback_days: Whole = Field(180, ge=7, le=3650, description="days without an order after which winback applies")
    price_cap: Money | None = Field(None, description="highest unit price an upsell may propose")


class AuditSettings(Section):
    """Knobs of the data quality audit."""

    threshold: Whole = Field(80, ge=0, le=100, description="score from which a tenant passes")
    fresh_hours: Whole = Field(48, ge=1, le=8760, description="hours without a sale that are never called stale")


class FrequencyCap(Section):
    """At most `count` messages per person and channel within `days` days."""

    count: Whole = Field(2, ge=0, le=100)
    days: Whole = Field(7, ge=1, le=365)


def _local(value: time) -> time:
    if value.tzinfo is not None or value.microsecond:
        raise PydanticCustomError("local_time", "must be a local time of day, such as 20:00")
    return value


# Not JSON Schema's format "time", which wants an offset.
_TIME_OF_DAY = {"type": "string", "pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$", "examples": ["20:00"]}
LocalTime = Annotated[time, AfterValidator(_local), WithJsonSchema(_TIME_OF_DAY)]


class QuietHours(Section):
    """Local hours in which nobody is written to; `start` after `end` spans midnight."""

    start: LocalTime = time(20, 0)
    end: LocalTime = time(8, 0)


class CampaignSettings(Section):
    """Limits on what is sent to people."""

    cap: FrequencyCap = FrequencyCap()
    quiet_hours: QuietHours = QuietHours()
    attribution_days: Whole = Field(14, ge=1, le=90)
    holdout_share: Share = Field(0.1, ge=0, le=0.5)


def _plausible(value: date) -> date:
    # Days are counted from it, and PostgreSQL cannot place the ends of Python's calendar in every time zone.
    if not EARLIEST.date() <= value < LATEST.date():
        raise PydanticCustomError("date_range", "must lie between 1900-01-01 and 2099-12-31")
    return value


ReferenceDate = Literal["now", "latest_sale"] | Annotated[Day, AfterValidator(_plausible)]


class TenantSettings(Section):
    """All settings of a tenant, with their defaults."""

    timezone: TimeZone = "Europe/Paris"
    currency: Currency = "EUR"
    reference_date: ReferenceDate = Field(
        "now", description="what recency is measured from: now, latest_sale, or a fixed date"
    )
    active_days: Whole = Field(90, ge=1, le=3650, description="days since an order within which a customer is active")
    rfm: RfmSettings = RfmSettings()
    recommendations: RecommendationSettings = RecommendationSettings()
    audit: AuditSettings = AuditSettings()
    campaigns: CampaignSettings = CampaignSettings()
