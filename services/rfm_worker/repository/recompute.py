"""Recomputations of a whole tenant, done in the background in short steps: which one is due and how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from services.rfm_worker.repository.raw import Raw

DAYS, CUSTOMERS, SCORES = "days", "customers", "scores"
"""Steps, in their order: sales are dated anew, then last orders, then everybody is scored."""

# A step that another change of settings asked for and that is not done yet stays.
_REQUEST = """
insert into recompute as r (tenant_id, requested_at, cause, step, updated_at)
values ($1, clock_timestamp(), $2, $3, clock_timestamp())
on conflict (tenant_id) do update set requested_at = excluded.requested_at, cause = excluded.cause,
    updated_at = excluded.updated_at,
    step = case when excluded.step = 'days' or r.step = 'scores' then excluded.step else r.step end,
    after = case when excluded.step = 'days' or r.step = 'scores' then '' else r.after end,
    done = case when excluded.step = 'days' or r.step = 'scores' then 0 else r.done end,
    total = case when excluded.step = 'days' or r.step = 'scores' then 0 else r.total end
"""
_LOAD = "select requested_at, cause, step, after, done, total from recompute where tenant_id = $1"
_ADVANCE = """
update recompute set step = $2, after = $3, done = $4, total = $5, updated_at = clock_timestamp() where tenant_id = $1
"""
_DONE = "delete from recompute where tenant_id = $1 and requested_at = $2"


@dataclass(frozen=True, slots=True)
class Recompute:
    """One tenant's recomputation. `after` is the key that a step has come to, `done` of `total` its progress."""

    requested_at: datetime
    cause: str
    step: str
    after: str
    done: int
    total: int


async def request_recompute(raw: Raw, tenant_id: UUID, cause: str, step: str) -> None:
    """Asks for a recomputation from this step on."""
    await raw.execute(_REQUEST, tenant_id, cause, step)


async def load_recompute(raw: Raw, tenant_id: UUID) -> Recompute | None:
    """The recomputation that is due; None without one."""
    rows = await raw.fetch(_LOAD, tenant_id)
    return _recompute(rows[0]) if rows else None


def _recompute(row: Mapping[str, Any]) -> Recompute:
    return Recompute(row["requested_at"], row["cause"], row["step"], row["after"], row["done"], row["total"])


async def advance(raw: Raw, tenant_id: UUID, step: str, after: str = "", *, done: int = 0, total: int = 0) -> None:
    """Writes down how far it is."""
    await raw.execute(_ADVANCE, tenant_id, step, after, done, total)


async def finish_recompute(raw: Raw, tenant_id: UUID, requested_at: datetime) -> None:
    """Removes it, unless it was asked for again meanwhile."""
    await raw.execute(_DONE, tenant_id, requested_at)
