"""How long every list and figure takes over HTTP at 100,000 customers and 1.5 million lines.

The tenant is loaded straight into the tables (seeded) and the derived rows are brought up to date as the worker's
refresher does; then each read is asked for in turn, one at a time and again with several at once. What the gateway may
remember is also asked for as if nobody had asked before: each time of other days.
Run: ./iacrm bench reads [--customers 100000] [--sales 150000] [--products 5000] [--rounds 40] [--at-once 4]
"""

import argparse
import asyncio
import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg

from benchmarks import report
from benchmarks.http_load import Connection
from benchmarks.reads_data import Size, load
from benchmarks.stack import PASSWORD, Account, Stack, open_account, stack
from services.rfm_worker.refresher import Refresher
from services.rfm_worker.tables import SCHEMA
from shared.db.engine import create_engine

BOUND_MS = 100.0
"""No list and no figure may take longer, at p95."""
PAST_BOUND_MS = 1000.0
"""Nor may what looks at every customer or sale of the tenant: what-if, and answers as of an earlier day."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/reads.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench reads", description=__doc__)
    usual = Size()
    parser.add_argument("--customers", type=int, default=usual.customers)
    parser.add_argument("--sales", type=int, default=usual.sales, help="of about ten lines each")
    parser.add_argument("--products", type=int, default=usual.products)
    parser.add_argument("--rounds", type=int, default=40, help="times that each read is asked for")
    parser.add_argument("--at-once", type=int, default=4, help="readers beside each other in the second pass")
    arguments = parser.parse_args(argv)
    size = Size(arguments.customers, arguments.sales, products=arguments.products)
    asyncio.run(_measure(size, arguments.rounds, arguments.at_once))


def reads(today: date) -> dict[str, str]:
    """Every list and figure: a name and its path."""

    def since(path: str, days: int, **more: str) -> str:
        return f"{path}?{urlencode({'from': today - timedelta(days=days), 'to': today, **more})}"

    lists = {
        f"customers by {sort}": f"/v1/customers?{urlencode({'sort': sort})}"
        for sort in (
            "code", "-monetary", "-frequency", "-last_order_at", "-average_basket", "-rfm_code", "segment",
            "next_order_expected_at",
        )
    }  # fmt: skip
    narrowed = {
        "customers named": {"q": "ruiz4242"}, "customers with a common word": {"q": "ana", "sort": "-monetary"},
        "customers with two letters": {"q": "zq"}, "customers of a family": {"family": "Family 7", "sort": "-monetary"},
        "customers of no family": {"family": "nowhere"}, "customers with a tag": {"tag": "club", "sort": "-frequency"},
        "customers with a rare tag": {"tag": "vip", "sort": "-monetary"},
        "customers of a segment": {"segment": "champions", "sort": "-last_order_at"},
        "customers of a code": {"rfm_code": "555", "sort": "-monetary"},
        "customers by all at once": {
            "segment": "loyal", "tag": "club", "min_spend": "300", "q": "person", "sort": "-average_basket",
        },
        "500 customers": {"sort": "-monetary", "limit": "500"},
    }  # fmt: skip
    return {
        **lists,
        **{name: f"/v1/customers?{urlencode(query)}" for name, query in narrowed.items()},
        "a customer": "/v1/customers/C-77",
        "the walk-in customer": "/v1/customers/C-1",
        "sales of the walk-in customer": "/v1/customers/C-1/sales",
        "sales": "/v1/sales",
        "products": "/v1/products",
        "products named": "/v1/products?q=Product+42",
        "popularity of the best product": "/v1/products/P-1/popularity",
        "popularity of another product": "/v1/products/P-4321/popularity",
        "segments": "/v1/rfm/distribution",
        "cut-offs": "/v1/rfm/cutoffs",
        "overview of 30 days": since("/v1/analytics/overview", 29),
        "overview of a year": since("/v1/analytics/overview", 364),
        "trend of 30 days": since("/v1/analytics/sales-trend", 29),
        "trend of a year by day": since("/v1/analytics/sales-trend", 364),
        "trend of a year by week": since("/v1/analytics/sales-trend", 364, granularity="week"),
        "trend of a year by month": since("/v1/analytics/sales-trend", 364, granularity="month"),
        "moves of 30 days": since("/v1/analytics/segments", 30),
        "moves of a year": since("/v1/analytics/segments", 364),
        "top of 30 days": since("/v1/analytics/products", 29),
        "top of a year": since("/v1/analytics/products", 364),
        "top of a year by orders": since("/v1/analytics/products", 364, by="orders"),
    }


def fresh(today: date, turn: int) -> dict[str, tuple[str, bytes | None]]:
    """Reads that nothing remembered can answer, for a turn that no other has: a name, and its path and body."""

    def days_ago(days: int) -> date:
        return today - timedelta(days=days + turn)

    fixed = {
        "method": "fixed",
        "bounds": {
            "recency_days": ["30", "90", "180", "365"], "frequency": ["1", "2", "3", "5"],
            "monetary": ["50", "100", "150", "300"],
        },
    }  # fmt: skip
    year = urlencode({"from": days_ago(365), "to": days_ago(1)})
    return {
        "overview of a year, asked for first": (f"/v1/analytics/overview?{year}", None),
        "what-if by quintiles": ("/v1/rfm/what-if", b'{"method": "quintile"}'),
        "what-if by bounds": ("/v1/rfm/what-if", json.dumps(fixed).encode()),
        "segments as of a day": (f"/v1/rfm/distribution?as_of={days_ago(30)}", None),
        "a customer as of a day": (f"/v1/customers/C-77?as_of={days_ago(130)}", None),
        "the walk-in customer as of a day": (f"/v1/customers/C-1?as_of={days_ago(230)}", None),
    }


async def _measure(size: Size, rounds: int, at_once: int) -> None:
    async with stack("api_gateway") as running:
        account = await open_account(running)
        lines, seconds = await _fill(running, size)
        paths = reads(datetime.now(UTC).date())
        paths |= await _later_pages(running, account, paths)
        alone = await _ask(running, account, paths, rounds, 1)
        together = await _ask(running, account, paths, rounds, at_once)
        heavy = await _ask_fresh(running, account, rounds // 2)
        result = {
            "customers": size.customers,
            "sales": size.sales,
            "lines": lines,
            "products": size.products,
            "bound_ms": BOUND_MS,
            "seconds": seconds,
            "at_once": at_once,
            "load_average": [round(load, 1) for load in os.getloadavg()],
            "reads": {name: {**alone[name], "together": together[name]} for name in paths},
            "past_bound_ms": PAST_BOUND_MS,
            "fresh": heavy,
            "gateway_rss_mb": running.rss_mb("api_gateway"),
        }
    path = report.record("reads", result)
    measured = alone | heavy
    for name, figures in sorted(measured.items(), key=lambda item: -item[1]["p95_ms"]):
        print(f"{name:44} p50 {figures['p50_ms']:7.1f} ms   p95 {figures['p95_ms']:7.1f} ms")
    slow = [name for name, figures in measured.items() if figures["p95_ms"] > _bound(name)]
    print(f"{len(measured)} reads, above their bound at p95: {', '.join(slow) or 'none'}; recorded in {path}")


def _bound(name: str) -> float:
    return PAST_BOUND_MS if "as of" in name or "what-if" in name else BOUND_MS


async def _fill(running: Stack, size: Size) -> tuple[int, dict[str, float]]:
    """Loads the tenant, refreshes what is derived, and does what autovacuum would soon do."""
    connection = await asyncpg.connect(running.admin_url)
    server = running.admin_url.rpartition("@")[2]
    engine = create_engine(
        f"postgresql+asyncpg://iacrm_rfm:{PASSWORD}@{server}", application_name="bench", schema=SCHEMA
    )
    try:
        tenant_id = await connection.fetchval("select tenant_id from gateway.tenant")
        marks = [time.perf_counter()]
        lines = await load(connection, tenant_id, size)
        await connection.execute("vacuum (analyze)")
        marks.append(time.perf_counter())
        refresher = Refresher(engine, interval_s=1)
        await refresher.refresh_customers(tenant_id)
        marks.append(time.perf_counter())
        await refresher.refresh_periods(tenant_id)
        marks.append(time.perf_counter())
        await connection.execute("vacuum (analyze)")
    finally:
        await engine.dispose()
        await connection.close()
    steps = zip(("load", "refresh_customers", "refresh_periods"), marks, marks[1:], strict=False)
    return lines, {name: round(end - start, 1) for name, start, end in steps}


@contextlib.asynccontextmanager
async def _connection(running: Stack) -> AsyncIterator[Connection]:
    connection = Connection("127.0.0.1", running.gateway_port)
    try:
        yield connection
    finally:
        await connection.close()


async def _later_pages(running: Stack, account: Account, paths: dict[str, str]) -> dict[str, str]:
    """The twentieth page of some lists: a cursor must not cost more the further it is."""
    found = {}
    async with _connection(running) as connection:
        for name in ("customers by -monetary", "customers by -average_basket", "customers by next_order_expected_at"):
            path = paths[name]
            for _ in range(19):
                cursor = json.loads((await connection.get(path, account.bearer)).body)["next_cursor"]
                path = f"{paths[name]}&{urlencode({'cursor': cursor})}"
            found[f"{name}, page 20"] = path
    return found


async def _ask(
    running: Stack, account: Account, paths: dict[str, str], rounds: int, at_once: int
) -> dict[str, dict[str, Any]]:
    """p50 and p95 of each read, the reads in turn; the first round only warms up."""
    times: dict[str, list[float]] = {name: [] for name in paths}

    async def reader(turns: int, offset: int) -> None:
        names = [*paths][offset:] + [*paths][:offset]
        async with _connection(running) as connection:
            for turn in range(turns + 1):
                for name in names:
                    began = time.perf_counter()
                    answer = await connection.get(paths[name], account.bearer)
                    if answer.status != 200:
                        raise RuntimeError(f"{name} answered {answer.status}: {answer.body[:300]!r}")
                    if turn:
                        times[name].append(1000 * (time.perf_counter() - began))

    step = max(1, len(paths) // at_once)
    await asyncio.gather(*(reader(max(2, rounds // at_once), number * step) for number in range(at_once)))
    return _percentiles(times)


async def _ask_fresh(running: Stack, account: Account, rounds: int) -> dict[str, dict[str, Any]]:
    """The same of what is asked for as if nobody had asked before, one at a time."""
    today, times = datetime.now(UTC).date(), defaultdict[str, list[float]](list)
    headers = account.bearer + b"Content-Type: application/json\r\n"
    async with _connection(running) as connection:
        for turn in range(max(2, rounds) + 1):
            for name, (path, body) in fresh(today, turn).items():
                began = time.perf_counter()
                asked = connection.get(path, headers) if body is None else connection.post(path, body, headers)
                answer = await asked
                if answer.status != 200:
                    raise RuntimeError(f"{name} answered {answer.status}: {answer.body[:300]!r}")
                if turn:
                    times[name].append(1000 * (time.perf_counter() - began))
    return _percentiles(times)


def _percentiles(times: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    return {
        name: {"p50_ms": round(report.percentile(taken, 0.5), 1), "p95_ms": round(report.percentile(taken, 0.95), 1)}
        for name, taken in times.items()
    }
