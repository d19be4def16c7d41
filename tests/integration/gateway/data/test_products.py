"""Products: every verb, bulk, search, and what is published."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.gateway.data.conftest import Tenant, fields, outbox_of, published
from tests.stack import Stack

SHELF = {
    "name": "Oak shelf 80",
    "family": "Shelves",
    "sub_family": "Wall shelves",
    "price": "39.90",
    "margin": "-1.5",
    "stock": "120",
    "active": True,
    "tags": ["oak"],
    "attributes": {"width": "80 cm"},
}


async def test_a_product_lives_through_every_verb(tenant: Tenant) -> None:
    added = await tenant.post("/products", json={"product_key": "P-1", **SHELF})
    assert (added.status_code, added.headers["ETag"], added.headers["Location"]) == (201, '"1"', "/v1/products/P-1")
    stored = added.json()
    assert stored["price"] == "39.90"
    assert (stored["margin"], stored["stock"], stored["version"]) == ("-1.50", "120", 1)
    assert (await tenant.post("/products", json={"product_key": "P-1"})).status_code == 409
    assert (await tenant.get("/products/P-1")).json() == stored
    stale = await tenant.patch("/products/P-1", json={"price": 1}, headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    cheaper = await tenant.patch("/products/P-1", json={"price": "34.9", "stock": None}, headers={"If-Match": '"1"'})
    assert (cheaper.json()["price"], cheaper.json()["stock"], cheaper.json()["name"]) == ("34.90", None, "Oak shelf 80")
    replaced = await tenant.put("/products/P-1", json={"name": "Oak"})
    assert (replaced.status_code, replaced.json()["family"], replaced.json()["version"]) == (200, None, 3)
    assert (await tenant.put("/products/P-2", json={})).status_code == 201
    gone = await tenant.delete("/products/P-1")
    assert (gone.status_code, bool(gone.headers["X-Consistency-Token"])) == (204, True)
    for answer in (
        await tenant.get("/products/P-1"),
        await tenant.delete("/products/P-1"),
        await tenant.patch("/products/P-1", json={}),
    ):
        assert answer.status_code == 404


async def test_changes_and_tombstones_are_published(tenant: Tenant, stack: Stack, shared_prefix: str) -> None:
    await tenant.put("/products/P", json=SHELF)
    await tenant.delete("/products/P")
    first, last = await published(stack, f"{shared_prefix}products", tenant, 2)
    assert first.key == last.key == f"{tenant.id}:P".encode()
    body = json.loads(first.value)
    assert (body["product_key"], body["version"], body["price"]) == ("P", 1, "39.9000")
    assert last.value is None


async def test_bulk_replaces_and_names_the_bad(tenant: Tenant, shared_admin: AsyncEngine) -> None:
    items: list[Any] = [{"product_key": f"P{number}", "family": "F"} for number in range(300)]
    items[3] = {"product_key": "P3", "price": "-1"}
    for version in (1, 2):
        answer = await tenant.post("/products/bulk", json={"products": items})
        result = answer.json()
        assert (answer.status_code, result["accepted"]) == (200, 299)
        assert [(bad["index"], bad["product_key"], bad["errors"][0]["field"]) for bad in result["rejected"]] == [
            (3, "P3", "price")
        ]
        assert (await tenant.get("/products/P299")).json()["version"] == version
    assert len(await outbox_of(shared_admin, tenant, "products")) == 598


async def test_products_are_searched_and_paged(tenant: Tenant) -> None:
    items = [{"product_key": f"P{n}", "name": f"Name {n}", "family": "ab"[n % 2], "active": n < 3} for n in range(5)]
    await tenant.post("/products/bulk", json={"products": items})

    async def keys(**query: Any) -> str:
        found = (await tenant.get("/products", params=query)).json()["items"]
        return "".join(item["product_key"][1:] for item in found)

    assert await keys() == "01234"
    assert await keys(q="NAME 4") == "4"
    assert await keys(family="a") == "024"
    assert await keys(family="a", active="false") == "4"
    first = (await tenant.get("/products?limit=3")).json()
    await tenant.put("/products/P00", json={})
    rest = (await tenant.get("/products", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [item["product_key"] for item in rest["items"]] == ["P3", "P4"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"price": "NaN"}, "price"),
        ({"price": -1}, "price"),
        ({"price": "1.23456"}, "price"),
        ({"price": 1e20}, "price"),
        ({"margin": "Infinity"}, "margin"),
        ({"stock": "-1"}, "stock"),
        ({"active": "perhaps"}, "active"),
        ({"name": "a\u0000"}, "name"),
        ({"name": "x" * 10_000}, "name"),
        ({"family": ""}, "family"),
        ({"attributes": {"k": "\u0000"}}, "attributes.k"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_bad_fields_are_named_and_nothing_is_stored(tenant: Tenant, bad: dict[str, Any], field: str) -> None:
    for answer in (
        await tenant.post("/products", json={"product_key": "P", **bad}),
        await tenant.put("/products/P", json=bad),
        await tenant.patch("/products/P", json=bad),
    ):
        assert (answer.status_code, fields(answer)) == (422, {field})
    assert (await tenant.get("/products/P")).status_code == 404
