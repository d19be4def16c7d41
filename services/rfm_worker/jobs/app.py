"""Composition root of the jobs process: settings become engine, runner, health and the ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.rfm_worker.jobs.registry import jobs_of
from services.rfm_worker.jobs.runner import STUCK_AFTER_S, Runner
from services.rfm_worker.jobs.settings import RfmJobsSettings
from services.rfm_worker.tables import SCHEMA
from shared.db.engine import create_engine, transaction
from shared.observability.health import Health, Report

SERVICE = "rfm_jobs"
STATEMENT_TIMEOUT_S = 600.0
"""Reading all order days of a large tenant is one statement."""
DISPOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class JobsProcess:
    """The parts of one process; nothing is connected before its lifespan begins, and Postgres need not be up."""

    engine: AsyncEngine
    runner: Runner
    health: Health
    asgi: Starlette


def now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def build(settings: RfmJobsSettings) -> JobsProcess:
    """Constructs the process."""
    engine = create_engine(
        settings.database_url.get_secret_value(), application_name=SERVICE, schema=SCHEMA,
        pool_size=settings.database_pool_size, statement_timeout_s=STATEMENT_TIMEOUT_S,
    )  # fmt: skip
    runner = Runner(engine, settings, jobs_of(settings), now)
    health = _health(engine, runner)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        runner.start()
        try:
            yield
        finally:
            await runner.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISPOSE_TIMEOUT_S):
                    await engine.dispose()

    asgi = Starlette(
        routes=[
            Route("/health/live", _answering(health.live)),
            Route("/health/ready", _answering(health.ready)),
            Route("/metrics", _metrics),
        ],
        lifespan=lifespan,
    )
    return JobsProcess(engine, runner, health, asgi)


def _answering(question: Callable[[], Awaitable[Report]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        report = await question()
        return JSONResponse(report.to_dict(), report.status_code, {"cache-control": "no-store"})

    return answer


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _health(engine: AsyncEngine, runner: Runner) -> Health:
    async def database_answers() -> str | None:
        async with transaction(engine) as connection:
            await connection.execute(text("select 1"))
        return None

    health = Health()
    health.add_live("jobs", runner.progress.stuck(STUCK_AFTER_S, "jobs"))
    health.add_ready("database", database_answers)
    return health
