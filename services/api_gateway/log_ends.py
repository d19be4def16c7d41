"""Where the topics end now, for lag: asked at most once a second, and never an obstacle when the broker is away."""

import asyncio
import contextlib
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared.events.catalogue import Topic

CACHE_S = 1.0
TIMEOUT_S = 2.0
RETRY_S = 5.0
Place = tuple[str, int]


class LogEnds:
    """End offsets of some topics.

    Args:
        bootstrap: brokers.
        prefix: the installation's prefix of topic names.
        topics: whose ends are asked.
    """

    def __init__(self, bootstrap: str, prefix: str, topics: tuple[Topic, ...]) -> None:
        self._bootstrap = bootstrap
        self._places: dict[TopicPartition, Place] = {
            TopicPartition(topic.full_name(prefix), partition): (topic.name, partition)
            for topic in topics
            for partition in range(topic.partitions)
        }
        self._consumer: AIOKafkaConsumer | None = None
        self._known: dict[Place, int] | None = None
        self._asked_at = float("-inf")
        self._keep_s = CACHE_S
        self._lock = asyncio.Lock()

    async def get(self) -> dict[Place, int] | None:
        """(topic, partition) -> offset of the next record; None while the broker does not answer."""
        async with self._lock:
            if time.monotonic() - self._asked_at >= self._keep_s:
                self._known = await self._ask()
                self._asked_at = time.monotonic()
                self._keep_s = CACHE_S if self._known is not None else RETRY_S
            return self._known

    async def stop(self) -> None:
        """Disconnects."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    await consumer.stop()

    async def _ask(self) -> dict[Place, int] | None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._consumer is None:
                    await self._connect()
                assert self._consumer is not None  # noqa: S101 - connected above
                ends = await self._consumer.end_offsets(list(self._places))
        except (KafkaError, OSError, TimeoutError):
            await self.stop()
            return None
        return {self._places[place]: end for place, end in ends.items()}

    async def _connect(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="api_gateway-status",
            enable_auto_commit=False,
            request_timeout_ms=int(TIMEOUT_S * 1000),
        )
        self._consumer = consumer
        await consumer.start()
