"""What a batch of 500 sales costs at growing numbers of customers and of ledger lines: applying and scoring apart.

Processor time of this process and of its database backends; the exponent of a power law fitted through the medians.
PostgreSQL has buffers as whoever keeps a million customers would give it (`--buffers`), at every size the same.
Run: ./iacrm bench rfm-scale [--customers 10000 100000 1000000] [--lines 100000 1000000 10000000] [--buffers 3GB]
"""

import argparse
import asyncio
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil

from benchmarks import report
from benchmarks.plots import scale_plot
from benchmarks.stack import TENANT, Stack, stack
from services.rfm_worker.domain.facts import Basket, Sale
from services.rfm_worker.handlers import Applier
from services.rfm_worker.repository.batch import BatchWriter
from services.rfm_worker.scorer import Scorer
from services.rfm_worker.tables import SCHEMA
from shared.db.engine import create_engine

SALES, LINES, PRODUCTS = 500, 10, 5_000
FEW_CUSTOMERS, FEW_LINES = 10_000, 100_000
NEWEST = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECRET = "a-secret-of-this-benchmark-alone-000000"

# Values of their own, not sums of the ledger: what is measured is the cost of changing them.
_CUSTOMERS = """
insert into rfm.customer (tenant_id, customer_code, code_hash, frequency, monetary, first_order_at, last_order_at,
    last_order_day)
select $1, 'c' || n, sha256(('c' || n)::bytea), 1 + floor(-ln(1 - random()) * 12)::int,
    round((10 + 400 * -ln(1 - random()))::numeric, 2), at - interval '300 days', at,
    (at at time zone 'Europe/Paris')::date
from generate_series(0, $2::int - 1) n,
    lateral (select $3::timestamptz - (random() * 300 + n * 0) * interval '1 day' as at) t
"""
_SALES = """
insert into rfm.sale (tenant_id, sale_id, recorded, customer_code, sold_at, day, channel, currency, gross, net,
    event_time, event_id, product_keys, labels, quantities, unit_prices, discounts, amounts)
select $1, 'old' || n, true, 'c' || n % $3::int, at, (at at time zone 'Europe/Paris')::date, 'store', 'EUR', 50, 50, at,
    'e' || n, keys, array_fill(null::text, array[10]), array_fill(1::numeric, array[10]),
    array_fill(5::numeric, array[10]), array_fill(0::numeric, array[10]), array_fill(5::numeric, array[10])
from generate_series(0, $2::int - 1) n,
    lateral (select $4::timestamptz - (random() * 300 + n * 0) * interval '1 day' as at) t,
    lateral (
        select array_agg('p' || ((n::bigint * 7919 + i * 104729) % $5::int)) as keys from generate_series(1, 10) i
    ) k
"""
_SUMS = (
    """
    insert into rfm.customer_product (tenant_id, customer_code, product_key, orders, units, amount, spend_weight)
    select tenant_id, customer_code, key, count(*), count(*), count(*) * 5, count(*) * 40.123456789012345
    from rfm.sale, unnest(product_keys) key group by 1, 2, 3
    """,
    """
    insert into rfm.product (tenant_id, product_key, orders, units, revenue, units_weight)
    select tenant_id, key, count(*), count(*), count(*) * 5, count(*) * 40.123456789012345
    from rfm.sale, unnest(product_keys) key group by 1, 2
    """,
    """
    insert into rfm.day (tenant_id, day, orders, units, revenue)
    select tenant_id, day, count(*), count(*) * 10, sum(net) from rfm.sale group by 1, 2
    """,
)


@dataclass(frozen=True, slots=True)
class Size:
    customers: int
    lines: int


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/rfm-scale.json` and its plot."""
    parser = argparse.ArgumentParser(prog="./iacrm bench rfm-scale", description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--lines", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--batches", type=int, default=9, help="measured batches per size; medians are reported")
    parser.add_argument("--buffers", default="3GB", help="PostgreSQL's shared_buffers")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.customers, arguments.lines, arguments.batches, arguments.buffers))


async def _measure(customers: list[int], lines: list[int], batches: int, buffers: str) -> None:
    series = {
        "customers": [await _at(Size(count, FEW_LINES), batches, buffers) for count in customers],
        "lines": [await _at(Size(FEW_CUSTOMERS, count), batches, buffers) for count in lines],
    }
    exponents = {
        axis: {
            step: _exponent([row[axis] for row in rows], [row[f"{step}_cpu_ms"] for row in rows])
            for step in ("apply", "score", "both")
        }
        for axis, rows in series.items()
    }
    path = report.record(
        "rfm-scale", {"sales_per_batch": SALES, "shared_buffers": buffers, "exponents": exponents, **series}
    )
    plot = scale_plot(series, exponents)
    print(f"exponents {json.dumps(exponents)}; recorded in {path}, drawn in {plot}")


async def _at(size: Size, batches: int, buffers: str) -> dict[str, Any]:
    """One size: tables filled by SQL, then batches through the worker's own code in this process."""
    async with stack(shared_buffers=buffers) as running:
        admin = await asyncpg.connect(running.admin_url)
        await _fill(admin, size)
        engine = create_engine(_worker_url(running), application_name="rfm_worker", schema=SCHEMA, pool_size=3)
        applier = Applier(engine, BatchWriter(SECRET), lambda: datetime.now(UTC), lambda: None)
        scorer = Scorer(engine, now=lambda: datetime.now(UTC), interval_s=0)
        await scorer.score(TENANT)
        chance = random.Random(1)
        rows = [await _batch(admin, applier, scorer, size, chance, number) for number in range(batches + 2)][2:]
        await engine.dispose()
        await admin.close()
    medians = {name: report.median([row[name] for row in rows]) for name in rows[0]}
    print(f"{size.customers} customers, {size.lines} lines: {json.dumps(medians)}")
    return {"customers": size.customers, "lines": size.lines, **medians}


async def _fill(admin: Any, size: Size) -> None:
    await admin.execute("insert into rfm.tenant (tenant_id, reference_date) values ($1, 'latest_sale')", TENANT)
    await admin.execute(_CUSTOMERS, TENANT, size.customers, NEWEST, timeout=1200)
    await admin.execute(_SALES, TENANT, size.lines // LINES, size.customers, NEWEST, PRODUCTS, timeout=1200)
    for statement in _SUMS:
        await admin.execute(statement, timeout=1200)
    await admin.execute("insert into rfm.score_request (tenant_id) values ($1)", TENANT)
    await admin.execute("vacuum (analyze)", timeout=1200)
    await admin.execute("checkpoint", timeout=1200)


def _worker_url(running: Stack) -> str:
    return running.environment("rfm_worker")["IACRM_DATABASE_URL"]


async def _batch(
    admin: Any, applier: Applier, scorer: Scorer, size: Size, chance: random.Random, number: int
) -> dict[str, float]:
    sales = [_sale(size, chance, f"new{number}-{n}", number) for n in range(SALES)]
    before, began = await _cpu_ms(admin), time.perf_counter()
    await applier.apply(sales, {("sales", 0): number + 1})
    applied, at = await _cpu_ms(admin), time.perf_counter()
    await scorer.score(TENANT)
    scored = await _cpu_ms(admin)
    return {
        "apply_cpu_ms": applied - before,
        "score_cpu_ms": scored - applied,
        "both_cpu_ms": scored - before,
        "apply_ms": round((at - began) * 1000, 1),
        "score_ms": round((time.perf_counter() - at) * 1000, 1),
    }


def _sale(size: Size, chance: random.Random, sale_id: str, number: int) -> Sale:
    sold_at = NEWEST + timedelta(minutes=number, seconds=chance.random())
    products = [f"p{key}" for key in chance.sample(range(PRODUCTS), LINES)]
    amounts = [f"{chance.randrange(100, 2000) / 100:.2f}" for _ in products]
    ones, nothing = ["1"] * LINES, ["0"] * LINES
    basket = Basket(
        sale_id, f"c{chance.randrange(size.customers)}", sold_at, "store", "EUR", products, [None] * LINES, ones,
        amounts, nothing, amounts, {},
    )  # fmt: skip
    return Sale(TENANT, (sold_at, sale_id), basket)


async def _cpu_ms(admin: Any) -> float:
    """Milliseconds of processor time that this process and its database backends have used."""
    pids = await admin.fetch("select pid from pg_stat_activity where application_name = 'rfm_worker'")
    backends = sum(sum(psutil.Process(row["pid"]).cpu_times()[:2]) for row in pids)
    return (backends + time.process_time()) * 1000


def _exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of a line through the logarithms (least squares)."""
    xs, ys = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)
    return round(slope, 3)
