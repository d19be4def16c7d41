"""What must be true after every fault: nothing lost, nothing counted twice, everything told."""

import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from shared.events.catalogue import CUSTOMER_SEGMENTS
from tests.support.installation import Installation
from tests.support.sales_stream import Fact, Order, orders_of
from tests.support.topics import headers_of, read_topic
from tests.support.waiting import until

TOLD_S = 30.0


async def assert_exact(installation: Installation, facts: Sequence[Fact]) -> None:
    """The ledger and everything that is summed from it equal a recomputation from the produced facts.

    A worker must run: verification waits until its scorer has served the last batch.
    """
    orders = orders_of(facts)
    await _assert_ledger(installation, orders)
    await _assert_customers(installation, orders)
    await _assert_days(installation, orders)
    await assert_verified(installation)


async def assert_verified(installation: Installation) -> None:
    """The product's own verification (ledger recomputed with Polars against every row) finds no difference."""
    await installation.run("services.rfm_worker.verification")


async def assert_told(installation: Installation) -> int:
    """Every change of segment is in the topic, at least once; answers how many changes there are."""

    async def published() -> bool:
        (row,) = await installation.query(
            "select (select count(*) from rfm.score_request) as to_score, "
            "(select count(*) from rfm.outbox where published_at is null) as to_publish"
        )
        return bool(row["to_score"] == row["to_publish"] == 0)

    await until(published, seconds=TOLD_S, what="all is scored and published")
    changes = await installation.query("select customer_code, previous, segment from rfm.segment_change")
    told: dict[str, tuple[str, str | None, str]] = {}
    for record in await read_topic(installation.bootstrap, CUSTOMER_SEGMENTS.full_name(installation.prefix)):
        event = json.loads(record.value)
        told[headers_of(record)["ce_id"]] = (event["customer_code"], event.get("previous"), event["segment"])
    assert Counter(told.values()) == Counter(tuple(change) for change in changes)
    return len(changes)


async def _assert_ledger(installation: Installation, orders: dict[str, Order]) -> None:
    rows = await installation.query(
        "select sale_id, customer_code, net from rfm.sale where tenant_id = $1 and recorded", installation.tenant_id
    )
    found = {row["sale_id"]: Order(row["customer_code"], row["net"]) for row in rows}
    assert not orders.keys() - found.keys(), "sales were lost"
    assert not found.keys() - orders.keys(), "sales appeared that nobody made"
    assert found == orders


async def _assert_customers(installation: Installation, orders: dict[str, Order]) -> None:
    expected: dict[str, tuple[int, Decimal]] = {}
    for order in orders.values():
        if order.customer is not None:
            frequency, monetary = expected.get(order.customer, (0, Decimal(0)))
            expected[order.customer] = (frequency + (order.net > 0), monetary + order.net)
    rows = await installation.query(
        "select customer_code, frequency, monetary from rfm.customer where tenant_id = $1", installation.tenant_id
    )
    assert {row["customer_code"]: (row["frequency"], row["monetary"]) for row in rows} == expected


async def _assert_days(installation: Installation, orders: dict[str, Order]) -> None:
    (row,) = await installation.query(
        "select coalesce(sum(orders), 0) as orders, coalesce(sum(revenue), 0) as revenue from rfm.day "
        "where tenant_id = $1",
        installation.tenant_id,
    )
    counting = [order.net for order in orders.values() if order.net > 0]
    assert (row["orders"], row["revenue"]) == (len(counting), sum(counting, Decimal(0)))
