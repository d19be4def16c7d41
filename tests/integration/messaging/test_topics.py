"""Topics come from the catalogue, as often as the command is run."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared.events import catalogue
from shared.messaging.topics import create_topics, with_dead_letters
from tests.integration.messaging.conftest import eventually


async def described_topics(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Topic -> partitions, once the broker's metadata know all of them."""
    found: dict[str, int] = {}

    async def all_known() -> bool:
        found.update({topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(names)})
        return all(found.values())

    await eventually(all_known)
    return found


async def test_creating_them_again_changes_nothing(stack, topic_prefix):
    assert await create_topics(stack.kafka_bootstrap, prefix=topic_prefix) == []


async def test_they_are_as_the_catalogue_says(stack, topic_prefix):
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        names = [topic.full_name(topic_prefix) for topic in with_dead_letters()]
        described = await described_topics(admin, names)
        (answer,) = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, f"{topic_prefix}{name}") for name in ("customers", "sales")]
        )
    finally:
        await admin.close()
    for topic in with_dead_letters():
        assert described[topic.full_name(topic_prefix)] == topic.partitions
    settings = {name: {entry[0]: entry[1] for entry in entries} for *_, name, entries in answer.resources}
    assert settings[f"{topic_prefix}customers"]["cleanup.policy"] == "compact"
    assert settings[f"{topic_prefix}sales"]["retention.ms"] == str(catalogue.FOR_EVER)


def test_every_consumed_topic_has_a_dead_letter_twin():
    names = {topic.name for topic in with_dead_letters()}
    for topic in catalogue.ALL:
        assert (f"{topic.name}.dead" in names) == bool(topic.consumers)
