"""PostgreSQL goes away while events flow: the worker waits for it, nothing is poison, sales are still accepted."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from cli.embedded.infrastructure import Infrastructure
from shared.events.catalogue import SALES
from tests.support.api import Api, Till
from tests.support.exactness import assert_exact, assert_told
from tests.support.installation import Installation
from tests.support.processes import Process
from tests.support.sales_stream import a_sale, recorded, sales_stream
from tests.support.topics import read_topic
from tests.support.waiting import until

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_sales_are_accepted_and_applied_over_a_restart_of_postgres(
    shaky: Installation, servers: Infrastructure, how: str
) -> None:
    worker, gateway = shaky.worker(), shaky.gateway()
    await asyncio.gather(worker.ready(), gateway.ready())
    api = await Api.register(gateway.url)
    shaky.tenant_id = api.tenant_id
    till = Till(api)
    sales = [a_sale(f"T{number:05}", f"C{number % 7}") for number in range(10_000)]
    stream = sales_stream(seed=31, events=6_000)
    await till.open(sales)
    producing = asyncio.create_task(shaky.produce(stream, per_second=1_500), name="produce")
    await until(lambda: _applied(shaky, 500), seconds=30, what="events flow")

    await asyncio.to_thread(servers.postgres.kill if how == "killed" else servers.postgres.stop)
    await worker.answers("/health/ready", 503)
    accepted_before = len(till.accepted)
    read = await api.ask("GET", "/customers")
    assert read.status == 503, read.body
    assert "retry-after" in read.headers
    assert read.seconds < 10
    await until(lambda: len(till.accepted) > accepted_before + 5, seconds=10, what="sales are accepted meanwhile")
    await asyncio.to_thread(servers.postgres.start)

    await worker.ready()
    await till.close()
    await producing
    assert not till.refused, till.refused[0]
    await _everything_applied(shaky, worker, till)
    await assert_exact(shaky, [*stream, *(recorded(sale) for sale in till.accepted)])
    await assert_told(shaky)
    assert await read_topic(shaky.bootstrap, f"{SALES.full_name(shaky.prefix)}.dead") == []
    await until(lambda: _reads(api), seconds=10, what="the gateway reads again")
    await api.close()
    await worker.stop()
    await gateway.stop()


async def test_a_server_that_stands_still_counts_as_away(shaky: Installation, servers: Infrastructure) -> None:
    gateway = shaky.gateway()
    await gateway.ready()
    api = await Api.register(gateway.url)
    # Connections that are open already: nothing tells the gateway that their other end no longer answers.
    await asyncio.gather(*(api.ask("GET", "/customers") for _ in range(20)))
    with _standing_still(servers):
        keyed = {"Idempotency-Key": "till-7"}
        asked = [api.ask("GET", "/customers") for _ in range(10)]
        *reads, sale = await asyncio.gather(*asked, api.ask("POST", "/sales", json=a_sale("T1", "C1"), headers=keyed))
    assert {read.status for read in reads} == {503}
    assert sale.status == 202
    assert max(answer.seconds for answer in (*reads, sale)) < 15
    await until(lambda: _reads(api), seconds=20, what="the gateway reads again")
    await api.close()
    await gateway.stop()


@contextmanager
def _standing_still(servers: Infrastructure) -> Iterator[None]:
    server = psutil.Process(servers.postgres.pid)
    stopped = [server, *server.children(recursive=True)]
    for each in stopped:
        each.suspend()
    try:
        yield
    finally:
        for each in stopped:
            each.resume()


async def test_a_worker_that_starts_before_postgres_waits_for_it(shaky: Installation, servers: Infrastructure) -> None:
    facts = sales_stream(seed=32, events=500)
    await shaky.produce(facts)
    await asyncio.to_thread(servers.postgres.stop)
    worker = shaky.worker()
    await worker.answers("/health/live", 200)
    await worker.answers("/health/ready", 503)
    await asyncio.to_thread(servers.postgres.start)
    await worker.ready()
    await shaky.all_applied()
    await assert_exact(shaky, facts)
    await worker.stop()


async def _applied(installation: Installation, goal: int) -> bool:
    return await installation.applied_sales() >= goal


async def _reads(api: Api) -> bool:
    return (await api.ask("GET", "/customers")).status == 200


async def _everything_applied(installation: Installation, worker: Process, till: Till) -> None:
    """The till's sales have no position here, so they are awaited by their rows."""
    await installation.all_applied()

    async def arrived() -> bool:
        (row,) = await installation.query(
            "select count(*) as sales from rfm.sale where tenant_id = $1 and sale_id like 'T%' and recorded",
            installation.tenant_id,
        )
        return bool(row["sales"] >= len(till.accepted))

    await until(arrived, seconds=30, what="all accepted sales are in the ledger")
    assert worker.exit_code is None
