"""Customers: every verb, search, cursors, erasure."""

import asyncio
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import transaction
from shared.events.envelope import Envelope
from shared.events.erasure import customer_hash
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker, fields, outbox_of, published
from tests.stack import Stack
from tests.support.topics import read_topic
from tests.support.waiting import until

ANA = {
    "first_name": "Ana",
    "last_name": "Ruiz",
    "email": "ana@example.org",
    "language": "fr",
    "tags": ["club"],
    "birth_date": "1990-02-03",
    "attributes": {"store": "Lyon"},
    "consents": {"email": {"status": "opted_in", "at": "2026-01-05T09:00:00+01:00", "source": "import"}},
}


async def test_a_customer_is_added_once(tenant: Tenant) -> None:
    added = await tenant.post("/customers", json={"customer_code": "C-1", **ANA})
    assert added.status_code == 201
    assert added.headers["ETag"] == '"1"'
    assert added.headers["Location"] == "/v1/customers/C-1"
    assert added.headers["X-Consistency-Token"]
    stored = added.json()
    assert (stored["first_name"], stored["version"]) == ("Ana", 1)
    assert stored["consents"]["email"]["at"] == "2026-01-05T08:00:00Z"
    again = await tenant.post("/customers", json={"customer_code": "C-1"})
    assert again.status_code == 409
    assert fields(again) == set()


async def test_the_shape_of_a_customer(tenant: Tenant, worker: Worker) -> None:
    await tenant.put("/customers/C-1", json=ANA)
    moment = datetime(2026, 11, 11, 9, 30, tzinfo=UTC)
    await worker.execute(
        "insert into rfm.tenant (tenant_id, timezone, currency, version) values (:id, 'Europe/Paris', 'EUR', 1) "
        "on conflict do nothing",
        id=tenant.id,
    )
    await worker.customer(
        tenant,
        "C-1",
        frequency=7,
        monetary=Decimal("431.2"),
        r=5,
        f=4,
        m=4,
        segment="champions",
        first_order_at=moment,
        last_order_at=moment,
        last_order_day=date(2026, 11, 11),
        segment_since=moment,
    )
    quarter = [Decimal(1)] * 4
    await worker.insert(
        "cutoffs",
        tenant,
        {
            "method": "quintile",
            "reference_date": date(2026, 11, 23),
            "customers": 1,
            "recency_days": quarter,
            "frequency": quarter,
            "monetary": quarter,
            "average_basket": [Decimal(1), Decimal(100)],
            "computed_at": moment,
        },
    )
    await worker.sale(tenant, "S-1", customer_code="C-1", sold_at=moment, day=date(2026, 11, 11))
    answer = await tenant.get("/customers/C-1")
    assert answer.headers["ETag"] == '"1"'
    found = answer.json()
    for name, value in ANA.items():
        assert found[name] == value or name == "consents"
    assert found["phone"] is None
    assert found["consents"]["sms"] is None
    assert found["rfm"] == {
        "recency_days": 12,
        "frequency": 7,
        "monetary": "431.20",
        "r": 5,
        "f": 4,
        "m": 4,
        "rfm_code": "544",
        "rfm_score": 13,
        "segment": "champions",
        "segment_since": "2026-11-11T09:30:00Z",
        "first_order_at": "2026-11-11T09:30:00Z",
        "last_order_at": "2026-11-11T09:30:00Z",
        "reference_date": "2026-11-23",
        "cutoffs_at": "2026-11-11T09:30:00Z",
    }
    assert found["profile"] == {
        "average_basket": "61.60",
        "preferred_families": [],
        "budget": {"band": "medium", "typical": "10.00", "low": "10.00", "high": "10.00"},
        "usual_interval_days": None,
        "next_order_expected_at": None,
        "lifetime_value": {
            "status": "not_enough_data",
            "reason": "not_computed_yet",
            "horizon_days": None,
            "expected_orders": None,
            "expected_value": None,
            "low": None,
            "high": None,
            "interval": None,
            "probability_alive": None,
            "model": None,
            "computed_at": None,
        },
    }
    assert found["next_best_action"] is None


async def test_a_customer_exists_by_master_data_or_by_sales(tenant: Tenant, worker: Worker) -> None:
    assert (await tenant.get("/customers/nobody")).status_code == 404
    await tenant.put("/customers/written", json={})
    assert (await tenant.get("/customers/written")).json()["rfm"]["segment"] == "prospect"
    await worker.customer(tenant, "sold-to")
    found = (await tenant.get("/customers/sold-to")).json()
    assert (found["first_name"], found["version"], found["created_at"]) == (None, None, None)
    began = await tenant.patch("/customers/sold-to", json={"first_name": "Bo"})
    assert (began.status_code, began.json()["version"]) == (200, 1)
    assert (await tenant.patch("/customers/nobody", json={"first_name": "Bo"})).status_code == 404


@pytest.mark.parametrize("code", ["a/b", "a b", "50%", "é?#", "x/sales/y", "."])
async def test_any_printable_code_can_be_addressed(tenant: Tenant, code: str) -> None:
    added = await tenant.post("/customers", json={"customer_code": code})
    assert added.status_code == 201
    path = added.headers["Location"].removeprefix("/v1").replace("/.", "/%2E")
    assert (await tenant.get(path)).json()["customer_code"] == code


async def test_changes_respect_if_match(tenant: Tenant) -> None:
    assert (await tenant.put("/customers/C", json={}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await tenant.put("/customers/C", json=ANA)).status_code == 201
    patched = await tenant.patch("/customers/C", json={"email": None, "tags": None}, headers={"If-Match": '"1"'})
    assert patched.status_code == 200
    assert (patched.json()["email"], patched.json()["tags"], patched.json()["first_name"]) == (None, [], "Ana")
    assert patched.headers["ETag"] == '"2"'
    for call in (tenant.put, tenant.patch):
        stale = await call("/customers/C", json={"first_name": "No"}, headers={"If-Match": '"1"'})
        assert stale.status_code == 412
        assert fields(stale) == set()
    replaced = await tenant.put("/customers/C", json={"first_name": "Cy"}, headers={"If-Match": '"2"'})
    assert (replaced.status_code, replaced.json()["last_name"], replaced.json()["version"]) == (200, None, 3)


async def test_patches_at_the_same_moment_are_all_kept(tenant: Tenant) -> None:
    await tenant.put("/customers/C", json={})
    await asyncio.gather(
        *(tenant.patch("/customers/C", json={"attributes": {f"k{number}": "v"}}) for number in range(8))
    )
    found = (await tenant.get("/customers/C")).json()
    assert (len(found["attributes"]), found["version"]) == (8, 9)


async def test_each_change_is_published_with_its_version(tenant: Tenant, stack: Stack, shared_prefix: str) -> None:
    await tenant.put("/customers/C", json=ANA)
    await tenant.patch("/customers/C", json={"first_name": "Bea"})

    records = await published(stack, f"{shared_prefix}customers", tenant, 2)
    bodies = [json.loads(record.value) for record in records]
    assert [(body["version"], body["first_name"]) for body in bodies] == [(1, "Ana"), (2, "Bea")]
    assert {record.key for record in records} == {f"{tenant.id}:C".encode()}
    envelope = Envelope.from_headers(records[0].headers)
    assert (envelope.type, envelope.tenant_id, envelope.subject) == ("customer.changed.v1", tenant.id, "C")


async def test_bulk_stores_the_good_and_names_the_bad(tenant: Tenant, shared_admin: AsyncEngine) -> None:
    await tenant.put("/customers/0", json={"first_name": "Old"})
    items: list[Any] = [{"customer_code": str(number), "first_name": "New"} for number in range(1000)]
    items[7] = {"customer_code": "ana@example.org"}
    items[8] = {"customer_code": "8", "email": "nowhere", "colour": 1}
    items.append({"customer_code": "0", "first_name": "Last"})
    answer = await tenant.post("/customers/bulk", json={"customers": items})
    assert answer.status_code == 200
    result = answer.json()
    assert result["accepted"] == 999
    rejected = [(r["index"], r["customer_code"], {e["field"] for e in r["errors"]}) for r in result["rejected"]]
    assert rejected == [(7, "ana@example.org", {"customer_code"}), (8, "8", {"email", "colour"})]
    first = (await tenant.get("/customers/0")).json()
    assert (first["first_name"], first["version"]) == ("Last", 2)
    assert len(await outbox_of(shared_admin, tenant, "customers")) == 999


async def test_an_atomic_bulk_stores_all_or_nothing(tenant: Tenant) -> None:
    body = {"customers": [{"customer_code": "1"}, {"customer_code": ""}]}
    refused = await tenant.post("/customers/bulk?atomic=true", json=body)
    assert (refused.status_code, fields(refused)) == (422, {"customers.1.customer_code"})
    assert (await tenant.get("/customers/1")).status_code == 404


async def test_bulk_takes_at_most_5000(tenant: Tenant) -> None:
    many = [{"customer_code": str(number)} for number in range(5001)]
    refused = await tenant.post("/customers/bulk", json={"customers": many})
    assert (refused.status_code, fields(refused)) == (422, {"customers"})
    assert (await tenant.post("/customers/bulk", json={"customers": many[:5000]})).json()["accepted"] == 5000


async def people(tenant: Tenant, worker: Worker) -> None:
    """Six customers: two families, spends 0 to 50."""
    for number, name in enumerate(["Ana", "ÉLODIE", "Bob", "Ann", None, "100%_x"]):
        ordered = number > 0
        await worker.customer(
            tenant,
            f"C{number}",
            first_name=name,
            email=f"{number}@example.org",
            tags=[] if number % 2 else ["even"],
            frequency=number,
            monetary=Decimal(number * 10),
            segment="loyal" if ordered else "prospect",
            last_order_at=datetime(2026, 11, number, tzinfo=UTC) if ordered else None,
        )
    await worker.insert("product", tenant, {"product_key": "P", "family": "Shelves"})
    weights = {"orders": 1, "units": Decimal(1), "amount": Decimal(5), "spend_weight": Decimal(1)}
    await worker.insert(
        "customer_product",
        tenant,
        {"customer_code": "C1", "product_key": "P", **weights},
        {"customer_code": "C2", "product_key": "P", **weights, "amount": Decimal(0)},
        {"customer_code": "C3", "product_key": "not in the catalogue", **weights},
    )


async def test_customers_are_searched_narrowed_and_sorted(tenant: Tenant, worker: Worker) -> None:
    await people(tenant, worker)

    async def codes(**query: Any) -> str:
        answer = await tenant.get("/customers", params=query)
        assert answer.status_code == 200, answer.text
        return "".join(item["customer_code"][1:] for item in answer.json()["items"])

    assert await codes() == "012345"
    assert await codes(q="AN") == "03"
    assert await codes(q="élo") == "1"
    assert await codes(q="c4") == "4"
    assert await codes(q="%_") == "5"
    assert await codes(q="2@EXAMPLE") == "2"
    assert await codes(q="' or 1=1 --") == ""
    assert await codes(segment="prospect") == "0"
    assert await codes(family="Shelves") == "1"
    assert await codes(family="unknown") == "3"
    assert await codes(min_spend="30") == "345"
    assert await codes(tag="even") == "024"
    assert await codes(tag="even", min_spend="10") == "24"
    assert await codes(sort="-monetary") == "543210"
    assert await codes(sort="-code") == "543210"
    assert await codes(sort="frequency") == "012345"
    assert await codes(sort="-last_order_at") == "543210"


@pytest.mark.parametrize(
    "sort", ["code", "-code", "monetary", "-monetary", "frequency", "-frequency", "last_order_at", "-last_order_at"]
)
async def test_cursors_are_stable_while_rows_are_added(tenant: Tenant, worker: Worker, sort: str) -> None:
    await people(tenant, worker)
    for number in range(3):
        await worker.customer(tenant, f"twin{number}", monetary=Decimal(10), frequency=1)
    before = [item["customer_code"] for item in (await tenant.get(f"/customers?sort={sort}")).json()["items"]]
    seen, cursor, page = [], None, 0
    while page == 0 or cursor:
        query = {"sort": sort, "limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = (await tenant.get("/customers", params=query)).json()
        seen += [item["customer_code"] for item in answer["items"]]
        cursor, page = answer["next_cursor"], page + 1
        await worker.customer(tenant, f"added{page}", monetary=Decimal(page), frequency=page)
    assert len(seen) == len(set(seen))
    assert [code for code in seen if not code.startswith("added")] == before


async def test_a_cursor_belongs_to_its_list_filters_and_tenant(tenant: Tenant, other: Tenant, worker: Worker) -> None:
    await people(tenant, worker)
    cursor = (await tenant.get("/customers?limit=2")).json()["next_cursor"]
    assert (await tenant.get("/customers", params={"limit": 2, "cursor": cursor})).status_code == 200
    for who, query in (
        (tenant, {"sort": "-code"}),
        (tenant, {"tag": "even"}),
        (tenant, {"q": "a"}),
        (other, {}),
    ):
        refused = await who.get("/customers", params={"cursor": cursor, **query})
        assert (refused.status_code, fields(refused)) == (400, {"cursor"})
    for broken in ("x", "%00", cursor[:-3], "A" * 900):
        assert (await tenant.get("/customers", params={"cursor": broken})).status_code == 400
    assert (await tenant.get("/products", params={"cursor": cursor})).status_code == 400


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=NaN", "limit"),
        ("limit=1e3", "limit"),
        ("min_spend=NaN", "min_spend"),
        ("min_spend=-1", "min_spend"),
        ("min_spend=Infinity", "min_spend"),
        ("segment=all", "segment"),
        ("sort=email", "sort"),
        ("q=", "q"),
        ("q=" + "x" * 101, "q"),
        ("q=a%00b", "q"),
        ("q=a%0Ab", "q"),
        ("tag=" + "x" * 65, "tag"),
        ("family=%00", "family"),
        ("cursor=" + "x" * 2000, "cursor"),
    ],
)
async def test_bad_parameters_are_named(tenant: Tenant, query: str, field: str) -> None:
    refused = await tenant.get(f"/customers?{query}")
    assert (refused.status_code, fields(refused)) == (422, {field})


CONSENT = {"status": "opted_in", "at": "2026-01-01T00:00:00Z", "source": "s"}
BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"email": "nowhere"}, "email"),
    ({"email": "a@example.org\r\nBcc: b@example.org"}, "email"),
    ({"first_name": "a\u0000"}, "first_name"),
    ({"first_name": "x" * 10_000}, "first_name"),
    ({"first_name": 1}, "first_name"),
    ({"phone": "call me"}, "phone"),
    ({"language": "French"}, "language"),
    ({"timezone": "Mars/Base"}, "timezone"),
    ({"birth_date": "9999-01-01"}, "birth_date"),
    ({"birth_date": "yesterday"}, "birth_date"),
    ({"tags": ["x" * 65]}, "tags.0"),
    ({"tags": [str(number) for number in range(51)]}, "tags"),
    ({"attributes": {"k": "v" * 501}}, "attributes.k"),
    ({"attributes": {"k": "a\u0000b"}}, "attributes.k"),
    ({"attributes": {"k": {"deep": 1}}}, "attributes.k"),
    ({"consents": {"email": CONSENT | {"status": "maybe"}}}, "consents.email.status"),
    ({"consents": {"email": CONSENT | {"at": "2026-01-01T00:00:00"}}}, "consents.email.at"),
    ({"consents": {"fax": None}}, "consents.fax"),
    ({"colour": "red"}, "colour"),
    ({"version": 7}, "version"),
]


@pytest.mark.parametrize(("bad", "field"), BAD_FIELDS)
async def test_bad_fields_are_named_and_nothing_is_stored(
    tenant: Tenant, shared_admin: AsyncEngine, bad: dict[str, Any], field: str
) -> None:
    refused = [
        await tenant.post("/customers", json={"customer_code": "C", **bad}),
        await tenant.put("/customers/C", json=bad),
        await tenant.patch("/customers/C", json=bad),
    ]
    assert [(answer.status_code, fields(answer)) for answer in refused] == [(422, {field})] * 3
    assert (await tenant.get("/customers/C")).status_code == 404
    assert await outbox_of(shared_admin, tenant, "customers") == []


@pytest.mark.parametrize("code", ["ana%40example.org", "a%00b", "a%0D%0AX%3A1", "x" * 65, "%20a", "\u202e"])
async def test_bad_codes_are_refused_everywhere(tenant: Tenant, code: str) -> None:
    for answer in (
        await tenant.get(f"/customers/{code}"),
        await tenant.put(f"/customers/{code}", json={}),
        await tenant.patch(f"/customers/{code}", json={}),
        await tenant.delete(f"/customers/{code}"),
        await tenant.get(f"/customers/{code}/sales"),
        await tenant.get(f"/customers/{code}/history"),
    ):
        # A line break never reaches a route, which is as good an answer.
        assert (answer.status_code, fields(answer)) in ((422, {"customer_code"}), (404, set()))


async def test_malformed_json_and_wrong_types_of_body(tenant: Tenant) -> None:
    head = {"Content-Type": "application/json"}
    assert (await tenant.put("/customers/C", content=b"{", headers=head)).status_code == 400
    for body in (b"[]", b"1", b'"x"', b"null", b""):
        assert (await tenant.put("/customers/C", content=body, headers=head)).status_code in (415, 422)
    assert (await tenant.put("/customers/C", content=b"{}", headers={"Content-Type": "text/xml"})).status_code == 415


async def test_erasing_removes_the_person_and_leaves_a_hash(
    gateway: Gateway, tenant: Tenant, shared_admin: AsyncEngine, stack: Stack, shared_prefix: str
) -> None:
    await tenant.put("/customers/C", json=ANA)
    await tenant.put("/customers/D", json=ANA)
    erased = await tenant.delete("/customers/C")
    assert (erased.status_code, erased.content) == (204, b"")
    assert erased.headers["X-Consistency-Token"]
    assert (await tenant.get("/customers/C")).status_code == 404
    assert (await tenant.delete("/customers/C")).status_code == 404
    secret = gateway.services.settings.erasure_secret.get_secret_value()
    hashed = customer_hash(secret, tenant.id, "C").hex()

    records = await published(stack, f"{shared_prefix}customers", tenant, 4)
    by_key = {record.key: record for record in records}
    assert by_key[f"{tenant.id}:C".encode()].value is None
    erasure = by_key[f"{tenant.id}:erased:{hashed}".encode()]
    assert json.loads(erasure.value)["customer_hash"] == hashed
    assert Envelope.from_headers(erasure.headers).subject is None
    kept = await outbox_of(shared_admin, tenant, "customers")
    assert {row.key for row in kept if row.value and b"Ruiz" in row.value} == {f"{tenant.id}:D"}
    again = await tenant.put("/customers/C", json={})
    assert (again.status_code, again.json()["version"]) == (201, 1)


async def test_a_customer_known_from_sales_alone_can_be_erased(tenant: Tenant, worker: Worker) -> None:
    await worker.customer(tenant, "till")
    assert (await tenant.delete("/customers/till")).status_code == 204


async def test_writing_and_erasing_at_once_leaves_row_and_topic_agreeing(
    tenant: Tenant, shared_admin: AsyncEngine, stack: Stack, shared_prefix: str
) -> None:
    stored: dict[bytes, int | None] = {}
    for code in (f"C{number}" for number in range(12)):
        path = f"/customers/{code}"
        calls = [tenant.put(path, json=ANA) if turn % 2 else tenant.delete(path) for turn in range(12)]
        assert {answer.status_code for answer in await asyncio.gather(*calls)} <= {200, 201, 204, 404}
        found = await tenant.get(path)
        stored[f"{tenant.id}:{code}".encode()] = found.json()["version"] if found.status_code == 200 else None

    async def all_published() -> bool:
        async with transaction(shared_admin) as connection:
            query = "select not exists (select from gateway.outbox where published_at is null and key like :mine)"
            return bool(await connection.scalar(text(query), {"mine": f"{tenant.id}:%"}))

    await until(all_published, seconds=15, what="the outbox is published")
    records = await read_topic(stack.kafka_bootstrap, f"{shared_prefix}customers")
    last = {record.key: record.value for record in records if record.key in stored}
    assert {key: None if value is None else json.loads(value)["version"] for key, value in last.items()} == stored


async def test_the_history_of_segments_is_newest_first(tenant: Tenant, worker: Worker) -> None:
    await worker.customer(tenant, "C")
    for number in range(5):
        await worker.insert(
            "segment_change",
            tenant,
            {
                "customer_code": "C",
                "previous": "new" if number else None,
                "segment": "loyal",
                "rfm_code": "545",
                "changed_at": datetime(2026, 11, 1 + number, tzinfo=UTC),
                "cause": "sale",
                "cause_id": f"S{number}",
            },
        )
    first = (await tenant.get("/customers/C/history?limit=3")).json()
    assert [item["cause_id"] for item in first["items"]] == ["S4", "S3", "S2"]
    rest = (await tenant.get("/customers/C/history", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [item["cause_id"] for item in rest["items"]] == ["S1", "S0"]
    assert rest["next_cursor"] is None
    assert (await tenant.get("/customers/nobody/history")).status_code == 404
