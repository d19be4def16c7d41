"""Dead letters, looked at and sent again: `python -m shared.messaging.replay sales [--list] [--dry-run]`.

A record is replayed once: how far each reason has been replayed is committed under a consumer group of its own, so
that replaying one reason today does not hide another from tomorrow. A record that fails again dies again, and its new
dead letter can be replayed in turn.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared.events.catalogue import BY_NAME
from shared.messaging.dead_letters import HEADER_PREFIX, SUFFIX, original_headers
from shared.messaging.errors import DeadReason, Transient
from shared.messaging.producer import RECORD_BYTES, EventProducer
from shared.messaging.record import Message
from shared.observability.logging import configure
from shared.settings import CommonSettings

CHUNK = 100


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `describe` says everything about it but its content."""

    partition: int
    offset: int
    message: Message
    about: dict[str, str]

    @property
    def reason(self) -> DeadReason:
        """Why it died; a reason that this version does not know counts as undecodable."""
        try:
            return DeadReason(self.about.get("reason", ""))
        except ValueError:
            return DeadReason.UNDECODABLE

    @property
    def complete(self) -> bool:
        """Whether it holds its record; one that was too large for that cannot be sent again."""
        return "size" not in self.about

    def describe(self) -> str:
        """One line: offset, moment, service, reason, origin and detail."""
        about = self.about
        origin = f"{about.get('topic', '?')}-{about.get('partition', '?')}@{about.get('offset', '?')}"
        fields = (
            str(self.offset),
            about.get("at", ""),
            about.get("service", ""),
            self.reason.value,
            origin,
            about.get("detail", ""),
        )
        return "\t".join(fields)


class DeadLetters:
    """The dead letters of one topic, and how far each reason has been replayed."""

    def __init__(self, bootstrap: str, topic: str, *, prefix: str = "") -> None:
        self._bootstrap, self._topic, self._prefix = bootstrap, topic, prefix
        self._name = f"{prefix}{topic}{SUFFIX}"

    async def waiting(self, reasons: Collection[DeadReason] = ()) -> list[DeadLetter]:
        """Those that were not replayed yet, oldest first; of all reasons when none are named."""
        wanted = list(reasons) or list(DeadReason)
        async with AsyncExitStack() as opened:
            consumers = {each: await opened.enter_async_context(self._consumer(each)) for each in wanted}
            reader = next(iter(consumers.values()))
            done = {each: await _committed(consumer) for each, consumer in consumers.items()}
            found = [letter async for letter in self._read(reader, done)]
        return [letter for letter in found if letter.reason in wanted]

    async def replay(
        self, producer: EventProducer, reasons: Collection[DeadReason] = (), *, limit: int | None = None
    ) -> int:
        """Publishes waiting dead letters to their own topic as they first came; answers how many.

        Those that were too large to be kept are passed over.

        Raises:
            BrokerUnavailable: what was acknowledged until then is noted as replayed.
        """
        letters = [letter for letter in await self.waiting(reasons) if letter.complete][:limit]
        for start in range(0, len(letters), CHUNK):
            chunk = letters[start : start + CHUNK]
            await producer.publish_many([letter.message for letter in chunk])
            await self._note(chunk)
        return len(letters)

    async def _note(self, letters: Sequence[DeadLetter]) -> None:
        for reason in {letter.reason for letter in letters}:
            offsets: dict[TopicPartition, int] = {}
            for letter in letters:
                if letter.reason is reason:
                    offsets[TopicPartition(self._name, letter.partition)] = letter.offset + 1
            async with self._consumer(reason) as consumer:
                await consumer.commit(offsets)

    async def _read(
        self, reader: AIOKafkaConsumer, done: dict[DeadReason, dict[TopicPartition, int]]
    ) -> AsyncIterator[DeadLetter]:
        for place, end in (await reader.end_offsets(list(reader.assignment()))).items():
            first = (await reader.beginning_offsets([place]))[place]
            position = max(first, min(each.get(place, 0) for each in done.values()))
            reader.seek(place, position)
            while position < end:
                for record in (await reader.getmany(place, timeout_ms=1000)).get(place, ()):
                    letter = self._letter(record)
                    if record.offset < end and record.offset >= done.get(letter.reason, {}).get(place, 0):
                        yield letter
                position = await reader.position(place)

    def _letter(self, record: ConsumerRecord) -> DeadLetter:
        about = {
            name.removeprefix(HEADER_PREFIX): (value or b"").decode(errors="replace")
            for name, value in record.headers
            if name.startswith(HEADER_PREFIX)
        }
        message = Message(self._topic, record.key, record.value, original_headers(record.headers))
        return DeadLetter(record.partition, record.offset, message, about)

    @asynccontextmanager
    async def _consumer(self, reason: DeadReason) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=f"{self._prefix}replay.{self._topic}.{reason.value}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=2 * RECORD_BYTES,
        )
        try:
            await consumer.start()
            partitions = BY_NAME[self._topic].dead_letter.partitions
            consumer.assign([TopicPartition(self._name, number) for number in range(partitions)])
            yield consumer
        finally:
            await consumer.stop()


async def _committed(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    return {place: await consumer.committed(place) or 0 for place in consumer.assignment()}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m shared.messaging.replay", description=__doc__.splitlines()[0])
    parser.add_argument("topic", choices=sorted(name for name, topic in BY_NAME.items() if topic.consumers))
    parser.add_argument("--reason", action="append", type=DeadReason, choices=list(DeadReason), default=[])
    parser.add_argument("--limit", type=int, help="replay at most so many")
    parser.add_argument("--list", "--dry-run", dest="look", action="store_true", help="show them and change nothing")
    return parser


async def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; answers the exit code: 0, or 1 when the broker does not answer."""
    given = arguments().parse_args(argv)
    settings = CommonSettings()
    configure("replay", settings.env, "WARNING")
    letters = DeadLetters(settings.kafka_bootstrap, given.topic, prefix=settings.topic_prefix)
    try:
        sentence = await (_look(letters, given) if given.look else _replay(letters, given, settings))
    except (Transient, KafkaError) as error:
        sys.stdout.write(f"stopped: {error}; run it again for the rest\n")
        return 1
    sys.stdout.write(f"{sentence}\n")
    return 0


async def _look(letters: DeadLetters, given: argparse.Namespace) -> str:
    found = (await letters.waiting(given.reason))[: given.limit]
    sys.stdout.writelines(f"{letter.describe()}\n" for letter in found)
    return f"{len(found)} dead letters of {given.topic} wait for a replay"


async def _replay(letters: DeadLetters, given: argparse.Namespace, settings: CommonSettings) -> str:
    producer = EventProducer(settings.kafka_bootstrap, prefix=settings.topic_prefix, client_id="replay")
    await producer.start()
    try:
        count = await letters.replay(producer, given.reason, limit=given.limit)
    finally:
        await producer.stop()
    return f"{count} dead letters of {given.topic} were replayed"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
