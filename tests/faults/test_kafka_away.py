"""Kafka goes away while the gateway publishes and the worker consumes: 503, no loss, and both go on by themselves."""

import asyncio

import pytest

from cli.embedded.infrastructure import Infrastructure
from tests.support.api import Api, Till
from tests.support.exactness import assert_exact, assert_told
from tests.support.installation import Installation
from tests.support.sales_stream import a_sale, recorded
from tests.support.waiting import until

pytestmark = pytest.mark.faults
ANSWER_S = 5.0


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_everything_accepted_survives_a_restart_of_kafka(
    shaky: Installation, servers: Infrastructure, how: str
) -> None:
    worker, gateway = shaky.worker(), shaky.gateway()
    await asyncio.gather(worker.ready(), gateway.ready())
    api = await Api.register(gateway.url)
    shaky.tenant_id = api.tenant_id
    till = Till(api)
    await till.open([a_sale(f"T{number:05}", f"C{number % 7}", f"{number % 50}.10") for number in range(10_000)])
    await until(lambda: len(till.accepted) > 30, seconds=20, what="sales flow")

    await asyncio.to_thread(servers.kafka.kill if how == "killed" else servers.kafka.stop)
    await until(lambda: till.refused, seconds=10, what="the gateway refuses")
    assert till.refused[0].headers["retry-after"].isdigit()
    assert till.refused[0].headers["content-type"] == "application/problem+json"
    assert (await api.ask("GET", "/customers")).status == 200
    assert worker.exit_code is None
    accepted_before = len(till.accepted)
    await asyncio.to_thread(servers.kafka.start)

    await until(lambda: len(till.accepted) > accepted_before + 30, seconds=30, what="sales are accepted again")
    await till.close()
    await worker.ready()
    facts = [recorded(sale) for sale in till.accepted]
    await until(lambda: _has(shaky, len(facts)), seconds=30, what="all accepted sales are in the ledger")
    assert till.longest_s < ANSWER_S
    await assert_exact(shaky, facts)
    await assert_told(shaky)
    await api.close()
    await worker.stop()
    await gateway.stop()


async def test_a_gateway_and_a_worker_that_start_before_kafka_wait_for_it(
    shaky: Installation, servers: Infrastructure
) -> None:
    await asyncio.to_thread(servers.kafka.stop)
    worker, gateway = shaky.worker(), shaky.gateway()
    await asyncio.gather(gateway.answers("/health/live", 200), worker.answers("/health/live", 200))
    # Master data needs no Kafka; its event waits in the outbox.
    api = await Api.register(gateway.url)
    shaky.tenant_id = api.tenant_id
    refused = await api.ask("POST", "/sales", json=a_sale("T1"))
    assert refused.status == 503
    assert refused.seconds < ANSWER_S
    assert refused.headers["retry-after"].isdigit()
    assert await gateway.status("/health/ready") == 503

    await asyncio.to_thread(servers.kafka.start)
    await asyncio.gather(gateway.ready(), worker.ready())
    sale = a_sale("T2")
    accepted = await api.ask("POST", "/sales", json=sale)
    assert accepted.status == 202, accepted.body
    await until(lambda: _has(shaky, 1, "T2"), seconds=20, what="the sale is in the ledger")
    await until(lambda: _knows_tenant(shaky), seconds=20, what="the tenant's event arrived")
    await api.close()
    await worker.stop()
    await gateway.stop()


async def _has(installation: Installation, sales: int, pattern: str = "T%") -> bool:
    (row,) = await installation.query(
        "select count(*) as sales from rfm.sale where tenant_id = $1 and recorded and sale_id like $2",
        installation.tenant_id,
        pattern,
    )
    return bool(row["sales"] >= sales)


async def _knows_tenant(installation: Installation) -> bool:
    rows = await installation.query(
        "select from rfm.tenant where tenant_id = $1 and version >= 1", installation.tenant_id
    )
    return bool(rows)
