"""Puts sales into the topic as an upstream system would: straight to Kafka."""

from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from benchmarks.stack import TENANT, Stack
from shared.events.catalogue import SALES
from shared.events.envelope import Envelope

CHUNK = 2000


async def fill(running: Stack, real: list[dict[str, Any]]) -> None:
    """Produces all baskets for the benchmark's tenant, pipelined."""
    producer = AIOKafkaProducer(bootstrap_servers=running.bootstrap, acks="all", linger_ms=5, max_batch_size=262_144)
    async with producer:
        for start in range(0, len(real), CHUNK):
            sent = [await _send(producer, running, basket) for basket in real[start : start + CHUNK]]
            for future in sent:
                await future


async def _send(producer: AIOKafkaProducer, running: Stack, basket: dict[str, Any]) -> Any:
    envelope = Envelope.new("sale.recorded.v1", TENANT, source="benchmark")
    key = f"{TENANT}:{basket['customer_code']}".encode()
    return await producer.send(
        SALES.full_name(running.prefix), orjson.dumps(basket), key=key, headers=envelope.to_headers()
    )
