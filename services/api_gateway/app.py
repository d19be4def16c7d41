"""Composition root: settings become engine, producer, relay, caches, middlewares and routes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from fastapi import APIRouter, FastAPI
from sqlalchemy import text

from services.api_gateway.background import run_background
from services.api_gateway.dependencies import Services
from services.api_gateway.edge import Edge
from services.api_gateway.errors import install_handlers
from services.api_gateway.exports.response import ExportSlots
from services.api_gateway.file_store import FileStore
from services.api_gateway.freshness import Freshness
from services.api_gateway.idempotency import Idempotency
from services.api_gateway.known_parameters import refuse_unknown
from services.api_gateway.large_reads import LargeReads
from services.api_gateway.limits import BodyLimits
from services.api_gateway.log_ends import LogEnds
from services.api_gateway.openapi import install_openapi
from services.api_gateway.overview import Overviews
from services.api_gateway.repository import api_keys as api_key_repository
from services.api_gateway.repository import tenants as tenant_repository
from services.api_gateway.routes import (
    analytics,
    api_keys,
    auth,
    customers,
    exports,
    health,
    imports,
    ledger,
    lifetime,
    person,
    product_aliases,
    products,
    rfm,
    sales,
    status,
    tenants,
    users,
)
from services.api_gateway.security.authentication import Authentication
from services.api_gateway.security.keyring import ApiKeyring, StoredKey
from services.api_gateway.security.login_limits import LoginLimits
from services.api_gateway.security.passwords import Passwords
from services.api_gateway.security.tokens import AccessTokens
from services.api_gateway.settings import GatewaySettings
from services.api_gateway.tenant_cache import TenantCache, TenantState
from services.api_gateway.tenant_events import state_of
from services.api_gateway.time_travel import Past
from shared.db.engine import create_engine, transaction
from shared.events.catalogue import consumed_by
from shared.messaging.outbox import OutboxRelay
from shared.messaging.producer import EventProducer

STATEMENT_TIMEOUT_S = 15
PAST_STATES = 1000
"""Most states of tenants on earlier days that are kept: about 5 kB each."""
PERIODS_OF_BUYERS = 10_000
"""Most periods whose buyers are remembered."""
ROUTERS: Sequence[APIRouter] = (
    sales.router,
    ledger.router,
    rfm.router,
    lifetime.router,
    analytics.router,
    auth.router,
    tenants.router,
    users.router,
    api_keys.router,
    person.router,  # before customers: its paths are longer
    customers.router,
    products.router,
    product_aliases.router,
    exports.router,
    imports.router,
    status.router,
    health.router,
)
ROUTES = [refuse_unknown(route) for router in ROUTERS for route in router.routes]


def build_services(settings: GatewaySettings) -> Services:
    """The parts of one process; nothing is connected yet."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        application_name="api_gateway",
        pool_size=settings.database_pool_size,
        statement_timeout_s=STATEMENT_TIMEOUT_S,
    )
    producer = EventProducer(settings.kafka_bootstrap, prefix=settings.topic_prefix, client_id="api_gateway")

    async def load_tenant(tenant_id: UUID) -> TenantState | None:
        async with transaction(engine, tenant_id=tenant_id) as connection:
            row = await tenant_repository.find(connection, tenant_id)
        return None if row is None else state_of(row)

    async def load_key(key_hash: bytes) -> StoredKey | None:
        async with transaction(engine) as connection:
            return await api_key_repository.look_up(connection, key_hash)

    async def database_answers() -> str | None:
        async with transaction(engine) as connection:
            await connection.execute(text("select 1"))
        return None

    large_reads = LargeReads(settings.large_reads, settings.large_reads_queue)
    services = Services(
        settings=settings,
        engine=engine,
        producer=producer,
        relay=OutboxRelay(engine, "gateway", producer),
        consistency=Freshness(engine),
        log_ends=LogEnds(settings.kafka_bootstrap, settings.topic_prefix, consumed_by("rfm_worker")),
        tenants=TenantCache(load_tenant, lifetime_s=settings.cache_s, entries=settings.cache_entries),
        keyring=ApiKeyring(load_key, lifetime_s=settings.cache_s, entries=settings.cache_entries),
        tokens=AccessTokens(settings),
        passwords=Passwords(settings),
        login_limits=LoginLimits(settings),
        export_slots=ExportSlots(settings.export_concurrency, settings.export_concurrency_per_tenant),
        large_reads=large_reads,
        past=Past(engine, large_reads, lifetime_s=settings.as_of_cache_s, entries=PAST_STATES),
        overviews=Overviews(engine, entries=PERIODS_OF_BUYERS),
        files=FileStore.of(settings),
    )
    services.health.add_live("outbox relay", services.relay.check)
    services.health.add_ready("database", database_answers)
    services.health.add_ready("event log", producer.check)
    return services


def create_app(settings: GatewaySettings, services: Services | None = None) -> FastAPI:
    """The ASGI application. Its lifespan starts and stops everything; it comes up without Postgres and Kafka."""
    parts = services or build_services(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await parts.producer.start()
        await parts.relay.start()
        background = asyncio.create_task(run_background(parts), name="gateway-background")
        try:
            yield
        finally:
            await stop(parts, background)

    app = FastAPI(
        title="ia-crm", version="0.1.0", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.services = parts
    app.router.routes.extend(ROUTES)
    install_handlers(app)
    install_openapi(app)
    # The last one added is the outermost.
    app.add_middleware(Idempotency, services=parts)
    app.add_middleware(BodyLimits, most_bytes=settings.body_limit, wider={imports.router.prefix: settings.import_limit})
    app.add_middleware(Authentication, services=parts)
    app.add_middleware(Edge)
    return app


async def stop(parts: Services, background: "asyncio.Task[None]") -> None:
    """Stops in the order in which one part needs the next; no part can hold up the process."""
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await parts.consistency.stop()
            await parts.log_ends.stop()
            await parts.relay.stop()
    await parts.producer.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(3):
            await parts.engine.dispose()
