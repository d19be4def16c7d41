"""A till's labels, from the first sale to the product they turn out to be."""

from typing import Any

from tests.e2e.installation import TOKEN, Installation, Tenant, expect, joined_tokens
from tests.support.waiting import until


async def test_a_label_that_is_mapped_later_counts_for_its_product(installation: Installation) -> None:
    tenant = await installation.register("Aliases")
    auth, http = tenant.auth, installation.http
    product = {"product_key": "P-88", "name": "Oak shelf 80", "family": "Shelves"}
    writes = [await http.post("/v1/products", json=product, headers=auth)]
    lines = [
        {"label": "Oak Shelf 80", "quantity": "2", "unit_price": "10"},
        {"label": "Bag", "quantity": "1", "unit_price": "1"},
    ]
    for n in range(3):
        sale = {"sale_id": f"S-{n}", "customer_code": "C", "sold_at": f"2026-10-0{n + 1}T10:00:00Z", "lines": lines}
        writes.append(await http.post("/v1/sales", json=sale, headers=auth))
    assert all(write.is_success for write in writes), [write.text for write in writes]
    seen = {**auth, TOKEN: joined_tokens(*(write.headers[TOKEN] for write in writes)), "Prefer": "wait=30"}
    unmapped = expect(await http.get("/v1/product-aliases/unmapped", headers=seen), 200)["items"]
    assert [(item["key"], item["label"], item["revenue"]) for item in unmapped] == [
        ("label:oak shelf 80", "Oak Shelf 80", "60.00"), ("label:bag", "Bag", "3.00"),
    ]  # fmt: skip
    best = unmapped[0]["suggestions"][0]["product_key"]
    added = await http.post("/v1/product-aliases", json={"label": "oak shelf 80", "product_key": best}, headers=auth)
    assert expect(added, 201)["alias"] == unmapped[0]["key"]
    seen[TOKEN] = added.headers[TOKEN]

    async def moved() -> bool:
        alias = expect(await http.get("/v1/product-aliases/label%3Aoak%20shelf%2080", headers=seen), 200)
        return bool(alias["history_moved"])

    await until(moved, seconds=30, what="history has moved")
    rest = expect(await http.get("/v1/product-aliases/unmapped", headers=seen), 200)["items"]
    assert [item["key"] for item in rest] == ["label:bag"]
    assert await _sold(installation, tenant) == {
        ("P-88", "60.0000"),
        ("label:bag", "3.0000"),
        ("label:oak shelf 80", "0.0000"),
    }
    profile = expect(await http.get("/v1/customers/C", headers=seen), 200)["profile"]
    assert profile["preferred_families"][0]["family"] == "Shelves"


async def _sold(installation: Installation, tenant: Tenant) -> set[Any]:
    answer = await installation.http.get("/v1/exports/products.csv", headers=tenant.auth)
    rows = [line.split(",") for line in answer.text.splitlines()]
    key, revenue = rows[0].index('"product_key"'), rows[0].index('"revenue"')
    return {(row[key].strip('"'), row[revenue]) for row in rows[1:]}
