"""What cut-offs, scores and segments should be: values as whole numbers, bounds as fractions, nothing is rounded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import polars as pl

from services.rfm_worker.domain.scores import PROSPECT, SEGMENT_OF_CODE

AXES = ("recency_days", "frequency", "monetary")
STEPS = {"recency_days": 1, "frequency": 1, "monetary": 10_000, "average_basket": 10_000}
"""How many whole steps one unit of a value has."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Exact bounds per axis and the terciles of the average basket; empty without a customer who has ordered."""

    axes: Mapping[str, list[Fraction]]
    baskets: list[Fraction]


def values(customer: pl.DataFrame, on: date) -> pl.DataFrame:
    """Of each customer with a counting order, in whole steps: the values on the axes, and the average basket.

    Args:
        customer: customer_code, frequency, monetary (whole steps of 4 decimals), last_order_day.
        on: the reference date.
    """
    paid, orders = pl.col("monetary").cast(pl.Int128), pl.col("frequency").cast(pl.Int128)
    whole, twice_the_rest = paid // orders, 2 * (paid % orders)
    half_even = (twice_the_rest > orders) | ((twice_the_rest == orders) & (whole % 2 == 1))
    return customer.filter(pl.col("frequency") > 0).select(
        "customer_code",
        recency_days=(pl.lit(on) - pl.col("last_order_day")).dt.total_days().clip(lower_bound=0).cast(pl.Int128),
        frequency=orders,
        monetary=paid,
        average_basket=whole + half_even.cast(pl.Int128),
    )


def quantile(ordered: Sequence[int] | pl.Series, share: Fraction) -> Fraction:
    """Linear interpolation between the two nearest of the sorted values."""
    position = (len(ordered) - 1) * share
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def bounds(found: pl.DataFrame, fixed: Mapping[str, Sequence[object]] | None) -> Bounds:
    """The bounds of these values, or the tenant's own ones on the axes."""
    if not found.height:
        return Bounds({axis: [] for axis in AXES}, [])
    if fixed is not None:
        axes = {axis: [Fraction(str(bound)) for bound in fixed[axis]] for axis in AXES}
    else:
        axes = {axis: _quantiles(found[axis], 5) for axis in AXES}
    return Bounds(axes, _quantiles(found["average_basket"], 3))


def _quantiles(column: pl.Series, parts: int) -> list[Fraction]:
    ordered = column.sort()
    return [quantile(ordered, Fraction(k, parts)) / STEPS[column.name] for k in range(1, parts)]


def below(axis: str, limits: Sequence[Fraction]) -> pl.Expr:
    """How many of these bounds are below a value: a whole number is above a fraction if it is above its floor."""
    floors = [math.floor(limit * STEPS[axis]) for limit in limits]
    return sum((pl.col(axis) > pl.lit(floor, pl.Int128) for floor in floors), pl.lit(0)).cast(pl.Int64)


def scores(customer: pl.DataFrame, found: pl.DataFrame, limits: Bounds) -> pl.DataFrame:
    """customer_code, r, f, m and segment of every customer; those without a counting order are prospects."""
    scored = found.select(
        "customer_code",
        r=5 - below("recency_days", limits.axes["recency_days"]),
        f=1 + below("frequency", limits.axes["frequency"]),
        m=1 + below("monetary", limits.axes["monetary"]),
    )
    segments = {int(code): segment for code, segment in SEGMENT_OF_CODE.items()}
    code = pl.col("r") * 100 + pl.col("f") * 10 + pl.col("m")
    named = scored.with_columns(segment=code.replace_strict(segments, return_dtype=pl.String))
    return customer.select("customer_code").join(named, on="customer_code", how="left").with_columns(
        pl.col("segment").fill_null(PROSPECT)
    )  # fmt: skip
