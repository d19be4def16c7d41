"""Looking into topics from outside."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType


async def read_topic(bootstrap: str, name: str) -> list[ConsumerRecord]:
    """Every record that the topic holds now."""
    consumer = AIOKafkaConsumer(name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = sorted(consumer.assignment())
        assert places, f"there is no topic {name}"
        records: list[ConsumerRecord] = []
        for place, end in (await consumer.end_offsets(places)).items():
            while await consumer.position(place) < end:
                records += (await consumer.getmany(place, timeout_ms=1000)).get(place, [])
        return records
    finally:
        await consumer.stop()


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """Headers as text."""
    return {name: (value or b"").decode(errors="replace") for name, value in record.headers}


@asynccontextmanager
async def administration(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Kafka's administration client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def configure_topic(bootstrap: str, name: str, settings: Mapping[str, str]) -> None:
    """Replaces the settings of a topic."""
    async with administration(bootstrap) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, dict(settings))])
