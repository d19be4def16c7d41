"""Creates the topics of the catalogue and their dead-letter twins: `python -m shared.messaging.topics`."""

import asyncio
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.events import catalogue
from shared.events.catalogue import Topic
from shared.messaging.dead_letters import ROOM_FOR_HEADERS
from shared.observability.logging import configure, get_logger
from shared.settings import CommonSettings

log = get_logger(__name__)


def with_dead_letters(topics: Sequence[Topic] = catalogue.ALL) -> list[Topic]:
    """The topics, each followed by its dead-letter twin where something consumes it."""
    wanted: list[Topic] = []
    for topic in topics:
        wanted += [topic, topic.dead_letter] if topic.consumers else [topic]
    return wanted


async def create_topics(
    bootstrap: str, *, prefix: str = "", replication_factor: int = -1, topics: Sequence[Topic] = catalogue.ALL
) -> list[str]:
    """Creates what is missing and leaves alone what exists: partitions are never added, as keys would move.

    Args:
        bootstrap: host:port list.
        prefix: the installation's prefix.
        replication_factor: copies of each partition; -1 takes the broker's default.
        topics: what to create, each with its dead-letter twin.

    Returns:
        The full names of the topics that were created.

    Raises:
        KafkaError: the broker is away or refuses a topic.
    """
    wanted = [
        # An empty assignment is how aiokafka lets a topic take the broker's default replication factor.
        NewTopic(topic.full_name(prefix), topic.partitions, replication_factor, {}, _config(topic))
        for topic in with_dead_letters(topics)
    ]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=30_000)
    await admin.start()
    try:
        response = await admin.create_topics(wanted, timeout_ms=30_000)
    finally:
        await admin.close()
    created = []
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(name)
        elif error is not TopicAlreadyExistsError:
            raise error(name)
    return created


def _config(topic: Topic) -> dict[str, str]:
    config = topic.config()
    if topic.name not in catalogue.BY_NAME and "max.message.bytes" in config:
        # A dead letter is its original with more headers, and must fit even where the original just did.
        config["max.message.bytes"] = str(int(config["max.message.bytes"]) + ROOM_FOR_HEADERS)
    return config


async def main() -> None:
    """Creates the topics that the settings describe and says which."""
    settings = CommonSettings()
    configure("topics", settings.env, settings.log_level)
    created = await create_topics(settings.kafka_bootstrap, prefix=settings.topic_prefix)
    log.info("topics are there", created=sorted(created), prefix=settings.topic_prefix)


if __name__ == "__main__":
    asyncio.run(main())
