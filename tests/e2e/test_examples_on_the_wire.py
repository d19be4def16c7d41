"""Golden examples, produced to the real topics as an upstream system would: the worker applies every one."""

from aiokafka import AIOKafkaProducer

from shared.events.catalogue import consumed_by
from shared.events.examples import load_examples
from tests.e2e.installation import Installation

BROKEN = b'{"sale_id": "only"}'


async def _dead(installation: Installation) -> dict[str, int]:
    ends = await installation.end_offsets()
    return {name: end for name, end in ends.items() if name.endswith(".dead")}


async def test_the_worker_applies_every_golden_example_and_none_dies(installation: Installation) -> None:
    before = await _dead(installation)
    sent = 0
    async with AIOKafkaProducer(bootstrap_servers=installation.stack.kafka_bootstrap, acks="all") as producer:
        for topic in consumed_by("rfm_worker"):
            for example in (example for type_ in topic.types for example in load_examples(type_)):
                await producer.send_and_wait(
                    topic.full_name(installation.prefix),
                    example.raw_value(),
                    key=example.key.encode(),
                    headers=example.raw_headers(),
                )
                sent += 1
    await installation.all_applied()
    assert sent > 20
    assert await _dead(installation) == before


async def test_a_record_that_breaks_the_rules_dies_and_is_kept(installation: Installation) -> None:
    """Otherwise the test above would pass on a worker that drops what it does not understand."""
    before = await _dead(installation)
    (example,) = [each for each in load_examples("sale.recorded.v1") if each.name == "full"]
    sales = f"{installation.prefix}sales"
    async with AIOKafkaProducer(bootstrap_servers=installation.stack.kafka_bootstrap, acks="all") as producer:
        await producer.send_and_wait(sales, BROKEN, key=example.key.encode(), headers=example.raw_headers())
    await installation.all_applied()
    assert await _dead(installation) == {**before, f"{sales}.dead": before[f"{sales}.dead"] + 1}
