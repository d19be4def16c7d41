"""The run of a verification: one snapshot, tenant by tenant."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import polars as pl
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.settings import RfmWorkerSettings
from services.rfm_worker.tables import SCHEMA
from services.rfm_worker.verification.compare import Report, differences, without_zeros
from services.rfm_worker.verification.derived import compare_derived
from services.rfm_worker.verification.load import MONEY, Tables, load_tables
from services.rfm_worker.verification.profiles import profile_differences
from services.rfm_worker.verification.recompute import Expected, recompute
from services.rfm_worker.verification.standing import AXES, Bounds, bounds, scores
from shared.db.engine import create_engine, driver_connection

WAIT_S = 30.0
"""Seconds that a run waits for the scorer to have served every request."""
THIRD = Fraction(1, 10**8)
"""How exactly a third is kept."""
_TENANTS = """
select t.tenant_id, t.timezone, t.reference_date, t.rfm_method, t.rfm_bounds::text as rfm_bounds,
    c.method, c.reference_date as on_date, c.customers, c.recency_days, c.frequency, c.monetary,
    c.average_basket, (select max(d.day) from day d where d.tenant_id = t.tenant_id and d.orders > 0) as newest,
    exists (select from score_request q where q.tenant_id = t.tenant_id) as waiting
from tenant t left join cutoffs c using (tenant_id)
where (t.tenant_id = $1 or $1 is null) order by t.tenant_id
"""


class NoSuchTenantError(Exception):
    """There is nothing to verify: the text is no id, or no tenant has it."""


def tenant_id_of(written: str) -> UUID:
    """The id of a tenant from what somebody typed.

    Raises:
        NoSuchTenantError: it has not the form of one.
    """
    try:
        return UUID(written)
    except ValueError:
        raise NoSuchTenantError(
            f"{written!r} is not the id of a tenant: ids look like 0192f0c1-7a1e-4c55-9f3e-2b7d4c1a9e10."
        ) from None


async def run(settings: RfmWorkerSettings, tenant: str | None) -> Report:
    """Verifies the database of these settings, one tenant or all.

    Raises:
        NoSuchTenantError: no tenant has this id, and no row is left of it either.
    """
    tenant_id = tenant_id_of(tenant) if tenant is not None else None
    engine = create_engine(
        settings.database_url.get_secret_value(), application_name="verify", schema=SCHEMA, pool_size=1,
        statement_timeout_s=600,
    )  # fmt: skip
    try:
        report = await verify(engine, tenant_id)
    finally:
        await engine.dispose()
    if report and not report.tenants and tenant_id is not None:
        raise NoSuchTenantError(f"There is no tenant {tenant_id} among those that the worker knows.")
    return report


async def verify(engine: AsyncEngine, tenant_id: UUID | None = None, *, wait_s: float = WAIT_S) -> Report:
    """Compares every row of one tenant, or of all, with its recomputation from the ledger.

    Args:
        engine: the worker's role.
        wait_s: seconds to wait until no request to move cut-offs is open; those still open are reported.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        async with engine.connect() as connection, connection.begin():
            await connection.execute(text("set transaction isolation level repeatable read read only"))
            raw = await driver_connection(connection)
            tenants = await raw.fetch(_TENANTS, tenant_id)
            late = [t for t in tenants if t["waiting"] or _midnight_passed(t)]
            if not late or asyncio.get_running_loop().time() >= deadline:
                report = Report(tenants=len(tenants))
                report.add(f"cut-offs of tenant {t['tenant_id']}: the scorer is behind" for t in late)
                await _compare_all(raw, tenants, await load_tables(raw, tenant_id), report)
                return report
        await asyncio.sleep(0.1)


def _today(tenant: Mapping[str, Any]) -> date:
    return datetime.now(UTC).astimezone(ZoneInfo(tenant["timezone"])).date()


def _midnight_passed(tenant: Mapping[str, Any]) -> bool:
    return tenant["reference_date"] == "now" and tenant["on_date"] is not None and tenant["on_date"] != _today(tenant)


async def _compare_all(raw: Raw, tenants: Sequence[Mapping[str, Any]], tables: Tables, report: Report) -> None:
    known = {str(tenant["tenant_id"]) for tenant in tenants}
    for tenant in tenants:
        mine = tables.of(tenant["tenant_id"])
        expected = recompute(mine, tenant["timezone"])
        report.count("sale", mine["sale"].height)
        _compare_sums(mine, expected, report)
        bounds_now = _compare_standing(tenant, mine, report)
        report.add(await profile_differences(raw, tenant, mine, expected, bounds_now))
        report.count("profile", mine["customer"].height)
        await compare_derived(raw, tenant, mine, expected, report)
    report.add(
        f"{name}: rows of the unknown tenant {other}"
        for name, frame in tables.frames.items()
        for other in set(frame["tenant_id"].unique()) - known
    )


def _compare_sums(tables: Tables, expected: Expected, report: Report) -> None:
    sale = ("gross", "net", "cancelled", "returned", "day")
    stored = tables["sale"].with_columns(pl.col("cancelled", "returned").cast(pl.Int64))
    report.add(differences("sale", ["tenant_id", "sale_id"], stored, expected.sale, sale))
    report.add(_customer_differences(tables["customer"], expected.customer))
    for name, keys in (("customer_product", ["customer_code", "product_key"]), ("product", ["product_key"])):
        computed: pl.DataFrame = getattr(expected, name)
        columns = ("orders", "units", "amount", "weight")
        found = differences(name, ["tenant_id", *keys], without_zeros(tables[name]), without_zeros(computed), columns)
        report.add(found)
        report.count(name, tables[name].height)
    days = without_zeros(tables["day"]), without_zeros(expected.day)
    report.add(differences("day", ["tenant_id", "day"], *days, ("orders", "units", "amount")))
    report.count("day", tables["day"].height)
    report.count("customer", tables["customer"].height)


def _customer_differences(stored: pl.DataFrame, bought: pl.DataFrame) -> Iterable[str]:
    """A customer exists as long as master data or a sale names it."""
    columns = ("frequency", "monetary", "first_order_at", "last_order_at", "last_order_day")
    named = stored.filter(pl.col("master_version").is_not_null()).select("tenant_id", "customer_code")
    computed = named.join(bought, on=["tenant_id", "customer_code"], how="full", coalesce=True).with_columns(
        pl.col("frequency").fill_null(0), pl.col("monetary").fill_null(pl.lit("0").cast(MONEY))
    )
    return differences("customer", ["tenant_id", "customer_code"], stored, computed, columns)


def _reference(tenant: Mapping[str, Any]) -> date:
    if tenant["reference_date"] == "now":
        return _today(tenant)
    if tenant["reference_date"] == "latest_sale":
        newest: date | None = tenant["newest"]
        return newest or tenant["on_date"] or _today(tenant)
    return date.fromisoformat(tenant["reference_date"])


def _compare_standing(tenant: Mapping[str, Any], tables: Tables, report: Report) -> Bounds:
    """Cut-offs and the scores against them, from values that were compared with the ledger before."""
    on = _reference(tenant)
    fixed = json.loads(tenant["rfm_bounds"]) if tenant["rfm_method"] == "fixed" and tenant["rfm_bounds"] else None
    customers = tables["customer"].to_dicts()
    found = bounds(customers, on, fixed)
    report.add(_cutoff_differences(tenant, found, on, sum(c["frequency"] > 0 for c in customers)))
    last = dict(tables["history"].select("customer_code", "last_segment").iter_rows())
    report.add(line for c in customers for line in _standing_differences(c, found, on, last))
    return found


def _cutoff_differences(tenant: Mapping[str, Any], found: Bounds, on: date, count: int) -> Iterable[str]:
    name = f"cut-offs of tenant {tenant['tenant_id']}"
    if tenant["on_date"] is None:
        if count:
            yield f"{name}: missing"
        return
    stored: dict[str, object] = {"reference date": tenant["on_date"], "customers": tenant["customers"]}
    for what, right in (("reference date", on), ("customers", count)):
        if stored[what] != right:
            yield f"{name}: {what} is {stored[what]}, should be {right}"
    for axis in AXES:
        if [Fraction(bound) for bound in tenant[axis]] != found.axes[axis]:
            yield f"{name}: {axis} are {_shown(tenant[axis])}, should be {_shown(found.axes[axis])}"
    baskets = [Fraction(bound) for bound in tenant["average_basket"]]
    close = len(baskets) == len(found.baskets) and all(
        abs(a - b) <= THIRD for a, b in zip(baskets, found.baskets, strict=True)
    )
    if not close:
        yield f"{name}: terciles are {_shown(baskets)}, should be {_shown(found.baskets)}"


def _shown(values: Iterable[Decimal | Fraction]) -> str:
    return "[" + ", ".join(f"{float(value):g}" for value in values) + "]"


def _standing_differences(
    customer: Mapping[str, Any], found: Bounds, on: date, history: Mapping[str, str]
) -> Iterable[str]:
    name = f"customer {customer['tenant_id']}/{customer['customer_code']}"
    right = scores(customer, found, on)
    stored = (customer["r"], customer["f"], customer["m"], customer["segment"])
    if stored != right:
        yield f"{name}: scores are {stored}, should be {right}"
    told = history.get(customer["customer_code"], "prospect")
    if told != customer["segment"]:
        yield f"{name}: the last change of segment says {told}, the customer {customer['segment']}"
