"""The ledger, segments and cut-offs, freshness, and that no tenant sees another's."""

import asyncio
import base64
import json
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.consistency_token import OutboxRange, Position, parse
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker, fields, outbox_of
from tests.support.waiting import until

CONSUMED = ("tenants", "customers", "products", "product-aliases", "sales")
DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)


def token_of(*entries: dict[str, Any]) -> dict[str, str]:
    raw = base64.urlsafe_b64encode(json.dumps(entries).encode()).decode().rstrip("=")
    return {"X-Consistency-Token": raw}


async def ledger(tenant: Tenant, worker: Worker) -> None:
    """Six sales, one a day, of two customers."""
    for n in range(6):
        await worker.sale(
            tenant,
            f"S{n}",
            customer_code=f"C{n % 2}",
            sold_at=DAY + timedelta(days=n),
            day=date(2026, 11, 1 + n),
            channel="web" if n == 5 else "store",
        )
    await worker.customer(tenant, "C1")


async def test_a_sale_shows_its_returns_and_cancellation(tenant: Tenant, worker: Worker) -> None:
    await worker.sale(
        tenant,
        "S",
        customer_code="C",
        gross=Decimal("74.8"),
        net=Decimal("37.4"),
        cancelled=True,
        returned=True,
        product_keys=["P", "Q"],
        labels=["Oak shelf", None],
        quantities=[Decimal(2), Decimal("0.5")],
        unit_prices=[Decimal("39.9"), Decimal(0)],
        discounts=[Decimal(5), Decimal(0)],
        amounts=[Decimal("74.8"), Decimal(0)],
        metadata={"till": "7"},
    )
    event = {"event_time": DAY, "event_id": "e"}
    await worker.insert(
        "sale_return",
        tenant,
        {
            "return_id": "R",
            "sale_id": "S",
            "returned_at": DAY,
            **event,
            "product_keys": ["P"],
            "quantities": [Decimal(1)],
            "amounts": [Decimal("37.4")],
        },
    )
    await worker.insert("sale_cancellation", tenant, {"sale_id": "S", "cancelled_at": DAY, "reason": None, **event})
    found = (await tenant.get("/sales/S")).json()
    assert found == {
        "sale_id": "S",
        "customer_code": "C",
        "sold_at": "2026-11-20T00:00:00Z",
        "channel": "store",
        "currency": "EUR",
        "lines": [
            {
                "product_key": "P",
                "label": "Oak shelf",
                "quantity": "2",
                "unit_price": "39.90",
                "discount": "5.00",
                "amount": "74.80",
            },
            {"product_key": "Q", "label": None, "quantity": "0.5", "unit_price": "0", "discount": "0", "amount": "0"},
        ],
        "gross": "74.80",
        "net": "37.40",
        "metadata": {"till": "7"},
        "returns": [
            {
                "return_id": "R",
                "returned_at": "2026-11-01T12:00:00Z",
                "lines": [{"product_key": "P", "quantity": "1", "amount": "37.40"}],
            }
        ],
        "cancellation": {"cancelled_at": "2026-11-01T12:00:00Z", "reason": None},
    }
    assert (await tenant.get("/sales")).json()["items"] == [found]


async def test_a_return_that_waits_for_its_sale_is_no_sale(tenant: Tenant, worker: Worker) -> None:
    await worker.insert("sale", tenant, {"sale_id": "S", "recorded": False})
    assert (await tenant.get("/sales/S")).status_code == 404
    assert (await tenant.get("/sales")).json()["items"] == []


async def test_the_ledger_is_narrowed(tenant: Tenant, worker: Worker) -> None:
    await ledger(tenant, worker)

    async def ids(path: str = "/sales", **query: Any) -> str:
        answer = await tenant.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return "".join(item["sale_id"][1:] for item in answer.json()["items"])

    assert await ids() == "543210"
    assert await ids(customer_code="C1") == "531"
    assert await ids("/customers/C1/sales") == "531"
    assert await ids("/customers/C1/sales", channel="web") == "5"
    assert await ids(channel="web") == "5"
    assert await ids(**{"from": "2026-11-02", "to": "2026-11-04"}) == "321"
    assert await ids(**{"from": "2026-11-02T12:00:00Z", "to": "2026-11-04T13:00:00+01:00"}) == "21"
    assert (await tenant.get("/customers/nobody/sales")).status_code == 404


async def test_pages_of_the_ledger_are_stable_while_sales_arrive(tenant: Tenant, worker: Worker) -> None:
    await ledger(tenant, worker)
    seen, query = [], {"limit": "2"}
    for n in range(3):
        page = (await tenant.get("/sales", params=query)).json()
        seen += [item["sale_id"] for item in page["items"]]
        query["cursor"] = page["next_cursor"]
        await worker.sale(tenant, f"new{n}", sold_at=DAY + timedelta(days=30))
    assert seen == ["S5", "S4", "S3", "S2", "S1", "S0"]
    cursor = (await tenant.get("/sales?limit=1")).json()["next_cursor"]
    for other in ({"channel": "web"}, {"customer_code": "C1"}, {"from": "2026-11-01"}):
        assert (await tenant.get("/sales", params={"cursor": cursor, **other})).status_code == 400


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-11-01T00:00:00", "to"),
        ("to=9999-01-01", "to"),
        ("limit=-1", "limit"),
        ("customer_code=ana%40example.org", "customer_code"),
        ("channel=%00", "channel"),
    ],
)
async def test_bad_parameters_of_the_ledger(tenant: Tenant, query: str, field: str) -> None:
    answer = await tenant.get(f"/sales?{query}")
    assert (answer.status_code, fields(answer)) == (422, {field})


async def test_distribution_and_cutoffs(tenant: Tenant, worker: Worker) -> None:
    assert (await tenant.get("/rfm/cutoffs")).json() == {
        "method": "quintile",
        "reference_date": None,
        "computed_at": None,
        "recomputing": None,
        "recency_days": [],
        "frequency": [],
        "monetary": [],
    }
    empty = (await tenant.get("/rfm/distribution")).json()
    assert (empty["customers"], len(empty["segments"])) == (0, 12)
    await worker.customer(tenant, "A", segment="champions", frequency=2, monetary=Decimal("10.5"), r=5, f=5, m=5)
    await worker.customer(tenant, "B", segment="champions", frequency=2, monetary=Decimal("1.5"), r=5, f=5, m=5)
    await worker.customer(tenant, "C")
    await worker.insert(
        "cutoffs",
        tenant,
        {
            "method": "quintile",
            "reference_date": date(2026, 11, 23),
            "customers": 2,
            "computed_at": DAY,
            "recency_days": [Decimal(3), Decimal("8.4"), Decimal(20), Decimal(61)],
            "frequency": [Decimal(n) for n in range(1, 5)],
            "monetary": [Decimal("12.34568"), Decimal("20.0000"), Decimal("30.5"), Decimal(40)],
            "average_basket": [Decimal(1), Decimal(2)],
        },
    )
    shown = (await tenant.get("/rfm/distribution")).json()
    assert (shown["customers"], shown["reference_date"]) == (3, "2026-11-23")
    assert shown["segments"][0] == {
        "segment": "champions",
        "name": "Champions",
        "customers": 2,
        "share": 0.6667,
        "revenue": "12.00",
    }
    assert shown["segments"][-1]["customers"] == 1
    cutoffs = (await tenant.get("/rfm/cutoffs")).json()
    assert json.dumps(cutoffs["recency_days"]) == "[3, 8.4, 20, 61]"
    assert (cutoffs["frequency"], cutoffs["monetary"]) == ([1, 2, 3, 4], ["12.34568", "20.00", "30.50", "40.00"])


FRESH_READS = [
    "/sales",
    "/customers",
    "/customers/C1",
    "/customers/C1/sales",
    "/customers/C1/history",
    "/rfm/distribution",
    "/rfm/cutoffs",
]


@pytest.mark.parametrize("path", FRESH_READS)
async def test_a_read_waits_until_its_write_is_applied(tenant: Tenant, worker: Worker, path: str) -> None:
    await ledger(tenant, worker)
    written = await tenant.post(
        "/sales",
        json={
            "sale_id": "S9",
            "customer_code": "C1",
            "sold_at": "2026-11-20T10:00:00Z",
            "lines": [{"product_key": "P", "quantity": 1, "unit_price": 1}],
        },
    )
    token = {"X-Consistency-Token": written.headers["X-Consistency-Token"]}
    (place,) = parse(token["X-Consistency-Token"])
    assert isinstance(place, Position)
    await worker.applied("sales", place.partition, place.offset)
    began = time.monotonic()
    late = await tenant.get(path, headers={**token, "Prefer": "wait=0.2"})
    assert late.status_code == 425
    assert 0.2 <= time.monotonic() - began < 2
    assert late.json()["progress"] == [
        {"topic": "sales", "partition": place.partition, "applied": place.offset, "wanted": place.offset + 1}
    ]
    waiting = asyncio.create_task(tenant.get(path, headers={**token, "Prefer": "wait=10"}))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await worker.applied("sales", place.partition, place.offset + 1)
    assert (await asyncio.wait_for(waiting, 2)).status_code in (200, 404)


async def test_master_data_is_waited_for_through_the_relay(
    tenant: Tenant, worker: Worker, shared_admin: AsyncEngine
) -> None:
    written = await tenant.post("/customers/bulk", json={"customers": [{"customer_code": str(n)} for n in range(50)]})
    token = written.headers["X-Consistency-Token"]
    (entries,) = parse(token)
    assert isinstance(entries, OutboxRange)
    assert entries.last - entries.first >= 49

    async def all_published() -> bool:
        return all(row.published_at for row in await outbox_of(shared_admin, tenant, "customers"))

    await until(all_published, seconds=10, what="the relay")
    headers = {"X-Consistency-Token": token, "Prefer": "wait=0"}
    assert (await tenant.get("/customers", headers=headers)).status_code == 425
    rows = await outbox_of(shared_admin, tenant, "customers")
    for partition in {row.partition for row in rows}:
        last = max(row.offset for row in rows if row.partition == partition)
        await worker.applied("customers", partition, last + 1)
    assert (await tenant.get("/customers", headers=headers)).status_code == 200


async def test_scores_are_waited_for_until_the_scorer_has_followed(tenant: Tenant, worker: Worker) -> None:
    await worker.customer(tenant, "C1", frequency=1, monetary=Decimal(5))
    await worker.insert("score_request", tenant, {})
    token = token_of()
    for path in ("/rfm/distribution", "/customers/C1"):
        late = await tenant.get(path, headers={**token, "Prefer": "wait=0"})
        assert late.status_code == 425
        assert "scores" in late.json()["detail"]
    assert (await tenant.get("/customers", headers={**token, "Prefer": "wait=0"})).status_code == 200
    waiting = asyncio.create_task(tenant.get("/rfm/cutoffs", headers=token))
    await asyncio.sleep(0.1)
    await worker.insert("score_request", tenant, {})
    await asyncio.sleep(0.1)
    assert not waiting.done()
    # The request that came later is another write's; only those seen at first are waited for.
    await worker.execute(
        "delete from rfm.score_request where id = (select min(id) from rfm.score_request where tenant_id = :t)",
        t=tenant.id,
    )
    assert (await asyncio.wait_for(waiting, 2)).status_code == 200


async def test_many_waiters_share_one_poller(gateway: Gateway, tenant: Tenant, worker: Worker) -> None:
    token = token_of({"t": "tenants", "p": 0, "o": 10**6})
    calls = [asyncio.create_task(tenant.get("/sales", headers=token)) for _ in range(40)]
    await asyncio.sleep(0.3)
    pollers = [task for task in asyncio.all_tasks() if task.get_name() == "freshness-poller"]
    assert len(pollers) == 1
    await worker.applied("tenants", 0, 10**6 + 1)
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    await until(pollers[0].done, seconds=1, what="the poller at rest")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        "e30",
        "W10x",
        "A" * 5000,
        token_of({"x": 2**60})["X-Consistency-Token"],
        token_of({"t": "nowhere", "p": 0, "o": 0})["X-Consistency-Token"],
    ],
)
async def test_a_token_that_was_never_issued_is_refused(tenant: Tenant, token: str) -> None:
    answer = await tenant.get("/sales", headers={"X-Consistency-Token": token})
    assert (answer.status_code, fields(answer)) == (400, {"X-Consistency-Token"})


@pytest.mark.parametrize("prefer", ["wait=NaN", "wait=-1", "wait=inf"])
async def test_a_bad_wait_is_refused(tenant: Tenant, prefer: str) -> None:
    answer = await tenant.get("/sales", headers={"Prefer": prefer})
    assert (answer.status_code, fields(answer)) == (400, {"Prefer"})


async def test_status_tells_lag_without_a_credential(gateway: Gateway, tenant: Tenant) -> None:
    async with gateway.client() as nobody:
        answer = (await nobody.get("/status")).json()
    worker = answer["workers"]["rfm_worker"]
    assert answer["version"]
    assert worker["state"] in ("ready", "behind", "stalled")
    assert worker["lag"] >= 0
    topics = {(part["topic"], part["partition"]) for part in worker["partitions"]}
    assert topics == {(topic, n) for topic in CONSUMED for n in range(4)}
    assert str(tenant.id) not in json.dumps(answer)


async def test_another_tenants_things_are_not_there(tenant: Tenant, other: Tenant, worker: Worker) -> None:
    await tenant.put("/customers/C1", json={"first_name": "Ana"})
    await tenant.put("/products/P1", json={"name": "Oak"})
    await ledger(tenant, worker)
    for path in ("/customers/C1", "/customers/C1/sales", "/customers/C1/history", "/products/P1", "/sales/S1"):
        assert (await tenant.get(path)).status_code == 200, path
        assert (await other.get(path)).status_code == 404, path
    for path in ("/customers", "/products", "/sales", "/sales?customer_code=C1"):
        assert (await tenant.get(path)).json()["items"], path
        assert (await other.get(path)).json()["items"] == [], path
    assert (await other.get("/rfm/distribution")).json()["customers"] == 0
    for answer in (
        await other.patch("/customers/C1", json={"first_name": "Eve"}),
        await other.delete("/customers/C1"),
        await other.patch("/products/P1", json={"name": "Eve"}),
        await other.delete("/products/P1"),
    ):
        assert answer.status_code == 404
    await other.put("/customers/C1", json={"first_name": "Eve"})
    await other.post("/products/bulk", json={"products": [{"product_key": "P1", "name": "Eve"}]})
    assert (await tenant.get("/customers/C1")).json()["first_name"] == "Ana"
    assert (await tenant.get("/products/P1")).json()["name"] == "Oak"
