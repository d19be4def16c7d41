"""Profiles: the SQL function's answer for every customer against a recomputation from the ledger."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import polars as pl

from services.rfm_worker.verification.compare import Report
from services.rfm_worker.verification.load import Ledger, Tables
from services.rfm_worker.verification.recompute import Expected
from services.rfm_worker.verification.snapshot import Snapshot, Types
from services.rfm_worker.verification.standing import Bounds, below

PAGE = 1000
"""Customers in one question: so many that their rows are read in one pass, and so few that no connection has a long one
left when the others are done."""
BANDS = {0: "low", 1: "medium", 2: "high"}
SHARE = 0.000051
"""A share is rounded to 4 decimals by both sides, from weights that differ in the last binary digit."""
LOOK_BACK = 50
SCALE = 8
"""Decimals of the numbers that are compared: more than any of them has."""
_OF_A_QUARTER = 2_500
"""Whole steps in a quarter of a step of 4 decimals."""
_NUMBERS = ("average_basket", "budget_low", "budget_typical", "budget_high", "usual_interval_days")
_PLAIN = ("budget_band", "next_order_expected_at")
_PROFILES = """
select customer_code, average_basket, preferred_families::text as families, budget_band, budget_low, budget_typical,
    budget_high, usual_interval_days, next_order_expected_at - date '1970-01-01' as next_order_expected_at
from rfm.customer_profiles($1, $2::text[])
"""
_CODES = "select customer_code from customer where tenant_id = $1 order by customer_code"
_TYPES: Types = {**dict.fromkeys(_NUMBERS, pl.Decimal(38, SCALE)), "next_order_expected_at": pl.Int32}
_FAMILIES = pl.List(pl.Struct({"family": pl.String, "share": pl.Float64}))


async def load_profiles(seen: Snapshot, tenant_id: UUID, codes: Sequence[str] | None) -> pl.DataFrame:
    """What the API would answer for these customers, or without them for all."""
    if codes is None:
        codes = [row["customer_code"] for row in await seen.rows(_CODES, tenant_id)]
    pages = [list(codes[start : start + PAGE]) for start in range(0, len(codes), PAGE)] or [[]]
    return pl.concat(await asyncio.gather(*(seen.frame(_PROFILES, _TYPES, tenant_id, page) for page in pages)))


@dataclass(frozen=True, slots=True)
class Profiles:
    """What the answers should be."""

    plain: pl.DataFrame
    """One row a customer; numbers are whole, with `SCALE` decimals."""
    shares: pl.DataFrame
    """Per customer and family the share of the decayed net spend, and its rank from 0."""


def compute_profiles(
    ledger: Ledger, tables: Tables, expected: Expected, values: pl.DataFrame, bounds: Bounds
) -> Profiles:
    """The profile of every customer.

    Args:
        values: of the customers with a counting order, average_basket among them.
        bounds: the terciles decide the band.
    """
    counting = expected.sale.filter((pl.col("counts") == 1) & pl.col("counted").is_not_null())
    band = below("average_basket", bounds.baskets).replace_strict(BANDS, return_dtype=pl.String)
    baskets = values.select(
        "customer_code", average_basket=pl.col("average_basket") * 10 ** (SCALE - 4), budget_band=band
    )
    plain = (
        tables.customer.select("customer_code")
        .join(baskets, on="customer_code", how="left")
        .join(_budgets(counting, ledger.line), on="customer_code", how="left")
        .join(_intervals(counting), on="customer_code", how="left")
    )
    return Profiles(plain, _shares(tables, expected))


def compare_profiles(report: Report, tenant_id: UUID, stored: pl.DataFrame, right: Profiles) -> None:
    """Notes each value of a profile that differs."""
    name = f"profile {tenant_id}"
    both = right.plain.join(stored, on="customer_code", how="left", suffix="_stored")
    there = pl.col("families").is_not_null()
    report.add_rows(both.filter(~there), lambda row: f"{name}/{row['customer_code']}: missing")
    for column in (*_NUMBERS, *_PLAIN):
        actual = pl.col(f"{column}_stored")
        actual = actual.to_physical() if column in _NUMBERS else actual.cast(both.schema[column])

        def differs(row: Mapping[str, Any], column: str = column) -> str:
            right = _shown(column, row[column])
            return f"{name}/{row['customer_code']}: {column} is {row[f'{column}_stored']}, should be {right}"

        wrong = both.filter(there & actual.ne_missing(pl.col(column)))
        report.add_rows(wrong.sort("customer_code"), differs)
    _compare_families(report, name, both.filter(there).select("customer_code", "families"), right.shares)


def _shown(column: str, value: object) -> object:
    return value / 10**SCALE if column in _NUMBERS and isinstance(value, int) else value


def _budgets(counting: pl.DataFrame, line: pl.DataFrame) -> pl.DataFrame:
    """Quartiles of the unit prices of the units in the last lines; a line counts whole units, at least one."""
    newest = (
        counting.sort("sold_at", "sale_id", descending=True)
        .with_columns(lines_before=pl.col("lines").cum_sum().over("counted") - pl.col("lines"))
        .filter(pl.col("lines_before") < LOOK_BACK)
        .select("i", "counted", "lines_before")
    )
    units = ((pl.col("quantity") + 500) // 1000).clip(lower_bound=1)
    recent = (
        line.join(newest, on="i", maintain_order="left")
        .with_columns(after=pl.len().over("i") - pl.int_range(pl.len()).over("i") - 1)
        .filter(pl.col("lines_before") + pl.col("after") < LOOK_BACK)
        .select(customer_code="counted", price=pl.col("unit_price").cast(pl.Int128), units=units)
        .sort("customer_code", "price")
        .with_columns(upto=pl.col("units").cum_sum().over("customer_code"))
    )
    names = ("budget_low", "budget_typical", "budget_high")
    return recent.group_by("customer_code").agg(*(_quartile(k).alias(name) for k, name in enumerate(names, 1)))


def _quartile(k: int) -> pl.Expr:
    """From price (4 decimals) and units so far, cheapest first: the k-th quartile, linear between two units."""
    place = (pl.col("upto").max() - 1) * k
    price, upto = pl.col("price"), pl.col("upto")
    low = price.filter(upto > place // 4).min()
    high = price.filter(upto > place // 4 + 1).min().fill_null(price.max())
    return (4 * low + (place % 4) * (high - low)) * _OF_A_QUARTER


def _intervals(counting: pl.DataFrame) -> pl.DataFrame:
    """Median gap between the last local dates with an order, and when the next one is expected."""
    days = (
        counting.select(customer_code="counted", day="day").unique().sort("customer_code", "day", descending=True)
        .filter(pl.int_range(pl.len()).over("customer_code") < LOOK_BACK)
        .with_columns(gap=(pl.col("day").shift(1).over("customer_code") - pl.col("day")).dt.total_days())
    )  # fmt: skip
    ordered = pl.col("gap").drop_nulls().sort()
    middle = (ordered.len().cast(pl.Int64) - 1).clip(lower_bound=0)
    doubled = ordered.get(middle // 2, null_on_oob=True) + ordered.get((middle + 1) // 2, null_on_oob=True)
    return (
        days.group_by("customer_code").agg(doubled=doubled, last=pl.col("day").max())
        .select(
            "customer_code",
            usual_interval_days=pl.col("doubled").cast(pl.Int128) * (10**SCALE // 2),
            next_order_expected_at=pl.col("last") + pl.duration(days=(pl.col("doubled") + 1) // 2),
        )
    )  # fmt: skip


def _shares(tables: Tables, expected: Expected) -> pl.DataFrame:
    """Per customer the share of each family of its decayed net spend, and its rank from 0."""
    return (
        expected.customer_product.filter(pl.col("weight") > 0)
        .join(tables.product.select("product_key", "family"), on="product_key", how="left")
        .group_by("customer_code", pl.col("family").fill_null("unknown"))
        .agg(pl.col("weight").sum())
        .with_columns(share=pl.col("weight") / pl.col("weight").sum().over("customer_code"))
        .sort("customer_code", "share", descending=[False, True])
        .with_columns(rank=pl.int_range(pl.len()).over("customer_code"))
        .select("customer_code", pl.col("family").cast(pl.String), "share", "rank")
    )


def _compare_families(report: Report, name: str, stored: pl.DataFrame, shares: pl.DataFrame) -> None:
    """The largest three, in order; families that are equally large to within rounding may stand either way."""
    told = (
        stored.select("customer_code", entry=pl.col("families").str.json_decode(_FAMILIES))
        .explode("entry", empty_as_null=False, keep_nulls=False).unnest("entry")
        .with_columns(rank=pl.int_range(pl.len()).over("customer_code"))
    )  # fmt: skip
    largest = shares.filter(pl.col("rank") < 3).select("customer_code", "rank", largest="share")
    matched = told.join(
        shares.select("customer_code", "family", own="share"), on=["customer_code", "family"], how="left"
    ).join(largest, on=["customer_code", "rank"], how="full", coalesce=True)
    near = [(pl.col(other) - pl.col("share")).abs() <= SHARE for other in ("own", "largest")]
    wrong = matched.filter(~pl.all_horizontal(near).fill_null(False)).select("customer_code").unique()
    right = largest.join(shares, on=["customer_code", "rank"]).group_by("customer_code").agg("family", "share")
    bad = wrong.join(stored, on="customer_code").join(right, on="customer_code", how="left").sort("customer_code")
    report.add_rows(
        bad,
        lambda row: (
            f"{name}/{row['customer_code']}: families are {row['families']}, should be "
            f"{dict(zip(row['family'] or (), row['share'] or (), strict=True))}"
        ),
    )
