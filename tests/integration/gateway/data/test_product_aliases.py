"""Aliases: every verb, chains refused, suggestions, keys that nothing knows, and what is published."""

import asyncio
import json
import threading
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.importer.outlet import AliasesChangedError, Outlet
from services.api_gateway.importer.records import Made
from shared.messaging.errors import IsTransient, classify
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker, fields, outbox_of, published
from tests.stack import Stack


async def catalogue(tenant: Tenant, *names: tuple[str, str]) -> None:
    """Products by key and name."""
    items = [{"product_key": key, "name": name} for key, name in names]
    assert (await tenant.post("/products/bulk", json={"products": items})).json()["rejected"] == []


async def test_an_alias_lives_through_every_verb(tenant: Tenant, worker: Worker) -> None:
    await catalogue(tenant, ("P-1", "Oak shelf 80"), ("P-2", "Lamp"))
    added = await tenant.post("/product-aliases", json={"alias": "T-9", "product_key": "P-1"})
    assert (added.status_code, added.headers["ETag"], added.headers["Location"]) == (
        201,
        '"1"',
        "/v1/product-aliases/T-9",
    )
    assert added.headers["X-Consistency-Token"]
    stored = added.json()
    assert (stored["alias"], stored["product_key"], stored["version"], stored["history_moved"]) == (
        "T-9",
        "P-1",
        1,
        False,
    )
    assert (await tenant.post("/product-aliases", json={"alias": "T-9", "product_key": "P-2"})).status_code == 409
    assert (await tenant.get("/product-aliases/T-9")).json() == stored
    await worker.insert("product_alias", tenant, {"alias": "T-9", "product_key": "P-1", "version": 1})
    assert (await tenant.get("/product-aliases/T-9")).json()["history_moved"] is True
    await worker.insert("alias_move", tenant, {"alias": "T-9"})
    assert (await tenant.get("/product-aliases/T-9")).json()["history_moved"] is False
    body = {"product_key": "P-2"}
    assert (await tenant.put("/product-aliases/T-9", json=body, headers={"If-Match": '"7"'})).status_code == 412
    changed = await tenant.put("/product-aliases/T-9", json=body, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["product_key"], changed.json()["version"]) == (200, "P-2", 2)
    assert (await tenant.put("/product-aliases/a%2Fb", json=body)).status_code == 201
    assert (await tenant.get("/product-aliases/a%2Fb")).json()["alias"] == "a/b"
    gone = await tenant.delete("/product-aliases/T-9")
    assert (gone.status_code, bool(gone.headers["X-Consistency-Token"])) == (204, True)
    for answer in (await tenant.get("/product-aliases/T-9"), await tenant.delete("/product-aliases/T-9")):
        assert answer.status_code == 404
        assert "product alias" in answer.json()["detail"]


async def test_a_label_makes_the_alias_that_its_sales_will_have(tenant: Tenant) -> None:
    await catalogue(tenant, ("P-1", "Oak shelf 80"))
    label = "Oak  SHELF 80"
    added = await tenant.post("/product-aliases", json={"label": label, "product_key": "P-1"})
    assert (added.status_code, added.json()["alias"]) == (201, "label:oak shelf 80")
    both = {"alias": "label:oak shelf 80", "label": label, "product_key": "P-1"}
    for more in ({}, {"alias": "T-9"}, {"label": ""}):
        refused = await tenant.post("/product-aliases", json=both | more)
        assert (refused.status_code, fields(refused)) == (422, {"alias"})
    assert "exactly one" in refused.json()["errors"][0]["reason"]
    bulk = (await tenant.post("/product-aliases/bulk", json={"aliases": [both, both | {"label": None}]})).json()
    assert (bulk["accepted"], [bad["index"] for bad in bulk["rejected"]]) == (1, [0])
    assert fields(await tenant.post("/product-aliases", json={"product_key": "P-1"})) == {"alias"}
    assert fields(await tenant.post("/product-aliases", json={"label": " ", "product_key": "P-1"})) == {"alias"}
    bad = await tenant.post("/product-aliases", json={"label": "ana@example.org", "product_key": "P-1"})
    assert fields(bad) == {"label", "alias"}


async def test_changes_and_tombstones_are_published(tenant: Tenant, stack: Stack, shared_prefix: str) -> None:
    await catalogue(tenant, ("P-1", "Oak"))
    await tenant.put("/product-aliases/T-9", json={"product_key": "P-1"})
    await tenant.delete("/product-aliases/T-9")
    first, last = await published(stack, f"{shared_prefix}product-aliases", tenant, 2)
    assert first.key == last.key == f"{tenant.id}:T-9".encode()
    body = json.loads(first.value)
    assert (body["alias"], body["product_key"], body["version"]) == ("T-9", "P-1", 1)
    assert last.value is None


async def test_chains_and_cycles_and_products_that_do_not_exist_are_refused(tenant: Tenant, other: Tenant) -> None:
    await catalogue(tenant, ("P-1", "Oak"), ("P-3", "Desk"))
    await catalogue(other, ("P-9", "Theirs"))
    put = tenant.put
    assert (await put("/product-aliases/P-2", json={"product_key": "P-1"})).status_code == 201
    for alias, product, status, field in (
        ("T", "nothing", 422, "product_key"),
        ("T", "P-9", 422, "product_key"),
        ("P-3", "P-3", 422, "product_key"),
        ("T", "P-2", 422, "product_key"),
        ("P-1", "P-3", 409, None),
        ("P-3", "P-1", 409, None),
    ):
        answer = await put(f"/product-aliases/{alias}", json={"product_key": product})
        assert answer.status_code == status, (alias, product, answer.text)
        assert fields(answer) == ({field} if field else set())
    listed = (await tenant.get("/product-aliases")).json()["items"]
    assert [(item["alias"], item["product_key"]) for item in listed] == [("P-2", "P-1")]


async def test_a_key_is_a_product_or_an_alias_and_never_both(tenant: Tenant, other: Tenant) -> None:
    await catalogue(tenant, ("P-1", "Oak"), ("P-2", "Lamp"))
    await tenant.put("/product-aliases/T-9", json={"product_key": "P-1"})
    product = {"product_key": "T-9", "name": "Till's own"}
    for answer in (
        await tenant.post("/products", json=product),
        await tenant.put("/products/T-9", json={"name": "x"}),
    ):
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (409, "key-is-alias")
        assert "alias of the product P-1" in answer.json()["detail"]
    for answer in (
        await tenant.put("/product-aliases/P-2", json={"product_key": "P-1"}),
        await tenant.post("/product-aliases", json={"alias": "P-2", "product_key": "P-1"}),
    ):
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (409, "key-is-product")
        assert "delete the product first" in answer.json()["detail"]
    assert (await other.post("/products", json=product)).status_code == 201, "another tenant's aliases do not count"
    assert (await tenant.delete("/products/P-2")).status_code == 204
    assert (await tenant.put("/product-aliases/P-2", json={"product_key": "P-1"})).status_code == 201
    assert (await tenant.delete("/product-aliases/T-9")).status_code == 204
    assert (await tenant.post("/products", json=product)).status_code == 201


async def test_a_bulk_of_products_leaves_out_those_whose_key_is_an_alias(tenant: Tenant) -> None:
    await catalogue(tenant, ("P-1", "Oak"))
    await tenant.put("/product-aliases/T-9", json={"product_key": "P-1"})
    items = [{"product_key": "P-2"}, {"product_key": "T-9"}, {"product_key": ""}, {"product_key": "P-3"}]
    answer = (await tenant.post("/products/bulk", json={"products": items})).json()
    assert answer["accepted"] == 2
    assert [(bad["index"], bad["errors"][0]["field"]) for bad in answer["rejected"]] == [
        (1, "product_key"), (2, "product_key"),
    ]  # fmt: skip
    assert [item["product_key"] for item in (await tenant.get("/products")).json()["items"]] == ["P-1", "P-2", "P-3"]
    atomic = await tenant.post("/products/bulk?atomic=true", json={"products": items})
    assert fields(atomic) == {"products.1.product_key", "products.2.product_key"}


async def test_a_file_stores_no_product_whose_key_became_an_alias_since_it_was_read(
    gateway: Gateway, tenant: Tenant
) -> None:
    await catalogue(tenant, ("P-1", "Oak"))
    await tenant.put("/product-aliases/T-9", json={"product_key": "P-1"})
    job: Any = SimpleNamespace(kind="products", tenant_id=tenant.id, request_id=None, options={})
    outlet = Outlet(gateway.engine, gateway.services.producer)
    with pytest.raises(AliasesChangedError) as raised:
        await outlet.tell(job, Made(rows=[{"product_key": "P-2"}, {"product_key": "T-9"}]), threading.Event())
    assert isinstance(classify(raised.value), IsTransient), "the part is made again, and that is no failed attempt"
    assert (await tenant.get("/products/P-2")).status_code == 404
    await outlet.tell(job, Made(rows=[{"product_key": "P-2"}]), threading.Event())
    assert (await tenant.get("/products/P-2")).status_code == 200


async def test_writers_at_once_make_no_chain_and_no_product_that_is_an_alias(tenant: Tenant) -> None:
    await catalogue(tenant, ("P", "x"))
    answers = await asyncio.gather(
        *(tenant.put(f"/product-aliases/K-{n % 5}", json={"product_key": "P"}) for n in range(20)),
        *(tenant.put(f"/products/K-{n % 5}", json={}) for n in range(20)),
        *(tenant.put(f"/product-aliases/L-{n % 5}", json={"product_key": f"K-{n % 5}"}) for n in range(20)),
    )
    assert {answer.status_code for answer in answers} <= {200, 201, 409, 422}
    aliases = {item["alias"]: item["product_key"] for item in (await tenant.get("/product-aliases")).json()["items"]}
    products = {item["product_key"] for item in (await tenant.get("/products")).json()["items"]}
    assert set(aliases).isdisjoint(aliases.values())
    assert set(aliases).isdisjoint(products)
    assert {f"K-{n}" for n in range(5)} <= set(aliases) | products


async def test_bulk_stores_the_good_and_names_the_bad(tenant: Tenant, shared_admin: AsyncEngine) -> None:
    await catalogue(tenant, ("P-1", "Oak"), ("P-2", "Lamp"))
    items: list[dict[str, Any]] = [{"alias": f"T-{n}", "product_key": "P-1"} for n in range(50)]
    items += [
        {"alias": "bad", "product_key": "nothing"}, {"product_key": "P-1"}, {"label": "Oak", "product_key": "P-2"},
        {"alias": "P-1", "product_key": "P-2"}, {"alias": "T-0", "product_key": "P-2"},
    ]  # fmt: skip
    answer = await tenant.post("/product-aliases/bulk", json={"aliases": items})
    result = answer.json()
    assert answer.status_code == 200, answer.text
    assert [(bad["index"], bad["alias"], bad["errors"][0]["field"]) for bad in result["rejected"]] == [
        (50, "bad", "product_key"), (51, None, "alias"), (53, "P-1", "alias"),
    ]  # fmt: skip
    assert result["accepted"] == 52
    assert (await tenant.get("/product-aliases/T-0")).json()["product_key"] == "P-2", "the last one stands"
    assert len(await outbox_of(shared_admin, tenant, "product-aliases")) == 51
    atomic = await tenant.post("/product-aliases/bulk?atomic=true", json={"aliases": items})
    assert fields(atomic) == {"aliases.50.product_key", "aliases.51.alias", "aliases.53.alias"}


async def test_aliases_are_listed_by_product_in_pages(tenant: Tenant) -> None:
    await catalogue(tenant, ("P-1", "Oak"), ("P-2", "Lamp"))
    items = [{"alias": f"T-{n}", "product_key": f"P-{1 + n % 2}"} for n in range(7)]
    await tenant.post("/product-aliases/bulk", json={"aliases": items})
    first = (await tenant.get("/product-aliases?product_key=P-1&limit=3")).json()
    assert [item["alias"] for item in first["items"]] == ["T-0", "T-2", "T-4"]
    query = {"product_key": "P-1", "limit": 3, "cursor": first["next_cursor"]}
    rest = (await tenant.get("/product-aliases", params=query)).json()
    assert [item["alias"] for item in rest["items"]] == ["T-6"]
    assert rest["next_cursor"] is None
    assert (await tenant.get("/product-aliases", params=query | {"product_key": "P-2"})).status_code == 400


async def test_suggestions_look_like_what_was_asked_for(tenant: Tenant) -> None:
    await catalogue(tenant, ("P-1", "Oak shelf 80"), ("P-2", "Oak shelf 120"), ("P-3", "Desk lamp"))
    found = (await tenant.get("/product-aliases/suggestions", params={"q": "oak shelf 80cm", "limit": 2})).json()[
        "items"
    ]
    assert [item["product_key"] for item in found] == ["P-1", "P-2"]
    assert found[0]["score"] > found[1]["score"]
    assert fields(await tenant.get("/product-aliases/suggestions?q=")) == {"q"}
    assert fields(await tenant.get("/product-aliases/suggestions")) == {"q"}
    assert fields(await tenant.get("/product-aliases/suggestions?q=x&limit=51")) == {"limit"}


async def test_keys_without_a_product_are_listed_by_revenue_with_label_and_suggestions(
    tenant: Tenant, other: Tenant, worker: Worker
) -> None:
    await catalogue(tenant, ("P-1", "Oak shelf 80"), ("P-3", "Desk lamp"))
    keys = {"T-9": 30, "label:desk lamp": 20, "T-8": 20, "P-1": 99, "mapped": 50, "zero": 0}
    for key, revenue in keys.items():
        sums = {"orders": int(revenue > 0), "units": int(revenue > 0), "revenue": Decimal(revenue)}
        await worker.insert("product", tenant, {"product_key": key, **sums})
    assert (await tenant.put("/product-aliases/mapped", json={"product_key": "P-1"})).status_code == 201
    await worker.sale(tenant, "S1", product_keys=["T-9"], labels=["Oak shelf 80cm"])
    first = (await tenant.get("/product-aliases/unmapped?limit=2")).json()
    assert [(item["key"], item["label"], item["revenue"]) for item in first["items"]] == [
        ("T-9", "Oak shelf 80cm", "30.00"), ("label:desk lamp", None, "20.00"),
    ]  # fmt: skip
    assert [item["suggestions"][0]["product_key"] for item in first["items"]] == ["P-1", "P-3"]
    query = {"limit": 2, "cursor": first["next_cursor"]}
    rest = (await tenant.get("/product-aliases/unmapped", params=query)).json()
    assert [item["key"] for item in rest["items"]] == ["T-8"]
    assert rest["next_cursor"] is None
    assert (await other.get("/product-aliases/unmapped")).json()["items"] == []


@pytest.mark.parametrize("label", ["Oak Shelf 80", "x" * 190, "ＯＡＫ  shelf 80"])
async def test_a_line_without_a_key_gets_one_of_its_label(
    tenant: Tenant, stack: Stack, shared_prefix: str, label: str
) -> None:
    line = {"label": label, "quantity": "1", "unit_price": "5"}
    sale = {"sale_id": "S", "sold_at": "2026-11-20T10:00:00Z", "lines": [line]}
    assert (await tenant.post("/sales", json=sale)).status_code == 202
    (record,) = await published(stack, f"{shared_prefix}sales", tenant, 1)
    (sent,) = json.loads(record.value)["lines"]
    assert sent["label"] == label
    assert sent["product_key"] == "label:oak shelf 80" or (len(sent["product_key"]) == 64 and label[0] == "x")
    for bad in ({**line, "label": None}, {**line, "label": "  "}, {"quantity": "1", "unit_price": "5"}):
        assert fields(await tenant.post("/sales", json={**sale, "lines": [bad]})) == {"lines.0.product_key"}
    mail = await tenant.post("/sales", json={**sale, "lines": [{**line, "label": "ana＠example.org"}]})
    assert fields(mail) == {"lines.0.product_key"}, "full width does not hide an address"
