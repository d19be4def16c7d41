"""Composition root of the importer: settings become engine, producer, storage, worker and the ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.api_gateway.file_store import FileStore
from services.api_gateway.importer.job import Workplace
from services.api_gateway.importer.outlet import Outlet
from services.api_gateway.importer.settings import ImporterSettings
from services.api_gateway.importer.worker import STUCK_AFTER_S, ImportWorker
from services.api_gateway.repository import tenants
from services.api_gateway.tenant_cache import TenantState
from services.api_gateway.tenant_events import state_of
from shared.db.engine import create_engine, transaction
from shared.messaging.producer import EventProducer
from shared.observability.health import Health, Progress, Report

SERVICE = "importer"
PUBLISH_DEADLINE_S = 20.0
"""Seconds that a chunk of events may take; nobody waits for an answer."""
STATEMENT_TIMEOUT_S = 60
DISPOSE_TIMEOUT_S = 3.0


def build(settings: ImporterSettings) -> Starlette:
    """The ASGI application: health and metrics, and the worker for as long as it runs."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        application_name=SERVICE,
        pool_size=settings.database_pool_size,
        statement_timeout_s=STATEMENT_TIMEOUT_S,
    )
    producer = EventProducer(
        settings.kafka_bootstrap, prefix=settings.topic_prefix, client_id=SERVICE, deadline_s=PUBLISH_DEADLINE_S
    )
    worker = _worker(settings, engine, producer)
    health = _health(engine, producer, worker)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await producer.start()
        worker.start()
        try:
            yield
        finally:
            await worker.stop()
            await producer.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISPOSE_TIMEOUT_S):
                    await engine.dispose()

    return Starlette(
        routes=[
            Route("/health/live", _answering(health.live)),
            Route("/health/ready", _answering(health.ready)),
            Route("/metrics", _metrics),
        ],
        lifespan=lifespan,
    )


def _worker(settings: ImporterSettings, engine: AsyncEngine, producer: EventProducer) -> ImportWorker:
    async def load_tenant(tenant_id: UUID) -> TenantState | None:
        async with transaction(engine, tenant_id=tenant_id) as connection:
            row = await tenants.find(connection, tenant_id)
        return None if row is None else state_of(row)

    progress = Progress()
    place = Workplace(engine, FileStore.of(settings), Outlet(engine, producer), settings.work_folder, progress.beat)
    return ImportWorker(place, settings, load_tenant, progress)


def _health(engine: AsyncEngine, producer: EventProducer, worker: ImportWorker) -> Health:
    async def database_answers() -> str | None:
        async with transaction(engine) as connection:
            await connection.execute(text("select 1"))
        return None

    health = Health()
    health.add_live("importer", worker.progress.stuck(STUCK_AFTER_S, "importer"))
    health.add_ready("database", database_answers)
    health.add_ready("event log", producer.check)
    return health


def _answering(question: Callable[[], Awaitable[Report]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        report = await question()
        return JSONResponse(report.to_dict(), report.status_code)

    return answer


async def _metrics(_request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
