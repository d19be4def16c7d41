"""The topics of a real broker are those of the catalogue."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.events.catalogue import ALL
from shared.messaging.topics import create_topics, with_dead_letters
from tests.stack import Stack


async def test_topics_on_the_broker_match_the_catalogue(stack: Stack, topic_prefix: str) -> None:
    wanted = {topic.full_name(topic_prefix): topic for topic in with_dead_letters()}
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        names = {name for name in await admin.list_topics() if name.startswith(topic_prefix)}
        assert names == set(wanted)
        for found in await admin.describe_topics(sorted(wanted)):
            assert len(found["partitions"]) == wanted[found["topic"]].partitions, found["topic"]
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(wanted)]
        for answer in await admin.describe_configs(asked):
            for _, _, _, name, entries in answer.resources:
                values = {entry[0]: entry[1] for entry in entries}
                topic = wanted[name]
                assert values["cleanup.policy"] == topic.cleanup, name
                if topic.cleanup == "delete":
                    assert values["retention.ms"] == str(topic.retention_ms), name
                assert int(values["max.message.bytes"]) >= int(topic.config()["max.message.bytes"]), name
    finally:
        await admin.close()


async def test_creating_topics_again_changes_nothing(stack: Stack, topic_prefix: str) -> None:
    assert await create_topics(stack.kafka_bootstrap, prefix=topic_prefix) == []


def test_what_is_consumed_has_a_dead_letter_twin_and_nothing_else_has() -> None:
    names = [topic.name for topic in with_dead_letters()]
    for topic in ALL:
        assert (topic.dead_letter.name in names) == bool(topic.consumers)
    assert len(names) == len(set(names))
