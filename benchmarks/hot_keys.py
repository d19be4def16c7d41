"""One tenant with 95 % of the sales, a third of them by its walk-in customer, one product in half of all lines and now
and then 500 lines, beside a hundred small tenants: how soon the small ones' scores follow.

Sales go straight to Kafka at a steady rate.
Run: ./iacrm bench hot-keys [--rate 300] [--seconds 20]
"""

import argparse
import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from aiokafka import AIOKafkaProducer

from benchmarks import report
from benchmarks.scored import watched
from benchmarks.stack import Stack, stack
from shared.events.catalogue import SALES
from shared.events.envelope import Envelope

BIG = UUID(int=1)
SMALL = [UUID(int=1000 + n) for n in range(100)]
BEGINNING = datetime(2026, 1, 1, 8, tzinfo=UTC)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/hot-keys.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench hot-keys", description=__doc__)
    parser.add_argument("--rate", type=int, default=300, help="sales per second, all tenants together")
    parser.add_argument("--seconds", type=int, default=20, help="length of the run")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.rate, arguments.seconds))


async def _measure(rate: int, seconds: int) -> None:
    async with stack("rfm_worker") as running, watched(running.admin_url) as requests:
        async with running.applied("rfm_worker") as applied:
            began = time.perf_counter()
            await _feed(running, rate, seconds)
            fed = time.perf_counter()
            _, ended = await applied.until(rate * seconds)
        await requests.rest()
        result: dict[str, Any] = {
            "sales_per_s": rate,
            "seconds": seconds,
            "fed_in_s": round(fed - began, 2),
            "applied_after_the_last_ms": round((ended - fed) * 1000, 1),
            "worker_rss_mb": running.rss_mb("rfm_worker"),
            "big_tenant": _percentiles(requests.served.get(str(BIG), [])),
            "small_tenants": _percentiles([s for t, all_ in requests.served.items() if t != str(BIG) for s in all_]),
        }
    path = report.record("hot-keys", result)
    print(f"scores follow: small {result['small_tenants']}, big {result['big_tenant']}; recorded in {path}")


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {
        "requests": len(seconds),
        "p50_s": round(report.percentile(seconds, 0.5), 3),
        "p99_s": round(report.percentile(seconds, 0.99), 3),
    }


async def _feed(running: Stack, rate: int, seconds: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=running.bootstrap, acks="all", linger_ms=5)
    async with producer:
        began, sent = time.perf_counter(), []
        for n, (tenant, body) in enumerate(_sales(random.Random(1), rate * seconds)):
            while n > (time.perf_counter() - began) * rate:
                await asyncio.sleep(0.002)
            headers = Envelope.new("sale.recorded.v1", tenant, source="benchmark").to_headers()
            key = f"{tenant}:{body['customer_code']}".encode()
            sent.append(await producer.send(SALES.name, orjson.dumps(body), key=key, headers=headers))
        await asyncio.gather(*sent)


def _sales(chance: random.Random, count: int) -> Iterator[tuple[UUID, dict[str, Any]]]:
    for n in range(count):
        big = chance.random() < 0.95
        code = "walk-in" if big and chance.random() < 1 / 3 else f"c{chance.randrange(20_000 if big else 50)}"
        lines = 500 if big and n % 500 == 0 else chance.randrange(1, 20)
        body = {
            "sale_id": f"s{n}",
            "customer_code": code,
            "sold_at": (BEGINNING + timedelta(minutes=n)).isoformat(),
            "lines": [_line(chance) for _ in range(lines)],
        }
        yield (BIG if big else chance.choice(SMALL)), body


def _line(chance: random.Random) -> dict[str, str]:
    product = "bestseller" if chance.random() < 0.5 else f"p{chance.randrange(5_000)}"
    price = f"{chance.randrange(100, 3000) / 100:.2f}"
    return {"product_key": product, "quantity": "1", "unit_price": price, "amount": price}
