"""Composition root: settings become engine, producer, relay, scorer, refresher, delivery, consumer and ASGI app."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from faststream.asgi import AsgiFastStream
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker import alias_mover
from services.rfm_worker.alias_mover import AliasMover
from services.rfm_worker.domain.facts import Item
from services.rfm_worker.handlers import Applier, decode
from services.rfm_worker.refresher import STUCK_AFTER_S as REFRESHER_STUCK_AFTER_S
from services.rfm_worker.refresher import Refresher
from services.rfm_worker.repository.batch import BatchWriter
from services.rfm_worker.scorer import STUCK_AFTER_S, Scorer
from services.rfm_worker.settings import RfmWorkerSettings
from services.rfm_worker.tables import SCHEMA
from shared.db.engine import create_engine, transaction
from shared.events.catalogue import consumed_by
from shared.messaging.consumer import WorkerConsumer
from shared.messaging.dead_letters import DeadLetterWriter
from shared.messaging.delivery import BatchDelivery, Limits
from shared.messaging.lane import ConsumerSettings
from shared.messaging.outbox import OutboxRelay
from shared.messaging.producer import EventProducer
from shared.observability import metrics
from shared.observability.health import Health

SERVICE = "rfm_worker"
DISPOSE_TIMEOUT_S = 3.0
RELAY_LINGER_S = 0.05
"""Nobody waits for a segment change; published a few batches at a time, they cost the batches less."""


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of one process; nothing is connected before its lifespan begins."""

    engine: AsyncEngine
    producer: EventProducer
    relay: OutboxRelay
    scorer: Scorer
    mover: AliasMover
    refresher: Refresher
    consumer: WorkerConsumer
    health: Health
    asgi: AsgiFastStream

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts what the consumer needs before it, stops it after it. Neither Postgres nor Kafka must be up."""
        await self.producer.start()
        await self.relay.start()
        self.scorer.start()
        self.mover.start()
        self.refresher.start()
        try:
            yield
        finally:
            await self.refresher.stop()
            await self.mover.stop()
            await self.scorer.stop()
            await self.relay.stop()
            await self.producer.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISPOSE_TIMEOUT_S):
                    await self.engine.dispose()


def now() -> datetime:
    """The present moment."""
    return datetime.now(UTC)


def build(settings: RfmWorkerSettings) -> Worker:
    """Constructs the worker."""
    engine = create_engine(
        settings.database_url.get_secret_value(), application_name=SERVICE, schema=SCHEMA,
        pool_size=settings.database_pool_size,
    )  # fmt: skip
    producer = EventProducer(settings.kafka_bootstrap, prefix=settings.topic_prefix, client_id=SERVICE)
    relay = OutboxRelay(engine, SCHEMA, producer, linger_s=RELAY_LINGER_S)
    scorer = Scorer(engine, now=now, interval_s=settings.score_interval_s)
    secret = settings.erasure_secret.get_secret_value()
    mover = AliasMover(engine, secret)
    refresher = Refresher(
        engine, interval_s=settings.refresh_interval_s, busy=lambda: consumer.backlogged
    )  # fmt: skip
    applier = Applier(engine, BatchWriter(secret), now, scorer.wake)
    deliveries = [
        BatchDelivery[Item](
            decode=decode, apply=applier.apply, dead_letters=DeadLetterWriter(producer, SERVICE),
            limits=Limits(max_dead_run=settings.max_dead_run),
        )
        for _ in range(settings.lanes)
    ]  # fmt: skip
    consumer = WorkerConsumer(
        settings.kafka_bootstrap, service=SERVICE, topics=consumed_by(SERVICE), deliveries=deliveries,
        prefix=settings.topic_prefix, settings=_reading(settings),
    )  # fmt: skip
    health = _health(engine, relay, scorer, refresher, consumer)
    health.add_live("alias mover", mover.progress.stuck(alias_mover.STUCK_AFTER_S, "alias mover"))

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        async with worker.running():
            yield

    asgi = AsgiFastStream(
        consumer.broker,
        asgi_routes=[
            ("/health/live", health.asgi_live()),
            ("/health/ready", health.asgi_ready()),
            ("/metrics", metrics.asgi_app()),
        ],
        lifespan=lifespan,
        logger=None,
    )
    worker = Worker(engine, producer, relay, scorer, mover, refresher, consumer, health, asgi)
    return worker


def _reading(settings: RfmWorkerSettings) -> ConsumerSettings:
    session_ms = int(settings.session_timeout_s * 1000)
    return ConsumerSettings(
        max_records=settings.batch_max_records,
        session_timeout_ms=session_ms,
        # Often: a lane that joins has its partitions only once the others have heard of it.
        heartbeat_interval_ms=session_ms // 20,
    )


def _health(
    engine: AsyncEngine, relay: OutboxRelay, scorer: Scorer, refresher: Refresher, consumer: WorkerConsumer
) -> Health:
    async def database_answers() -> str | None:
        async with transaction(engine) as connection:
            await connection.execute(text("select 1"))
        return None

    health = Health()
    consumer.register(health)
    health.add_live("outbox relay", relay.check)
    health.add_live("scorer", scorer.progress.stuck(STUCK_AFTER_S, "scorer"))
    health.add_live("refresher", refresher.progress.stuck(REFRESHER_STUCK_AFTER_S, "refresher"))
    health.add_ready("database", database_answers)
    return health
