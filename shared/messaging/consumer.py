"""The Kafka edge of a worker: one FastStream broker, a few lanes that read, offsets committed after the transaction."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from faststream.kafka import KafkaBroker

from shared.events.catalogue import Topic
from shared.messaging.delivery import BatchDelivery
from shared.messaging.lane import GRACE_S, ConsumerSettings, Lane
from shared.messaging.turns import Turns
from shared.observability.health import Health
from shared.observability.logging import get_logger

FETCH_STALE_S = 60.0

log = get_logger(__name__)


class WorkerConsumer:
    """Reads a worker's topics in batches and hands them to its deliveries, each in a lane of its own.

    `broker` goes into the worker's `AsgiFastStream`, which starts and stops it. When something fatal happens,
    `failure` is set, nothing more is read or committed, and `on_fatal` is called (by default: SIGTERM to this
    process, so that it stops cleanly); `__main__` then exits with a code that is not zero.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        service: str,
        topics: Sequence[Topic],
        deliveries: Sequence[BatchDelivery[Any]],
        prefix: str = "",
        settings: ConsumerSettings | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Args:
        deliveries: one per lane; each deals with one batch at a time.
        """
        self._bootstrap = bootstrap
        self._on_fatal = on_fatal or _terminate
        self.group = f"{prefix}{service}"
        self.failure: BaseException | None = None
        self._halting: asyncio.Task[None] | None = None
        self.broker = KafkaBroker(
            bootstrap,
            client_id=service,
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=GRACE_S,
            logger=_framework_log(),
            log_level=logging.DEBUG,
        )
        names = [topic.full_name(prefix) for topic in topics]
        turns = Turns()
        self.lanes = [
            Lane(
                self.broker, names, group=self.group, prefix=prefix, delivery=delivery,
                settings=settings or ConsumerSettings(), fail=self.fail, joined=self._joined,
                stopping=self.halt, turns=turns,
            )
            for delivery in deliveries
        ]  # fmt: skip

    @property
    def backlogged(self) -> bool:
        """Whether a lane's last batch was as large as a batch may be: more waits behind it."""
        return any(lane.pipeline.backlogged for lane in self.lanes)

    def fail(self, error: BaseException) -> None:
        """Stops reading and committing for good, and tells the process."""
        if self.failure is not None:
            return
        self.failure = error
        for lane in self.lanes:
            lane.stop_reading()
        log.critical("worker stops", error=str(error), exc_info=error)
        self._on_fatal(error)

    async def _joined(self) -> None:
        """Waits for the first round of joining: what one lane reads before it would come again to another."""
        for lane in self.lanes:
            await lane.has_joined.wait()

    async def halt(self) -> None:
        """Ends the batches of all lanes at once, however many of them ask for it."""
        if self._halting is None:
            self._halting = asyncio.create_task(self._halt(), name="halt")
        await self._halting

    async def _halt(self) -> None:
        try:
            async with asyncio.timeout(GRACE_S):
                await asyncio.gather(*(lane.halt() for lane in self.lanes))
        except TimeoutError:
            log.warning("a batch did not end in time; it will be read again")

    def register(self, health: Health) -> None:
        """Adds this worker's checks to the process's health."""
        health.add_live("worker", self._check_failure)
        health.add_live("poll", self._check_poll)
        health.add_live("fetch", self._check_fetch)
        health.add_ready("assignment", self._check_assignment)
        health.add_ready("delivery", self._check_delivery)

    async def _check_failure(self) -> str | None:
        return f"stopped: {type(self.failure).__name__}" if self.failure else None

    async def _check_poll(self) -> str | None:
        for lane in self.lanes:
            limits = lane.delivery.limits
            stall_s = limits.apply_timeout_s + limits.longest_backoff_s + 30
            if problem := await lane.delivery.progress.stuck(stall_s, "poll loop")():
                return problem
        return None

    async def _check_assignment(self) -> str | None:
        """Lanes beyond the number of partitions have none, and that is well."""
        consumers = [lane.consumer() for lane in self.lanes]
        ready = any(consumer is not None and consumer.assignment() for consumer in consumers)
        return None if ready else "no partitions assigned yet"

    async def _check_delivery(self) -> str | None:
        causes = [lane.delivery.failing for lane in self.lanes if lane.delivery.failing]
        return f"the current batch fails: {causes[0]}" if causes else None

    async def _check_fetch(self) -> str | None:
        """aiokafka can get stuck after a broker's restart: the broker answers, but nothing is fetched any more."""
        if not any(_fetches_nothing(lane) for lane in self.lanes):
            return None
        return "nothing fetched although the broker answers" if await _reachable(self._bootstrap) else None


def _fetches_nothing(lane: Lane) -> bool:
    consumer, idle_for = lane.consumer(), lane.delivery.progress.idle_for
    if consumer is None or idle_for is None or idle_for > 1:
        return False
    fetched = [at for place in consumer.assignment() if (at := consumer.last_poll_timestamp(place))]
    return bool(fetched) and time.time() - max(fetched) / 1000 >= FETCH_STALE_S


def _framework_log() -> logging.Logger:
    """FastStream's own logger brings a handler along and announces every start; only its errors are of interest."""
    logger = logging.getLogger("shared.messaging.faststream")
    logger.setLevel(logging.ERROR)
    return logger


async def _reachable(bootstrap: str) -> bool:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return True
    return False


def _terminate(_error: BaseException) -> None:
    signal.raise_signal(signal.SIGTERM)
