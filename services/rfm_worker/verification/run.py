"""The run of a verification: one snapshot, tenant by tenant; or a sample of the customers of each tenant."""

import asyncio
import importlib.util
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.settings import RfmWorkerSettings
from services.rfm_worker.tables import SCHEMA
from services.rfm_worker.verification.compare import Report
from services.rfm_worker.verification.snapshot import CONNECTIONS, snapshot
from services.rfm_worker.verification.tenant import compare_tenant
from services.rfm_worker.verification.tenants import load_tenants, strangers
from shared.db.engine import create_engine
from shared.observability import metrics

WAIT_S = 30.0
"""Seconds that a run waits for the scorer to have served every request."""
LOOK_S = 0.1
Now = Callable[[], datetime]

_SAMPLE = "select customer_code from customer where tenant_id = $1 order by random() limit $2"


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


def run_alone(settings: RfmWorkerSettings, tenant: str | None) -> Report:
    """`run` with an event loop of its own: the quickest that is installed, since all rows come through it.

    Raises:
        NoSuchTenantError: as `run`.
    """
    quickest = importlib.import_module("uvloop").new_event_loop if importlib.util.find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=quickest) as runner:
        return runner.run(run(settings, tenant))


async def run(settings: RfmWorkerSettings, tenant: str | None) -> Report:
    """Verifies the database of these settings, one tenant or all.

    Raises:
        NoSuchTenantError: no tenant has this id, and no row is left of it either.
    """
    tenant_id = tenant_id_of(tenant) if tenant is not None else None
    engine = create_engine(
        settings.database_url.get_secret_value(), application_name="verify", schema=SCHEMA, pool_size=CONNECTIONS,
        statement_timeout_s=600,
    )  # fmt: skip
    try:
        report = await verify(engine, tenant_id)
    finally:
        await engine.dispose()
    if report and not report.tenants and tenant_id is not None:
        raise NoSuchTenantError(f"There is no tenant {tenant_id} among those that the worker knows.")
    return report


def _present() -> datetime:
    return datetime.now(UTC)


async def verify(
    engine: AsyncEngine, tenant_id: UUID | None = None, *, wait_s: float = WAIT_S, now: Now = _present
) -> Report:
    """Compares every row of one tenant, or of all, with its recomputation from the ledger.

    Args:
        engine: the worker's role.
        wait_s: seconds to wait until no request to move cut-offs is open; those still open are reported.
        now: the present moment, with its zone; decides a tenant's date.
    """
    began, deadline = time.monotonic(), time.monotonic() + wait_s
    while True:
        async with snapshot(engine) as seen:
            tenants, at = await load_tenants(seen.first, tenant_id), now()
            late = [tenant for tenant in tenants if tenant.behind(at)]
            if not late or time.monotonic() >= deadline:
                report = Report(tenants=len(tenants))
                report.add(f"cut-offs of tenant {tenant.tenant_id}: the scorer is behind" for tenant in late)
                report.add(await strangers(seen.first, tenant_id))
                for tenant in tenants:
                    await compare_tenant(report, seen, tenant, tenant.reference_date(at))
                _observe("all", report, began)
                return report
        await asyncio.sleep(LOOK_S)


async def verify_sample(
    engine: AsyncEngine,
    customers: int,
    *,
    tenant_id: UUID | None = None,
    wait_s: float = WAIT_S,
    now: Now = _present,
) -> Report:
    """Compares all rows of customers chosen by chance with their recomputation from the ledger.

    Sums over a whole tenant (products, days) and its cut-offs are left out: scores are compared with the stored
    cut-offs. A tenant whose scorer is busy all the time is a difference here too.

    Args:
        engine: the worker's role; two of its connections are used.
        customers: how many per tenant, at most.
        tenant_id: of this tenant alone; of all without it.
        wait_s: seconds to wait, per tenant, until no request to move its cut-offs is open.
        now: the present moment, with its zone.
    """
    began, report = time.monotonic(), Report()
    async with snapshot(engine, 1) as seen:
        tenants = [tenant.tenant_id for tenant in await load_tenants(seen.first, tenant_id)]
    for one in tenants:
        deadline = time.monotonic() + wait_s
        while True:
            last = time.monotonic() >= deadline
            if await _compare_sample(engine, report, one, customers, now, last=last):
                break
            await asyncio.sleep(LOOK_S)
    _observe("sample", report, began)
    return report


async def _compare_sample(
    engine: AsyncEngine, report: Report, tenant_id: UUID, customers: int, now: Now, *, last: bool
) -> bool:
    """Compares a sample of one tenant; False when its scorer is behind and this is not the last try."""
    async with snapshot(engine) as seen:
        at = now()
        for tenant in await load_tenants(seen.first, tenant_id):
            if tenant.behind(at):
                if not last:
                    return False
                report.add([f"cut-offs of tenant {tenant_id}: the scorer is behind"])
            report.tenants += 1
            codes = [row["customer_code"] for row in await seen.first.fetch(_SAMPLE, tenant_id, customers)]
            await compare_tenant(report, seen, tenant, tenant.reference_date(at), codes=codes)
    return True


def _observe(scope: Literal["all", "sample"], report: Report, began: float) -> None:
    metrics.VERIFICATIONS.labels(scope, "equal" if report else "different").inc()
    metrics.VERIFICATION_DIFFERENCES.labels(scope).set(report.found)
    metrics.VERIFICATION_SECONDS.labels(scope).observe(time.monotonic() - began)
    metrics.LAST_VERIFIED.labels(scope).set_to_current_time()
