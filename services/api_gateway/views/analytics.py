"""Figures of a period in answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field

from services.api_gateway import examples
from services.api_gateway.periods import DayRange, Grain, Span
from services.api_gateway.repository.analytics import Measure
from services.api_gateway.repository.segment_moves import Flows, count_ends
from services.api_gateway.views.numbers import Amount, Quantity
from services.api_gateway.views.rfm import NAMES
from shared.events.payloads import Segment


class Period(BaseModel):
    """Local days of the tenant, both included."""

    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")


class CustomerCounts(BaseModel):
    """Customers of a tenant."""

    total: int = Field(description="all that existed at the end of the period, at the latest at the reference date")
    active: int = Field(description="with a counting order in the last active_days before then")
    new: int = Field(description="whose first counting order lies in the period")


class Figures(BaseModel):
    """What a period came to, returns and cancellations taken off on the day of their sale."""

    period: Period
    customers: CustomerCounts
    orders: int
    revenue: Amount
    average_basket: Amount | None
    repeat_rate: float | None = Field(
        description="customers with two or more orders in the period, of those with one; null without any"
    )


class Overview(Figures):
    """A period, and beside it as many days directly before."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.OVERVIEW]})

    currency: str
    previous: Figures


class Point(BaseModel):
    """A day, ISO week or month, as far as it lies in the period."""

    period: str = Field(description="2026-11-20, 2026-W47 or 2026-11")
    first: date = Field(serialization_alias="from")
    last: date = Field(serialization_alias="to")
    orders: int
    units: Quantity
    revenue: Amount
    customers: int = Field(description="distinct customers with a counting order; erased ones and nobody are none")


class SalesTrend(BaseModel):
    """Points without sales are there with zeros."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SALES_TREND]})

    period: Period
    granularity: Grain
    currency: str
    points: list[Point]
    previous: list[Point] = Field(description="the same for as many days directly before")


class Standing(BaseModel):
    """How many customers stood in a segment at the end of a day."""

    segment: Segment
    name: str
    customers: int
    share: float = Field(description="of all customers of that day, 0 to 1, four decimals")


class Flow(BaseModel):
    """Customers who stood in one segment and then in another, or who stayed."""

    was: Segment | None = Field(serialization_alias="from", description="null: not a customer yet")
    became: Segment | None = Field(serialization_alias="to", description="null: master data are newer than that day")
    customers: int


class SegmentMoves(BaseModel):
    """All segments at the end of the first and of the last day, and who went from where to where in between."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SEGMENT_MOVES]})

    period: Period
    before: list[Standing]
    after: list[Standing]
    flows: list[Flow] = Field(description="one per pair that somebody took, largest first")
    moved: int = Field(description="customers who stand elsewhere at the end")


class TopProduct(BaseModel):
    """A product that sold in the period, returns taken off."""

    product_key: str
    name: str | None
    family: str
    orders: int
    units: Quantity
    revenue: Amount
    share: float = Field(description="of the period's revenue, 0 to 1, four decimals")


class TopFamily(BaseModel):
    """A family that sold in the period; a product counts for the family that it has now."""

    family: str
    products: int
    product_orders: int = Field(description="orders of each of its products; one with two of them counts twice")
    units: Quantity
    revenue: Amount
    share: float = Field(description="of the period's revenue, 0 to 1, four decimals")


class TopProducts(BaseModel):
    """The largest products and families of a period; ties by key."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TOP_PRODUCTS]})

    period: Period
    by: Measure
    currency: str
    units: Quantity
    revenue: Amount
    product_count: int = Field(description="products that sold at all")
    products: list[TopProduct]
    families: list[TopFamily]


def period_of(days: DayRange) -> Period:
    """The period of an answer."""
    return Period(first=days.first, last=days.last)


@dataclass(frozen=True, slots=True)
class Buyers:
    """Customers with a counting order on some days, and those of them with two or more."""

    once: int = 0
    again: int = 0

    @property
    def repeat_rate(self) -> float | None:
        """The share of the latter, half up to four decimals; None without any."""
        if not self.once:
            return None
        return float((Decimal(self.again) / self.once).quantize(Decimal("0.0001"), ROUND_HALF_UP))


def overview_of(
    days: DayRange, currency: str, customers: Any, sums: Sequence[Any], buyers: Sequence[Buyers | None]
) -> Overview:
    """The overview.

    Args:
        customers: total and began of now and then; active of now, None to take it from `buyers`.
        sums: orders, revenue and average basket of now and then.
        buyers: of now and then, and of the days up to the end of each in which one is active.
    """
    now, then, active, active_then = (each or Buyers() for each in buyers)
    before = CustomerCounts(total=customers.total_then, active=active_then.once, new=customers.began_then)
    current = CustomerCounts(
        total=customers.total, active=active.once if customers.active is None else customers.active, new=customers.began
    )
    previous = _figures(days.before(), before, sums[1], then)
    return Overview(**_figures(days, current, sums[0], now).model_dump(), currency=currency, previous=previous)


def _figures(days: DayRange, customers: CustomerCounts, row: Any, buyers: Buyers) -> Figures:
    return Figures(
        period=period_of(days), customers=customers, orders=row.orders, revenue=row.revenue,
        average_basket=row.average_basket, repeat_rate=buyers.repeat_rate,
    )  # fmt: skip


def points_of(spans: Sequence[Span], rows: Sequence[Any]) -> list[Point]:
    """Points, from their spans and rows."""
    return [
        Point(
            period=span.label, first=span.inside.first, last=span.inside.last, orders=row.orders, units=row.units,
            revenue=row.revenue, customers=row.customers,
        )
        for span, row in zip(spans, rows, strict=True)
    ]  # fmt: skip


def moves_of(days: DayRange, flows: Flows) -> SegmentMoves:
    """Both ends and the flows between them."""
    before, after = count_ends(flows)
    listed = sorted(flows.items(), key=lambda flow: (-flow[1], str(flow[0])))
    return SegmentMoves.model_validate(
        {
            "period": period_of(days),
            "before": _standings(before),
            "after": _standings(after),
            "flows": [{"was": was, "became": became, "customers": number} for (was, became), number in listed],
            "moved": sum(number for (was, became), number in flows.items() if was != became),
        }
    )


def _standings(counts: Mapping[str, int]) -> list[Standing]:
    total = sum(counts.values())
    return [
        Standing(
            segment=key, name=NAMES[key], customers=counts.get(key, 0),
            share=round(counts.get(key, 0) / total, 4) if total else 0.0,
        )
        for key in get_args(Segment)
    ]  # fmt: skip


def products_of(days: DayRange, measure: Measure, currency: str, rows: Sequence[Any]) -> TopProducts:
    """The largest products and families, from rows of the kinds product, family and total."""
    (total,) = (row for row in rows if row.kind == "total")
    products = [
        TopProduct(
            product_key=row.key, name=row.name, family=row.family, orders=row.orders, units=row.units,
            revenue=row.revenue, share=_share(row.revenue, total.revenue),
        )
        for row in rows if row.kind == "product"
    ]  # fmt: skip
    families = [
        TopFamily(
            family=row.key, products=row.products, product_orders=row.orders, units=row.units, revenue=row.revenue,
            share=_share(row.revenue, total.revenue),
        )
        for row in rows if row.kind == "family"
    ]  # fmt: skip
    return TopProducts(
        period=period_of(days), by=measure, currency=currency, units=total.units, revenue=total.revenue,
        product_count=total.products, products=products, families=families,
    )  # fmt: skip


def _share(part: Decimal, total: Decimal) -> float:
    return float(round(part / total, 4)) if total else 0.0
