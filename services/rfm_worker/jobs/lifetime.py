"""The job `lifetime_value`: reads a tenant's order days, lets the models judge them, stores what they say."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from services.rfm_worker.jobs.job import Context, Outcome
from services.rfm_worker.lifetime.rules import Rules
from services.rfm_worker.repository import lifetime as repository
from services.rfm_worker.repository.lifetime import ModelRow, Span
from shared.db.engine import driver_connection, transaction

if TYPE_CHECKING:
    from services.rfm_worker.lifetime.assess import Assessment

ATTEMPTS = 5
"""An erasure between reading and storing starts a run anew; so many in a row leave it to the next hour."""


class KeepsChangingError(Exception):
    """Every attempt met an erasure."""


@dataclass(frozen=True, slots=True)
class _Read:
    seen: Span
    held_out: int
    codes: list[str]
    figures: list[tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Found:
    row: ModelRow
    columns: Sequence[Sequence[float]]
    """Empty without values."""


async def compute_lifetime_values(context: Context, tenant_id: UUID) -> Outcome:
    """Fits, judges and stores. The outcome is `ok`, `not_enough_data`, or `gone` for an erased tenant.

    Raises:
        KeepsChangingError: erasures came in faster than a run takes.
    """
    settings = context.settings
    rules = Rules(settings.lifetime_horizon_days, settings.lifetime_least_days, settings.lifetime_least_buyers)
    for _ in range(ATTEMPTS):
        read = await _read(context, tenant_id, rules)
        if read is None:
            return Outcome("gone")
        found = await asyncio.to_thread(_compute, read, rules, context)
        if await _store(context, tenant_id, read, found):
            return Outcome(found.row.status, {"reason": found.row.reason, "customers": found.row.customers})
    raise KeepsChangingError


async def _read(context: Context, tenant_id: UUID, rules: Rules) -> _Read | None:
    async with context.engine.connect() as connection, connection.begin():
        await connection.execute(text("set transaction isolation level repeatable read read only"))
        raw = await driver_connection(connection)
        seen = await repository.span(raw, tenant_id, context.now())
        if seen is None:
            return None
        held_out = rules.held_out_days(seen.history_days)
        codes, figures = await repository.order_days(raw, tenant_id, seen, held_out)
        return _Read(seen, held_out, codes, figures)


def _compute(read: _Read, rules: Rules, context: Context) -> _Found:
    """In a thread, with its imports: none of this may hold up the event loop."""
    import numpy as np

    from services.rfm_worker.lifetime.assess import assess
    from services.rfm_worker.lifetime.history import Histories
    from services.rfm_worker.lifetime.holdout import Split

    table = np.array(read.figures, dtype=np.float64).reshape(-1, repository.FIGURES)
    visits, age, recency, spend, *_ = table.T.copy()
    histories = Histories(visits - 1, recency, age, spend)
    early = table[table[:, repository.EARLY_VISITS] > 0].T.copy()
    visits, age, _, spend, early_visits, early_recency, early_spend, before_visits, before_spend = early
    split = Split(
        Histories(early_visits - 1, early_recency, age - read.held_out, early_spend), read.held_out,
        visits - early_visits, spend - early_spend, before_visits, before_spend,
    )  # fmt: skip
    assessment = assess(histories, split, read.seen.history_days, rules, context.check)
    values = assessment.values
    row = _model_row(assessment, len(read.codes), rules)
    if values is None:
        return _Found(row, [])
    forecast = values.forecast
    columns = (forecast.alive, forecast.orders, forecast.value, values.low, values.high)
    return _Found(row, [column.tolist() for column in columns])


def _model_row(found: "Assessment", customers: int, rules: Rules) -> ModelRow:
    from services.rfm_worker.lifetime.summary import deciles

    values = found.values
    return ModelRow(
        status="ok" if values is not None else "not_enough_data",
        reason=found.reason.value if found.reason is not None else None,
        customers=customers,
        horizon_days=rules.horizon_days,
        expected_orders=float(values.forecast.orders.sum()) if values is not None else None,
        expected_value=float(values.forecast.value.sum()) if values is not None else None,
        dependence=found.dependence,
        parameters=found.model.parameters() if found.model is not None else None,
        holdout=asdict(found.holdout) if found.holdout is not None else None,
        deciles=[asdict(group) for group in deciles(values)] if values is not None else None,
    )


async def _store(context: Context, tenant_id: UUID, read: _Read, found: _Found) -> bool:
    """False when an erasure has come between: what was read may describe somebody who is gone."""
    for start in range(0, len(read.codes) if found.columns else 0, repository.WRITE_ROWS):
        part = slice(start, start + repository.WRITE_ROWS)
        async with transaction(context.engine) as connection:
            raw = await driver_connection(connection)
            numbers = [column[part] for column in found.columns]
            if not await repository.store_values(raw, tenant_id, read.seen, read.codes[part], numbers):
                return False
    async with transaction(context.engine) as connection:
        return await repository.store_model(await driver_connection(connection), tenant_id, read.seen, found.row)
