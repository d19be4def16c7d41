"""One tenant compared: sums, cut-offs, scores, segments, profiles and what is derived of all these."""

import asyncio
from asyncio import Task
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from services.rfm_worker.verification.aliases import alias_differences
from services.rfm_worker.verification.compare import Report, compare, without_zeros
from services.rfm_worker.verification.derived import Derived, compare_derived, compare_sums, load_derived
from services.rfm_worker.verification.load import Ledger, Tables, load_ledger, load_tables
from services.rfm_worker.verification.profiles import Profiles, compare_profiles, compute_profiles, load_profiles
from services.rfm_worker.verification.recompute import Expected, recompute
from services.rfm_worker.verification.snapshot import Snapshot
from services.rfm_worker.verification.standing import AXES, Bounds, bounds, scores, values
from services.rfm_worker.verification.tenants import StoredCutoffs, Verified

Reading = tuple[Task[Ledger], Task[Tables], Task[Derived], Task[list[str]], Task[pl.DataFrame]]
"""What is being read of a tenant."""
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
    tenant_id = tenant.tenant_id
    # In the order in which it is needed: the database answers the next while what has come is computed.
    reading = (
        asyncio.create_task(load_ledger(seen, tenant_id, codes)),
        asyncio.create_task(load_tables(seen, tenant_id, codes)),
        asyncio.create_task(load_derived(seen, tenant_id, codes)),
        asyncio.create_task(alias_differences(seen, tenant_id)),
        asyncio.create_task(load_profiles(seen, tenant_id, codes)),
    )
    try:
        await _compare_all(report, tenant, on, reading, whole=codes is None)
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is compared of a tenant."""

    tenant: Verified
    ledger: Ledger
    tables: Tables
    expected: Expected
    whole: bool
    """Whether it is everything, not a sample."""


async def _compare_all(report: Report, tenant: Verified, on: date, reading: Reading, *, whole: bool) -> None:
    ledger_read, tables_read, derived_read, aliases_read, profiles_read = reading
    tenant_id, kept, derived, sums = tenant.tenant_id, Report(), Report(), Report()
    ledger = await ledger_read
    expected = await asyncio.to_thread(recompute, ledger, tenant.timezone)
    tables, stored = await tables_read, await derived_read
    work = _Work(tenant, ledger, tables, expected, whole)
    rows = asyncio.to_thread(_compare_rows, kept, work, on)
    if whole:
        right, _ = await asyncio.gather(
            rows, asyncio.to_thread(compare_sums, sums, tenant_id, stored, tables, expected)
        )
    else:
        right = await rows
    await asyncio.to_thread(compare_derived, derived, tenant_id, stored, tables, expected, profiles=right)
    # What is found is told in the order of what it is derived from, whichever was compared first.
    report.add(await aliases_read)
    report.join(kept)
    compare_profiles(report, tenant_id, await profiles_read, right)
    report.join(derived)
    report.join(sums)
    report.count("profile", tables.customer.height)


def _compare_rows(report: Report, work: _Work, on: date) -> Profiles:
    """Compares what the batches store; answers the profiles, which are not stored, as they should be."""
    tenant, tables = work.tenant, work.tables
    _compare_sums(report, work)
    found = values(tables.customer, on)
    if work.whole or tenant.cutoffs is None:
        limits = bounds(found, tenant.fixed)
        report.add(_cutoff_differences(tenant, limits, on, found.height))
    else:
        limits = _stored_bounds(tenant.cutoffs)
        if tenant.cutoffs.reference_date != on:
            report.add([f"cut-offs of tenant {tenant.tenant_id}: reference date is {tenant.cutoffs.reference_date}"])
    _compare_standing(report, tenant, tables, scores(tables.customer, found, limits))
    return compute_profiles(work.ledger, tables, work.expected, found, limits)


def _compare_sums(report: Report, work: _Work) -> None:
    tenant, ledger, tables, expected = work.tenant, work.ledger, work.tables, work.expected
    sale = ("gross", "net", "cancelled", "returned", "day")
    compare(report, f"sale {tenant.tenant_id}", ["sale_id"], stored=ledger.sale, computed=expected.sale, columns=sale)
    report.count("sale", ledger.sale.height)
    _compare_customers(report, tenant, tables.customer, expected.customer)
    kept = {"customer_product": ["customer_code", "product_key"]}
    if work.whole:
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
        pl.col("frequency").fill_null(0), pl.col("monetary").fill_null(0)
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
