"""One tenant compared: sums, cut-offs, scores, segments, profiles and what is derived of all these."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from services.rfm_worker.verification.aliases import alias_differences
from services.rfm_worker.verification.compare import Report, compare, without_zeros
from services.rfm_worker.verification.derived import compare_derived, compare_sums, load_derived
from services.rfm_worker.verification.load import MONEY, Tables, load_tables
from services.rfm_worker.verification.profiles import Profiles, compare_profiles, compute_profiles, load_profiles
from services.rfm_worker.verification.recompute import Expected, recompute
from services.rfm_worker.verification.snapshot import Snapshot
from services.rfm_worker.verification.standing import AXES, Bounds, bounds, scores, values
from services.rfm_worker.verification.tenants import StoredCutoffs, Verified

THIRD = Fraction(1, 10**8)
"""How exactly a third is kept."""
_SUMS = ("orders", "units", "amount", "weight")


async def compare_tenant(
    report: Report, seen: Snapshot, tenant: Verified, on: date, *, codes: Sequence[str] | None = None
) -> None:
    """Compares all rows of a tenant, or all rows of some of its customers.

    Args:
        on: the reference date.
        codes: these customers only. The stored cut-offs are then believed, and products, days and
            periods are left out.
    """
    report.add(await alias_differences(seen.first, tenant.tenant_id))
    tables = await load_tables(seen, tenant.tenant_id, codes)
    # The database answers for the profiles and what is derived while the frames are computed.
    names = tables.customer["customer_code"].to_list()
    reading = asyncio.gather(load_derived(seen, tenant.tenant_id, codes), load_profiles(seen, tenant.tenant_id, names))
    try:
        expected, right = await asyncio.to_thread(_compare_rows, report, tenant, tables, on, codes is None)
    finally:
        derived, stored = await reading
    compare_profiles(report, tenant.tenant_id, stored, right)
    await asyncio.to_thread(compare_derived, report, tenant.tenant_id, derived, tables, expected, profiles=right)
    if codes is None:
        await asyncio.to_thread(compare_sums, report, tenant.tenant_id, derived, tables, expected)
    report.count("profile", tables.customer.height)


def _compare_rows(report: Report, tenant: Verified, tables: Tables, on: date, whole: bool) -> tuple[Expected, Profiles]:
    """Compares what the batches store; answers what it should be, and the profiles, which are not stored."""
    expected = recompute(tables, tenant.timezone)
    _compare_sums(report, tenant, tables, expected, whole)
    found = values(tables.customer, on)
    if whole or tenant.cutoffs is None:
        limits = bounds(found, tenant.fixed)
        report.add(_cutoff_differences(tenant, limits, on, found.height))
    else:
        limits = _stored_bounds(tenant.cutoffs)
        if tenant.cutoffs.reference_date != on:
            report.add([f"cut-offs of tenant {tenant.tenant_id}: reference date is {tenant.cutoffs.reference_date}"])
    _compare_standing(report, tenant, tables, scores(tables.customer, found, limits))
    return expected, compute_profiles(tables, expected, found, limits)


def _compare_sums(report: Report, tenant: Verified, tables: Tables, expected: Expected, whole: bool) -> None:
    sale = ("gross", "net", "cancelled", "returned", "day")
    compare(report, f"sale {tenant.tenant_id}", ["sale_id"], stored=tables.sale, computed=expected.sale, columns=sale)
    report.count("sale", tables.sale.height)
    _compare_customers(report, tenant, tables.customer, expected.customer)
    kept = {"customer_product": ["customer_code", "product_key"]}
    if whole:
        kept |= {"product": ["product_key"], "day": ["day"]}
    for table, keys in kept.items():
        stored: pl.DataFrame = getattr(tables, table)
        computed: pl.DataFrame = without_zeros(getattr(expected, table))
        columns = [name for name in _SUMS if name in computed.columns]
        name = f"{table} {tenant.tenant_id}"
        compare(report, name, keys, stored=without_zeros(stored), computed=computed, columns=columns)
        report.count(table, stored.height)


def _compare_customers(report: Report, tenant: Verified, stored: pl.DataFrame, bought: pl.DataFrame) -> None:
    """A customer exists as long as master data or a sale names it."""
    columns = ("frequency", "monetary", "first_order_at", "last_order_at", "last_order_day")
    named = stored.filter(pl.col("master_version").is_not_null()).select("customer_code")
    computed = named.join(bought, on="customer_code", how="full", coalesce=True).with_columns(
        pl.col("frequency").fill_null(0), pl.col("monetary").fill_null(pl.lit("0").cast(MONEY))
    )
    name = f"customer {tenant.tenant_id}"
    compare(report, name, ["customer_code"], stored=stored, computed=computed, columns=columns)
    report.count("customer", stored.height)


def _stored_bounds(cutoffs: StoredCutoffs) -> Bounds:
    axes = {axis: [Fraction(bound) for bound in cutoffs.axes[axis]] for axis in AXES}
    return Bounds(axes, [Fraction(bound) for bound in cutoffs.average_basket])


def _cutoff_differences(tenant: Verified, right: Bounds, on: date, count: int) -> Iterable[str]:
    name = f"cut-offs of tenant {tenant.tenant_id}"
    if tenant.cutoffs is None:
        if count:
            yield f"{name}: missing"
        return
    stored = _stored_bounds(tenant.cutoffs)
    if tenant.cutoffs.reference_date != on:
        yield f"{name}: reference date is {tenant.cutoffs.reference_date}, should be {on}"
    if tenant.cutoffs.customers != count:
        yield f"{name}: customers is {tenant.cutoffs.customers}, should be {count}"
    for axis in AXES:
        if stored.axes[axis] != right.axes[axis]:
            yield f"{name}: {axis} are {_shown(stored.axes[axis])}, should be {_shown(right.axes[axis])}"
    close = len(stored.baskets) == len(right.baskets) and all(
        abs(a - b) <= THIRD for a, b in zip(stored.baskets, right.baskets, strict=True)
    )
    if not close:
        yield f"{name}: terciles are {_shown(stored.baskets)}, should be {_shown(right.baskets)}"


def _shown(limits: Iterable[Decimal | Fraction]) -> str:
    return "[" + ", ".join(f"{float(limit):g}" for limit in limits) + "]"


def _compare_standing(report: Report, tenant: Verified, tables: Tables, right: pl.DataFrame) -> None:
    name = f"customer {tenant.tenant_id}"
    columns = ("r", "f", "m", "segment")
    compare(report, name, ["customer_code"], stored=tables.customer, computed=right, columns=columns)
    told = tables.customer.join(tables.history, on="customer_code", how="full", coalesce=True)
    last = pl.col("last_segment").fill_null("prospect")
    report.add_rows(
        told.filter(last.ne_missing(pl.col("segment"))).sort("customer_code"),
        lambda row: (
            f"{name}/{row['customer_code']}: the last change of segment says {row['last_segment']}, "
            f"the customer {row['segment']}"
        ),
    )
