"""What cut-offs, scores, segments and profiles should be, in fractions: nothing is rounded before it has to be."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import polars as pl

from services.rfm_worker.domain.scores import PROSPECT, SEGMENT_OF_CODE

AXES = ("recency_days", "frequency", "monetary")
LOOK_BACK = 50


def quantile(ordered: Sequence[Fraction], share: Fraction) -> Fraction:
    """Linear interpolation between the two nearest of the sorted values."""
    position = (len(ordered) - 1) * share
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Exact bounds per axis and the terciles of the average basket; empty without a customer who has ordered."""

    axes: Mapping[str, list[Fraction]]
    baskets: list[Fraction]


def average_basket(monetary: Decimal, frequency: int) -> Decimal | None:
    """Rounded half-even to 4 decimals."""
    if frequency == 0:
        return None
    return (Decimal(round(Fraction(monetary) * 10_000 / frequency)) / 10_000).quantize(
        Decimal("0.0001"), ROUND_HALF_EVEN
    )


def bounds(customers: Sequence[Mapping[str, Any]], on: date, fixed: Mapping[str, Sequence[object]] | None) -> Bounds:
    """The bounds of these customers (frequency, monetary, last_order_day) on a reference date."""
    ordered = [c for c in customers if c["frequency"] > 0]
    if not ordered:
        return Bounds({axis: [] for axis in AXES}, [])
    values: dict[str, list[Fraction]] = {axis: sorted(value_of(c, axis, on) for c in ordered) for axis in AXES}
    if fixed is not None:
        axes = {axis: [Fraction(str(bound)) for bound in fixed[axis]] for axis in AXES}
    else:
        axes = {axis: [quantile(values[axis], Fraction(k, 5)) for k in (1, 2, 3, 4)] for axis in AXES}
    baskets = sorted(Fraction(average_basket(c["monetary"], c["frequency"]) or 0) for c in ordered)
    return Bounds(axes, [quantile(baskets, Fraction(k, 3)) for k in (1, 2)])


def value_of(customer: Mapping[str, Any], axis: str, on: date) -> Fraction:
    """A customer's value on an axis."""
    if axis == "recency_days":
        return Fraction(max(0, (on - customer["last_order_day"]).days))
    return Fraction(customer[axis])


def scores(customer: Mapping[str, Any], found: Bounds, on: date) -> tuple[int | None, int | None, int | None, str]:
    """r, f, m and the segment."""
    if customer["frequency"] == 0:
        return None, None, None, PROSPECT
    below = {axis: bisect_left(found.axes[axis], value_of(customer, axis, on)) for axis in AXES}
    r, f, m = 5 - below["recency_days"], 1 + below["frequency"], 1 + below["monetary"]
    return r, f, m, SEGMENT_OF_CODE[f"{r}{f}{m}"]


@dataclass(slots=True)
class History:
    """What the profile of one customer depends on."""

    prices: list[tuple[Decimal, int]] = field(default_factory=list)
    """Unit price and whole units of the last lines."""
    days: list[date] = field(default_factory=list)
    """Distinct local dates of the last counting orders, newest first."""
    families: list[tuple[str, Fraction]] = field(default_factory=list)


def histories(sale: pl.DataFrame, line: pl.DataFrame) -> dict[str, History]:
    """Per customer of one tenant."""
    counting = sale.filter((pl.col("counts") == 1) & pl.col("counted").is_not_null())
    found: dict[str, History] = {}
    days = counting.select("counted", "day").unique().sort("day", descending=True)
    for code, day in days.iter_rows():
        history = found.setdefault(code, History())
        if len(history.days) < LOOK_BACK:
            history.days.append(day)
    newest = (
        line.join(counting.select("tenant_id", "sale_id", "counted", "sold_at"), on=["tenant_id", "sale_id"])
        .sort(["sold_at", "sale_id", "n"], descending=True)
        .group_by("counted", maintain_order=True).head(LOOK_BACK)
    )  # fmt: skip
    for code, price, quantity in newest.select("counted", "unit_price", "quantity").iter_rows():
        found[code].prices.append((price, max(1, int(quantity.quantize(Decimal(1), ROUND_HALF_UP)))))
    return found


def price_quantile(prices: Sequence[tuple[Decimal, int]], share: Fraction) -> Fraction:
    """A quantile over units without listing them one by one."""
    ordered = sorted(prices)
    position = (sum(units for _, units in ordered) - 1) * share
    low, high = _unit(ordered, math.floor(position)), _unit(ordered, math.ceil(position))
    return low + (high - low) * (position - math.floor(position))


def _unit(ordered: Sequence[tuple[Decimal, int]], index: int) -> Fraction:
    seen = 0
    for price, units in ordered:
        seen += units
        if index < seen:
            return Fraction(price)
    raise IndexError(index)


def interval(days: Sequence[date]) -> Fraction | None:
    """Median gap in days."""
    gaps = sorted(Fraction((later - earlier).days) for later, earlier in pairwise(days))
    return quantile(gaps, Fraction(1, 2)) if gaps else None


def next_order(last: date, usual: Fraction | None) -> date | None:
    """The last order's day and the usual interval, rounded half up."""
    return None if usual is None else last + timedelta(days=math.floor(usual + Fraction(1, 2)))
