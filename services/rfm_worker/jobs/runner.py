"""Looks for jobs that are due and runs them one after another: heavy work must not compete with itself.

One run per job and tenant at a time over all processes (advisory lock). What was done stands in a table, so a restart
neither repeats nor skips anything; what a killed run left undone is still due.
"""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.jobs.job import Context, Job, Outcome
from services.rfm_worker.jobs.settings import RfmJobsSettings
from services.rfm_worker.repository import jobs as repository
from services.rfm_worker.repository.raw import Raw, Rows
from shared.background import BackgroundLoop, Backoff
from shared.db.engine import driver_connection, transaction
from shared.messaging.errors import IsTransient, classify
from shared.observability import metrics
from shared.observability.logging import get_logger

STUCK_AFTER_S = 900.0
LONGEST_PAUSE_S = 60.0

log = get_logger(__name__)


class StoppingError(Exception):
    """The process stops: unfinished work ends here, and is due again."""


class Runner:
    """Runs the jobs of one process."""

    def __init__(
        self, engine: AsyncEngine, settings: RfmJobsSettings, jobs: Sequence[Job], now: Callable[[], datetime]
    ) -> None:
        """Args:
        now: the present moment, with its zone; decides whose night has come.
        """
        self._engine, self._settings, self._jobs, self._now = engine, settings, jobs, now
        self._stopping = threading.Event()
        self._context = Context(engine, settings, now, self._check)
        backoff = Backoff(
            log, waits="jobs wait", failed="looking for jobs failed", first_s=settings.jobs_look_s,
            longest_s=LONGEST_PAUSE_S,
        )  # fmt: skip
        self._loop = BackgroundLoop("jobs", self.look, backoff, pause_s=settings.jobs_look_s)
        self.progress = self._loop.progress

    def start(self) -> None:
        """Begins to look, also for what was missed while no process ran."""
        self._loop.start()

    async def stop(self) -> None:
        """Ends at once; a thread that computes notices at its next check."""
        self._stopping.set()
        await self._loop.stop()

    def _check(self) -> None:
        if self._stopping.is_set():
            raise StoppingError
        self.progress.beat()

    async def look(self) -> None:
        """Runs everything that is due now."""
        for job in self._jobs:
            async with transaction(self._engine) as connection:
                raw = await driver_connection(connection)
                if job.growth is None:
                    await repository.await_night(raw, job.name, self._now())
                tenants = await self._due(raw, job)
            for tenant_id in tenants:
                self.progress.beat()
                await self.run(job, tenant_id)
        async with transaction(self._engine) as connection:
            _show(await repository.summary(await driver_connection(connection)))

    async def _due(self, raw: Raw, job: Job, tenant_id: UUID | None = None) -> list[UUID]:
        settings = self._settings
        return await repository.due(
            raw, job.name, self._now(), night_hour=settings.night_hour, every_days=job.every_days,
            retry=timedelta(seconds=settings.jobs_retry_s), growth=job.growth,
            pause=timedelta(seconds=settings.lifetime_pause_s), tenant_id=tenant_id,
        )  # fmt: skip

    async def _is_due(self, job: Job, tenant_id: UUID) -> bool:
        async with transaction(self._engine) as connection:
            return bool(await self._due(await driver_connection(connection), job, tenant_id))

    async def run(self, job: Job, tenant_id: UUID) -> None:
        """One run for one tenant; nothing happens when another process is at it, or has just done it."""
        async with transaction(self._engine) as connection:
            raw = await driver_connection(connection)
            # This transaction stays open meanwhile, so it must have read no table: a rebuild could not swap it.
            if not await repository.try_lock(raw, job.name, tenant_id) or not await self._is_due(job, tenant_id):
                return
            began = time.monotonic()
            outcome = await self._outcome(job, tenant_id)
            seconds = time.monotonic() - began
            await repository.record(
                raw, job.name, tenant_id, now=self._now(), seconds=seconds, outcome=outcome.word,
                figures=outcome.figures,
            )  # fmt: skip
        metrics.JOB_RUNS.labels(job.name, outcome.word).inc()
        metrics.JOB_SECONDS.labels(job.name).observe(seconds)
        log.info("job ran", job=job.name, tenant_id=str(tenant_id), outcome=outcome.word, seconds=round(seconds, 2))

    async def _outcome(self, job: Job, tenant_id: UUID) -> Outcome:
        """How the job ended. An outage is no failure of the job: it passes through, and the job stays due."""
        try:
            return await job.run(self._context, tenant_id)
        except Exception as error:
            if isinstance(classify(error), IsTransient):
                raise
            log.exception("job failed", job=job.name, tenant_id=str(tenant_id), error=type(error).__name__)
            return Outcome(repository.FAILED, {"error": type(error).__name__})


def _show(rows: Rows) -> None:
    """Sets the gauges to what the table says: right after a restart, and whichever process ran a job."""
    metrics.JOB_TENANTS.clear()
    newest: dict[str, datetime] = {}
    for row in rows:
        metrics.JOB_TENANTS.labels(row["job"], row["outcome"]).set(row["tenants"])
        newest[row["job"]] = max(row["last_run"], newest.get(row["job"], row["last_run"]))
    for job, last_run in newest.items():
        metrics.JOB_LAST_RUN.labels(job).set(last_run.timestamp())
    metrics.SELF_CHECK_DIFFERENCES.set(sum(row["differences"] for row in rows))
