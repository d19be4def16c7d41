"""Exports of what is stored: complete, one tenant's alone, at any size, and gone when nobody takes them."""

import asyncio
import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.exports import response
from services.api_gateway.repository.exports import EXPORTS
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker, fields
from tests.support.waiting import until

DAY = datetime(2026, 11, 1, 23, 30, tzinfo=UTC)
NAMES = [export.name for export in EXPORTS]
FORMATS = ["csv", "ndjson", "parquet"]


async def rows(tenant: Tenant, path: str) -> list[dict[str, Any]]:
    """An NDJSON export."""
    answer = await tenant.get(f"/exports/{path}")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.content.splitlines()]


async def fill(tenant: Tenant, worker: Worker) -> None:
    """A tenant with something in every export."""
    await worker.insert("tenant", tenant, {"timezone": "Europe/Paris"})
    for n in range(3):
        await worker.sale(
            tenant, f"S{n}", customer_code="C1", sold_at=DAY + timedelta(days=n), day=date(2026, 11, 2 + n),
            net=Decimal(7), returned=True, product_keys=["P", "=Q"], labels=["Oak", None],
            quantities=[Decimal("0.5"), Decimal(2)], unit_prices=[Decimal(10), Decimal("2.5")],
            discounts=[Decimal(0)] * 2, amounts=[Decimal(5), Decimal(5)], metadata={"till": "7"},
        )  # fmt: skip
    await worker.insert("sale", tenant, {"sale_id": "pending", "recorded": False})
    consent = {"status": "opted_in", "at": "2026-01-05T09:00:00+01:00", "source": "import"}
    person = {"first_name": "@na", "email": "ana@example.org", "tags": ["club"], "consents": {"email": consent}}
    assert (await tenant.put("/customers/C0", json={})).status_code == 201
    assert (await tenant.put("/customers/C1", json={**person, "birth_date": "1980-02-29"})).status_code == 201
    await worker.customer(
        tenant,
        "C1",
        frequency=3,
        monetary=Decimal(21),
        r=5,
        f=4,
        m=4,
        segment="loyal",
        last_order_day=date(2026, 11, 4),
    )
    await worker.customer(tenant, "C2")
    await worker.insert("segment_change", tenant, *(
        {"customer_code": "C1", "previous": before, "segment": after, "rfm_code": "544",
         "changed_at": DAY + timedelta(days=n), "cause": "sale", "cause_id": f"S{n}"}
        for n, (before, after) in enumerate([(None, "new"), ("new", "loyal")])
    ))  # fmt: skip
    product = {"name": "Oak shelf", "family": "Shelves", "margin": "-1.5", "attributes": {"width": "80"}}
    assert (await tenant.put("/products/P", json=product)).status_code == 201
    sold = {"orders": 3, "units": Decimal("1.5"), "revenue": Decimal(15)}
    await worker.insert("product", tenant, {"product_key": "P", **sold}, {"product_key": "=Q", **sold})


async def test_every_export_holds_what_is_stored(tenant: Tenant, worker: Worker) -> None:
    await fill(tenant, worker)
    people = {row["customer_code"]: row for row in await rows(tenant, "customers.ndjson")}
    assert list(people) == ["C0", "C1", "C2"]
    ana = people["C1"]
    assert (ana["first_name"], ana["tags"], ana["birth_date"], ana["monetary"]) == (
        "@na",
        ["club"],
        "1980-02-29",
        "21.0000",
    )
    assert (ana["average_basket"], ana["rfm_code"], ana["rfm_score"]) == ("7.0000", "544", 13)
    assert (ana["email_consent"], ana["email_consent_at"]) == ("opted_in", "2026-01-05T08:00:00+00:00")
    assert (people["C0"]["segment"], people["C0"]["frequency"], people["C2"]["created_at"]) == ("prospect", 0, None)
    assert [row["customer_code"] for row in await rows(tenant, "customers.ndjson?segment=loyal")] == ["C1"]
    lines = await rows(tenant, "sales.ndjson")
    assert [(row["sale_id"], row["line"]) for row in lines] == [(f"S{n}", line) for n in range(3) for line in (1, 2)]
    assert lines[0]["sale_metadata"] == {"till": "7"}
    assert (lines[1]["product_key"], lines[1]["amount"], lines[1]["sale_net"]) == ("=Q", "5.0000", "7.0000")
    products = await rows(tenant, "products.ndjson")
    assert [(row["product_key"], row["in_catalogue"], row["units"]) for row in products] == [
        ("=Q", False, "1.5000"), ("P", True, "1.5000"),
    ]  # fmt: skip
    moves = await rows(tenant, "segments-history.ndjson")
    assert [(row["previous"], row["segment"], row["cause_id"]) for row in moves] == [
        (None, "new", "S0"),
        ("new", "loyal", "S1"),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("from=2026-11-03", ["S1", "S2"]),
        ("to=2026-11-03", ["S0", "S1"]),
        ("from=2026-11-03&to=2026-11-03", ["S1"]),
        ("from=2026-11-02T23:30:00Z", ["S1", "S2"]),
        ("to=2026-11-02T23:30:00Z", ["S0"]),
    ],
)
async def test_dates_mean_local_days_and_times_moments(
    tenant: Tenant, worker: Worker, query: str, found: list[str]
) -> None:
    await fill(tenant, worker)
    assert sorted({row["sale_id"] for row in await rows(tenant, f"sales.ndjson?{query}")}) == found
    moves = {row["cause_id"] for row in await rows(tenant, f"segments-history.ndjson?{query}")}
    assert sorted(moves) == [sale_id for sale_id in found if sale_id != "S2"]


async def test_csv_and_parquet_hold_the_same_as_ndjson(tenant: Tenant, worker: Worker) -> None:
    await fill(tenant, worker)
    for export in EXPORTS:
        expected = await rows(tenant, f"{export.name}.ndjson")
        answer = await tenant.get(f"/exports/{export.name}.csv")
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == f'attachment; filename="{export.name}.csv"'
        assert answer.headers["cache-control"] == "no-store"
        table = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert len(table) == len(expected)
        for row, other in zip(table, expected, strict=True):
            for column in export.columns:
                assert row[column.name].removeprefix("'") == _csv_text(other[column.name]), column.name
        assert not [cell for row in table for cell in row.values() if cell[:1] in ("=", "@", "+")]
        frame = pl.read_parquet((await tenant.get(f"/exports/{export.name}.parquet")).content)
        assert frame.columns == [column.name for column in export.columns]
        assert frame.height == len(expected)


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        json.dumps(value, separators=(",", ":"))
        if isinstance(value, list)
        else (json.dumps(value) if isinstance(value, dict) else str(value))
    )


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_tenant_with_nothing_gets_a_valid_file(tenant: Tenant, name: str, format_: str) -> None:
    answer = await tenant.get(f"/exports/{name}.{format_}")
    assert answer.status_code == 200
    (export,) = [export for export in EXPORTS if export.name == name]
    columns = [column.name for column in export.columns]
    if format_ == "csv":
        assert list(csv.reader(io.StringIO(answer.text))) == [columns]
    elif format_ == "ndjson":
        assert answer.content == b""
    else:
        frame = pl.read_parquet(answer.content)
        assert (frame.columns, frame.height) == (columns, 0)
    head = await tenant.client.head(f"/exports/{name}.{format_}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == answer.headers["content-type"]
    assert head.headers["content-disposition"] == answer.headers["content-disposition"]


async def test_no_tenant_exports_what_is_anothers(tenant: Tenant, other: Tenant, worker: Worker) -> None:
    await fill(tenant, worker)
    for name in NAMES:
        assert await rows(other, f"{name}.ndjson") == []


async def test_what_does_not_exist_is_not_found_and_what_is_wrong_is_named(tenant: Tenant, gateway: Gateway) -> None:
    for path in ("sales.xlsx", "sales", "findings.csv", "sales.csv.csv", "sales.CSV"):
        assert (await tenant.get(f"/exports/{path}")).status_code == 404, path
    assert fields(await tenant.get("/exports/sales.csv?from=tomorrow")) == {"from"}
    assert fields(await tenant.get("/exports/customers.csv?segment=nobody")) == {"segment"}
    async with gateway.client() as nobody:
        assert (await nobody.get("/v1/exports/sales.csv")).status_code == 401
    key = await tenant.post("/api-keys", json={"name": "till", "scopes": ["sales:write"]})
    async with gateway.client(headers={"X-API-Key": key.json()["api_key"]}) as till:
        assert (await till.get("/v1/exports/sales.csv")).status_code == 403


async def _many_sales(worker: Worker, tenant: Tenant, count: int) -> None:
    await worker.execute(
        """
        insert into rfm.sale (tenant_id, sale_id, recorded, sold_at, day, channel, gross, net, product_keys, labels,
            quantities, unit_prices, discounts, amounts, metadata)
        select :tenant, 'S' || n, true, timestamptz '2026-01-01 12:00Z' + n * interval '1 minute', date '2026-01-01',
            'store', 10, 10, array['P'], array[repeat('x', 200)], array[1], array[10], array[0], array[10], '{}'
        from generate_series(1, :count) n
        """,
        tenant=tenant.id, count=count,
    )  # fmt: skip


async def test_an_export_is_one_moment_and_comes_in_parts(
    tenant: Tenant, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api_gateway.routes.exports.ROWS_AT_ONCE", 100)
    await _many_sales(worker, tenant, 1000)
    for format_ in FORMATS:
        data = (await tenant.get(f"/exports/sales.{format_}")).content
        found = {
            "csv": lambda data: len(data.splitlines()) - 1,
            "ndjson": lambda data: len(data.splitlines()),
            "parquet": lambda data: pl.read_parquet(data).height,
        }[format_](data)
        assert found == 1000, format_


async def _in_use(admin: AsyncEngine) -> int:
    """Transactions of the gateway that hold a cursor."""
    async with admin.connect() as connection:
        query = (
            "select count(*) from pg_stat_activity where state like '%in transaction%' and query like 'fetch %export'"
        )
        return int(await connection.scalar(text(query)) or 0)


@pytest.mark.parametrize("how", ["goes away", "stalls"])
async def test_a_client_that_is_gone_or_stalls_frees_its_connection(
    gateway: Gateway,
    tenant: Tenant,
    worker: Worker,
    shared_admin: AsyncEngine,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    await _many_sales(worker, tenant, 5000)
    if how == "stalls":
        monkeypatch.setattr(response, "STALLED_AFTER_S", 0.3)
    gone, blocked = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    authorization = tenant.client.headers["Authorization"].encode()
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/v1/exports/sales.csv", "raw_path": b"/v1/exports/sales.csv",
        "query_string": b"", "headers": [(b"authorization", authorization)], "client": ("127.0.0.1", 1),
        "asgi": {"version": "3.0", "spec_version": "2.3"}, "scheme": "http", "server": ("gateway", 80),
        "http_version": "1.1", "root_path": "",
    }  # fmt: skip
    served = asyncio.create_task(gateway.app(scope, receive, send))  # type: ignore[arg-type]
    await asyncio.wait_for(blocked.wait(), 10)
    assert await _in_use(shared_admin) == 1
    if how == "goes away":
        gone.set()
    (result,) = await asyncio.gather(asyncio.wait_for(served, 10), return_exceptions=True)
    assert isinstance(result, TimeoutError) == (how == "stalls"), result

    async def free() -> bool:
        return await _in_use(shared_admin) == 0

    await until(free, seconds=10, what="the connection is free")
    assert (await tenant.get("/exports/customers.csv")).status_code == 200, "its place is free again too"


async def test_more_exports_than_places_are_asked_to_come_again(
    gateway: Gateway, tenant: Tenant, other: Tenant
) -> None:
    slots = gateway.services.export_slots
    with slots.one(tenant.id), slots.one(tenant.id):
        refused = await tenant.get("/exports/sales.csv")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert int(refused.headers["retry-after"]) > 0
        assert (await other.get("/exports/sales.csv")).status_code == 200, "another tenant is served"
        with slots.one(other.id), slots.one(other.id):
            third = await gateway.tenant()
            assert (await third.get("/exports/sales.csv")).status_code == 503
            await third.client.aclose()
    assert (await tenant.get("/exports/sales.csv")).status_code == 200
