"""How far the workers are: operational, without any tenant's data, so it needs no credential."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from services.api_gateway.dependencies import ServicesDep
from services.api_gateway.repository import progress
from services.api_gateway.repository.progress import Place
from shared.db.applied import Applied
from shared.db.engine import transaction
from shared.messaging.errors import IsTransient, classify

router = APIRouter(tags=["operations"])
STALLED_AFTER = timedelta(seconds=30)
State = Literal["ready", "behind", "stalled", "unknown"]


class PartitionStatus(BaseModel):
    """One partition: the next offset the worker will apply, and the next offset of the log (null: not known)."""

    topic: str
    partition: int
    applied: int
    end: int | None


class Recomputation(BaseModel):
    """A tenant whose values are computed anew after a change of its settings; the old ones can be read meanwhile."""

    cause: Literal["settings", "repair"]
    step: Literal["days", "customers", "scores"]
    done: int = Field(description="of `total` sales or customers of this step")
    total: int = Field(description="0 while it is not counted yet")
    requested_at: datetime
    updated_at: datetime


class WorkerStatus(BaseModel):
    """One worker. ready: has applied all, or applied something just now; stalled: records wait and nothing moves."""

    state: State
    lag: int | None = Field(description="records that wait; null while it is not known")
    last_applied_at: datetime | None
    partitions: list[PartitionStatus]
    recomputations: list[Recomputation] = Field(default=[], description="oldest first, at most 50, of any tenant")


class Status(BaseModel):
    """Freshness of the workers, as this process sees it."""

    version: str
    workers: dict[str, WorkerStatus]


@router.get("/status", summary="Lag and freshness of the workers")
async def status(request: Request, services: ServicesDep) -> Status:
    """Answers also while the event log or the database is away; the state is then unknown."""
    ends = await services.log_ends.get()
    try:
        async with transaction(services.engine) as connection:
            applied: dict[Place, Applied] | None = await progress.applied_by_rfm(connection)
            running = await progress.recomputations(connection)
    except Exception as error:
        if not isinstance(classify(error), IsTransient):
            raise
        applied, running = None, []
    found = worker_status(applied, ends, datetime.now(UTC))
    found.recomputations = [Recomputation.model_validate(row, from_attributes=True) for row in running]
    return Status(version=request.app.version, workers={"rfm_worker": found})


def worker_status(applied: dict[Place, Applied] | None, ends: dict[Place, int] | None, now: datetime) -> WorkerStatus:
    """The status that follows from applied offsets and ends of the log; None stands for what cannot be known."""
    done = applied or {}
    last = max((at.applied_at for at in done.values()), default=None)
    places = sorted(set(done) | set(ends or {}))
    partitions = [
        PartitionStatus(
            topic=place[0],
            partition=place[1],
            applied=done[place].next_offset if place in done else 0,
            end=None if ends is None else ends.get(place),
        )
        for place in places
    ]
    if applied is None or ends is None:
        return WorkerStatus(state="unknown", lag=None, last_applied_at=last, partitions=partitions)
    lag = sum(max(0, part.end - part.applied) for part in partitions if part.end is not None)
    return WorkerStatus(state=_state(lag, last, now), lag=lag, last_applied_at=last, partitions=partitions)


def _state(lag: int, last: datetime | None, now: datetime) -> State:
    if lag == 0:
        return "ready"
    if last is None or now - last > STALLED_AFTER:
        return "stalled"
    return "ready" if now - last < timedelta(seconds=5) else "behind"
