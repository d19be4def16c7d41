"""Profiles: the SQL function's answer for every customer against a recomputation from the ledger."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.verification.load import Tables
from services.rfm_worker.verification.recompute import Expected
from services.rfm_worker.verification.standing import (
    Bounds,
    History,
    average_basket,
    histories,
    interval,
    next_order,
    price_quantile,
)

PAGE = 500
BANDS = ("low", "medium", "high")
SHARE = 0.000051
"""A share is rounded to 4 decimals by both sides, from weights that differ in the last binary digit."""
_PROFILES = "select *, preferred_families::text as families from rfm.customer_profiles($1, $2::text[])"
_QUARTILES = {
    "budget_low": Fraction(1, 4), "budget_typical": Fraction(1, 2), "budget_high": Fraction(3, 4),
}  # fmt: skip


async def profile_differences(
    raw: Raw, tenant: Mapping[str, Any], tables: Tables, expected: Expected, bounds: Bounds
) -> list[str]:
    """One sentence per value of a profile that differs."""
    customers = {row["customer_code"]: row for row in tables["customer"].to_dicts()}
    past = histories(expected.sale, tables["line"])
    families = _families(tables, expected)
    codes = sorted(customers)
    found: list[str] = []
    for start in range(0, len(codes), PAGE):
        page = codes[start : start + PAGE]
        answers = {row["customer_code"]: row for row in await raw.fetch(_PROFILES, tenant["tenant_id"], page)}
        for code in page:
            right = _profile(customers[code], past.get(code, History()), bounds)
            found += _compare(tenant, code, answers.get(code), right, families.get(code, {}))
    return found


def _families(tables: Tables, expected: Expected) -> dict[str, dict[str, float]]:
    """Per customer the share of each family of its decayed net spend."""
    known = tables["product"].select("tenant_id", "product_key", "family")
    weights = (
        expected.customer_product.filter(pl.col("weight") > 0)
        .join(known, on=["tenant_id", "product_key"], how="left")
        .group_by("customer_code", pl.col("family").fill_null("unknown"))
        .agg(pl.col("weight").sum())
        .with_columns((pl.col("weight") / pl.col("weight").sum().over("customer_code")).alias("share"))
    )
    shares: dict[str, dict[str, float]] = {}
    for code, family, share in weights.select("customer_code", "family", "share").iter_rows():
        shares.setdefault(code, {})[family] = share
    return shares


def _profile(customer: Mapping[str, Any], past: History, bounds: Bounds) -> dict[str, object]:
    basket = average_basket(customer["monetary"], customer["frequency"])
    known = basket is not None and bounds.baskets
    usual = interval(past.days)
    right: dict[str, object] = {
        "average_basket": basket,
        "budget_band": BANDS[bisect_left(bounds.baskets, Fraction(basket or 0))] if known else None,
        "usual_interval_days": usual,
        "next_order_expected_at": next_order(past.days[0], usual) if past.days else None,
    }
    for name, share in _QUARTILES.items():
        right[name] = price_quantile(past.prices, share) if past.prices else None
    return right


def _compare(
    tenant: Mapping[str, Any],
    code: str,
    answer: Mapping[str, Any] | None,
    right: Mapping[str, object],
    shares: Mapping[str, float],
) -> Iterable[str]:
    name = f"profile {tenant['tenant_id']}/{code}"
    if answer is None:
        yield f"{name}: missing"
        return
    for column, value in right.items():
        stored = answer[column]
        exact = Fraction(stored) if isinstance(stored, Decimal) and isinstance(value, Fraction) else stored
        if exact != value:
            yield f"{name}: {column} is {stored}, should be {value}"
    if not _same_families(json.loads(answer["families"]), shares):
        yield f"{name}: families are {answer['families']}, should be {shares}"


def _same_families(stored: Sequence[Mapping[str, Any]], shares: Mapping[str, float]) -> bool:
    """The largest three, in order; families that are equally large to within rounding may stand either way."""
    largest = sorted(shares.values(), reverse=True)[:3]
    return len(stored) == len(largest) and all(
        abs(shares.get(entry["family"], -1.0) - entry["share"]) <= SHARE and abs(share - entry["share"]) <= SHARE
        for entry, share in zip(stored, largest, strict=True)
    )
