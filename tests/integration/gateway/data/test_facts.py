"""Sales, returns and cancellations: accepted means that the event log has them; what is refused leaves no trace."""

import json
import time
from typing import Any

import httpx
import pytest

from services.api_gateway import consistency_token
from services.api_gateway.consistency_token import Position
from shared.events.envelope import Envelope
from shared.events.payloads import PAYLOADS
from tests.integration.gateway.data.conftest import Gateway, Tenant, fields, published, running
from tests.stack import Database, Stack


def sale(sale_id: str = "S", **changes: Any) -> dict[str, Any]:
    usual = {"customer_code": "C", "sold_at": "2026-11-20T10:31:00+01:00", "lines": [line()]}
    return {"sale_id": sale_id, **usual, **changes}


def line(**changes: Any) -> dict[str, Any]:
    return {"product_key": "P", "quantity": "2", "unit_price": "39.90", "discount": "5.00", **changes}


async def test_an_accepted_sale_is_in_the_log(tenant: Tenant, stack: Stack, shared_prefix: str) -> None:
    answer = await tenant.post("/sales", json=sale(lines=[line(amount="74.80")]))
    assert answer.status_code == 202
    assert set(answer.json()) == {"sale_id", "event_id"}
    (record,) = await published(stack, f"{shared_prefix}sales", tenant, 1)
    assert record.key == f"{tenant.id}:C".encode()
    envelope = Envelope.from_headers(record.headers)
    assert (envelope.id, envelope.type, envelope.subject) == (answer.json()["event_id"], "sale.recorded.v1", "S")
    assert envelope.request_id == answer.headers["X-Request-Id"]
    body = PAYLOADS[envelope.type].model_validate_json(record.value).model_dump(mode="json")
    assert (body["sale_id"], body["sold_at"], body["lines"][0]["amount"]) == ("S", "2026-11-20T09:31:00Z", "74.80")
    entries = consistency_token.parse(answer.headers["X-Consistency-Token"])
    assert entries == (Position("sales", record.partition, record.offset),)


async def test_returns_and_cancellations_follow_the_customer_or_the_sale(
    tenant: Tenant, stack: Stack, shared_prefix: str
) -> None:
    back = {
        "return_id": "R",
        "returned_at": "2026-11-21T00:00:00Z",
        "lines": [{"product_key": "P", "quantity": 1, "amount": 37.4}],
    }
    void = {"cancelled_at": "2026-11-21T00:00:00Z", "reason": "wrong till"}
    answers = [
        await tenant.post("/sales", json=sale("A", customer_code=None)),
        await tenant.post("/sales/S%2F1/returns", json=back | {"customer_code": "C"}),
        await tenant.post("/sales/S%2F1/cancellation", json=void),
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert (answers[1].json()["sale_id"], answers[1].json()["return_id"]) == ("S/1", "R")
    records = await published(stack, f"{shared_prefix}sales", tenant, 3)
    by_type = {Envelope.from_headers(record.headers).type: record for record in records}
    keys = {type_: record.key.decode().partition(":")[2] for type_, record in by_type.items()}
    assert keys == {"sale.recorded.v1": "A", "sale.returned.v1": "C", "sale.cancelled.v1": "S/1"}
    for type_, record in by_type.items():
        PAYLOADS[type_].model_validate_json(record.value)
    assert json.loads(by_type["sale.cancelled.v1"].value)["sale_id"] == "S/1"


BAD_SALES: list[tuple[dict[str, Any], str]] = [
    ({"lines": [line(quantity="-1")]}, "lines.0.quantity"),
    ({"lines": [line(quantity="NaN")]}, "lines.0.quantity"),
    ({"lines": [line(quantity="many")]}, "lines.0.quantity"),
    ({"lines": [line(amount="75.00")]}, "lines.0.amount"),
    ({"lines": [line()] * 501}, "lines"),
    ({"lines": {}}, "lines"),
    ({"sold_at": "2026-11-20T10:31:00"}, "sold_at"),
    ({"sold_at": "9999-11-20T10:31:00Z"}, "sold_at"),
    ({"sold_at": 5}, "sold_at"),
    ({"currency": "XXQ"}, "currency"),
    ({"currency": "USD"}, "currency"),
    ({"customer_code": "ana@example.org"}, "customer_code"),
    ({"customer_code": "a\u0007"}, "customer_code"),
    ({"customer_code": "a\r\nce_tenantid: x"}, "customer_code"),
    ({"channel": "x" * 10_000}, "channel"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("bad", "field"), BAD_SALES)
async def test_a_bad_sale_is_refused_with_its_field(tenant: Tenant, bad: dict[str, Any], field: str) -> None:
    answer = await tenant.post("/sales", json=sale(**bad))
    # A time without an offset and a number both miss the form of a time.
    assert answer.status_code == 422
    assert fields(answer) == {field}


async def test_injection_in_ids_stays_text(tenant: Tenant, stack: Stack, shared_prefix: str) -> None:
    nasty = "'; drop table gateway.customer; --"
    assert (await tenant.post("/sales", json=sale(nasty, customer_code=nasty))).status_code == 202
    (record,) = await published(stack, f"{shared_prefix}sales", tenant, 1)
    assert json.loads(record.value)["customer_code"] == nasty


@pytest.mark.parametrize("form", ["json", "ndjson"])
async def test_a_batch_accepts_the_good_and_lists_the_bad(
    tenant: Tenant, stack: Stack, shared_prefix: str, form: str
) -> None:
    items = [sale(f"S{n}", customer_code=f"C{n}") for n in range(20)]
    items[4] = sale("S4", lines=[])
    items[5] = sale("S5", currency="USD")
    items.append(items[0])
    if form == "json":
        answer = await tenant.post("/sales/batch", json={"sales": items})
    else:
        answer = await tenant.post(
            "/sales/batch",
            content="\n".join(json.dumps(item) for item in items),
            headers={"Content-Type": "application/x-ndjson; charset=utf-8"},
        )
    assert answer.status_code == 202
    result = answer.json()
    assert result["accepted"] == 19
    assert [(bad["index"], bad["sale_id"], bad["errors"][0]["field"]) for bad in result["rejected"]] == [
        (4, "S4", "lines"),
        (5, "S5", "currency"),
    ]
    records = await published(stack, f"{shared_prefix}sales", tenant, 19)
    assert len(records) == 19
    last: dict[int, int] = {}
    for record in records:
        last[record.partition] = max(last.get(record.partition, 0), record.offset)
    token = consistency_token.parse(answer.headers["X-Consistency-Token"])
    assert set(token) == {Position("sales", partition, offset) for partition, offset in last.items()}


async def test_an_atomic_batch_is_accepted_whole_or_not_at_all(
    tenant: Tenant, stack: Stack, shared_prefix: str
) -> None:
    refused = await tenant.post("/sales/batch?atomic=true", json={"sales": [sale("A"), sale("B", currency="USD"), 1]})
    assert (refused.status_code, fields(refused)) == (422, {"sales.1.currency", "sales.2"})
    accepted = await tenant.post("/sales/batch?atomic=true", json={"sales": [sale("C")]})
    assert accepted.json() == {"accepted": 1, "rejected": []}
    records = await published(stack, f"{shared_prefix}sales", tenant, 1)
    assert [json.loads(record.value)["sale_id"] for record in records] == ["C"]


async def test_a_batch_of_nothing_good_is_still_an_answer(tenant: Tenant) -> None:
    answer = await tenant.post("/sales/batch", json={"sales": [1]})
    assert (answer.status_code, answer.json()["accepted"], len(answer.json()["rejected"])) == (202, 0, 1)
    token = {"X-Consistency-Token": answer.headers["X-Consistency-Token"]}
    assert (await tenant.get("/sales", headers=token)).is_success


@pytest.mark.parametrize(
    ("body", "head", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"NaN", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b'{"sale_id":"\\ud800"}', "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b" " * 6_000_000, "application/json", 413),
    ],
)
@pytest.mark.parametrize("path", ["/sales", "/sales/batch", "/sales/S/returns", "/sales/S/cancellation"])
async def test_bodies_that_cannot_be_read(tenant: Tenant, path: str, body: bytes, head: str, status: int) -> None:
    answer = await tenant.post(path, content=body, headers={"Content-Type": head})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == status


async def test_5001_sales_are_too_many(tenant: Tenant) -> None:
    answer = await tenant.post("/sales/batch", json={"sales": [1] * 5001})
    assert (answer.status_code, fields(answer)) == (422, {"sales"})


@pytest.mark.parametrize("path", ["/sales/a%40example.org/returns", "/sales/%00/cancellation"])
async def test_bad_sale_ids_in_paths(tenant: Tenant, path: str) -> None:
    body = {"cancelled_at": "2026-11-21T00:00:00Z"}
    assert (await tenant.post(path, json=body)).status_code == 422


async def test_the_tenants_own_currency_counts(gateway: Gateway) -> None:
    swiss = await gateway.tenant(currency="CHF")
    assert (await swiss.post("/sales", json=sale(currency="CHF"))).status_code == 202
    assert (await swiss.post("/sales", json=sale())).status_code == 202
    assert fields(await swiss.post("/sales", json=sale(currency="EUR"))) == {"currency"}
    await swiss.client.aclose()


async def test_writing_needs_a_credential_with_the_scope(gateway: Gateway, tenant: Tenant) -> None:
    made = await tenant.post("/api-keys", json={"name": "reader", "scopes": ["read"]})
    assert made.status_code == 201, made.text
    key = made.json()["api_key"]
    async with gateway.client(headers={"X-API-Key": key}) as reader:
        for method, path in WRITES:
            answer = await reader.request(method, f"/v1{path}", json={})
            assert answer.status_code == 403, path
    async with gateway.client() as nobody:
        for method, path in [*WRITES, ("GET", "/sales"), ("GET", "/customers"), ("GET", "/rfm/cutoffs")]:
            assert (await nobody.request(method, f"/v1{path}", json={})).status_code == 401, path


READS = ("/sales", "/sales/S", "/customers", "/customers/C", "/products")
WRITES = [
    ("POST", "/sales"),
    ("POST", "/sales/batch"),
    ("POST", "/sales/S/returns"),
    ("POST", "/sales/S/cancellation"),
    ("POST", "/customers"),
    ("POST", "/customers/bulk"),
    ("PUT", "/customers/C"),
    ("PATCH", "/customers/C"),
    ("DELETE", "/customers/C"),
    ("POST", "/products"),
    ("POST", "/products/bulk"),
    ("PUT", "/products/P"),
    ("PATCH", "/products/P"),
    ("DELETE", "/products/P"),
]


async def test_while_the_log_is_away_facts_are_refused_in_time_and_master_data_is_kept(
    shared_database: Database, tenant: Tenant
) -> None:
    async with running(shared_database, "127.0.0.1:1", "away-") as lone, lone.client() as client:
        client.headers = tenant.client.headers
        for path, body in (("/sales", sale()), ("/sales/batch", {"sales": [sale()]})):
            began = time.monotonic()
            answer = await client.post(f"/v1{path}", json=body)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert time.monotonic() - began < 5
        assert (await client.put("/v1/customers/C", json={})).status_code == 201
        status = (await client.get("/status")).json()["workers"]["rfm_worker"]
        assert (status["state"], status["lag"]) == ("unknown", None)


async def test_while_the_database_is_away_facts_are_accepted_and_reads_refused(
    shared_database: Database, tenant: Tenant, stack: Stack, shared_prefix: str
) -> None:
    away = Database("x", "", "postgresql+asyncpg://iacrm_gateway@127.0.0.1:1/x", "")
    async with running(away, stack.kafka_bootstrap, shared_prefix) as lone, lone.client() as client:
        client.headers = tenant.client.headers
        assert (await client.post("/v1/sales", json=sale(currency="USD"))).status_code == 202
        batch: httpx.Response = await client.post("/v1/sales/batch", json={"sales": [sale("B")]})
        assert batch.json() == {"accepted": 1, "rejected": []}
        for path in (*READS, "/rfm/distribution", "/rfm/cutoffs"):
            answer = await client.get(f"/v1{path}")
            assert answer.status_code == 503, path
            assert answer.headers["Retry-After"]
        token = {"X-Consistency-Token": batch.headers["X-Consistency-Token"]}
        assert (await client.get("/v1/sales", headers=token)).status_code == 503
        assert (await client.put("/v1/customers/C", json={})).status_code == 503
        assert (await client.get("/status")).json()["workers"]["rfm_worker"]["state"] == "unknown"
