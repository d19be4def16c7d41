"""A broker that is killed and comes back: refused in time meanwhile, nothing lost, everybody goes on by themselves."""

import asyncio

import pytest

from shared.messaging.errors import BrokerUnavailable
from tests.integration.messaging.conftest import WAIT_S, sales


@pytest.mark.faults
async def test_producer_and_worker_go_on_after_the_broker_was_killed(stack, workers, ledger, producer):
    if stack.infrastructure is None:
        pytest.skip("this run does not own its broker, so it may not kill it")
    kafka = stack.infrastructure.kafka
    producer._deadline_s = 1.0
    acknowledged: set[str] = set()

    async def publish(names: list[str]) -> None:
        await producer.publish_many(sales(names))
        acknowledged.update(names)

    await publish([f"before{n}" for n in range(50)])
    worker = await workers.start()
    await ledger.until(acknowledged)
    await asyncio.to_thread(kafka.kill)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(BrokerUnavailable):
        await producer.publish_many(sales(["while it is away"]))
    assert loop.time() - started < 2.0
    assert await producer.check() is not None
    await asyncio.to_thread(kafka.start)
    async with asyncio.timeout(WAIT_S):
        while await producer.check() is not None:
            try:
                await publish([f"after{n}" for n in range(50)])
            except BrokerUnavailable:
                continue
    async with asyncio.timeout(WAIT_S):
        while not acknowledged <= await ledger.values():
            async with ledger.changed:
                await ledger.changed.wait()
    assert await ledger.values() - acknowledged <= {"while it is away"}
    assert worker.failure is None
