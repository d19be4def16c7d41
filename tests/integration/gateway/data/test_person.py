"""All that is held on a person, in one document."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from services.api_gateway.routes import person
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker

DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)
CONSENTS = {"email": {"status": "opted_in", "at": "2026-01-05T09:00:00+01:00", "source": "import"}, "sms": None}
ANA = {"first_name": "Ana", "email": "ana@example.org", "phone": "+33 1 23", "attributes": {"k": "v"}, "tags": ["club"]}


async def test_the_document_holds_identity_values_history_and_every_sale(
    tenant: Tenant, worker: Worker, monkeypatch: object
) -> None:
    monkeypatch.setattr(person, "PAGE", 2)  # type: ignore[attr-defined]
    assert (await tenant.put("/customers/C", json={**ANA, "consents": CONSENTS})).status_code == 201
    await worker.insert("tenant", tenant, {"timezone": "Europe/Paris"})
    await worker.customer(
        tenant, "C", frequency=5, monetary=Decimal(50), segment="loyal", last_order_day=date(2026, 11, 5)
    )
    for n in range(5):
        await worker.sale(tenant, f"S{n}", customer_code="C", sold_at=DAY + timedelta(days=n), returned=n == 0)
    await worker.sale(tenant, "other", customer_code="D")
    line = {"product_keys": ["P"], "quantities": [Decimal(1)], "amounts": [Decimal(1)]}
    event = {"event_time": DAY, "event_id": "e"}
    await worker.insert("sale_return", tenant, {"return_id": "R", "sale_id": "S0", "returned_at": DAY, **line, **event})
    for before, after in (("prospect", "new"), ("new", "promising"), ("promising", "loyal")):
        move = {"customer_code": "C", "previous": before, "segment": after, "changed_at": DAY, "cause": "sale"}
        await worker.insert("segment_change", tenant, move)
    answer = await tenant.get("/customers/C/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="customer.json"'
    found = answer.json()
    assert set(found) == {"exported_at", "customer", "segment_history", "sales"}
    assert found["customer"] == (await tenant.get("/customers/C")).json()
    assert (found["customer"]["email"], found["customer"]["consents"]["email"]["status"]) == (
        "ana@example.org",
        "opted_in",
    )
    assert [move["segment"] for move in found["segment_history"]] == ["loyal", "promising", "new"]
    assert [sale["sale_id"] for sale in found["sales"]] == ["S4", "S3", "S2", "S1", "S0"]
    assert found["sales"] == (await tenant.get("/customers/C/sales")).json()["items"]
    assert found["sales"][-1]["returns"][0]["return_id"] == "R"


async def test_who_is_not_held_is_not_found(tenant: Tenant, other: Tenant, gateway: Gateway) -> None:
    assert (await tenant.put("/customers/C", json={})).status_code == 201
    bare = (await tenant.get("/customers/C/export")).json()
    assert (bare["sales"], bare["segment_history"]) == ([], [])
    head = await tenant.client.head("/customers/C/export")
    assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", "application/json")
    for refused in (
        await tenant.get("/customers/nobody/export"),
        await tenant.client.head("/customers/nobody/export"),
        await other.get("/customers/C/export"),
    ):
        assert refused.status_code == 404
        assert refused.headers["content-type"] == "application/problem+json"
    assert (await tenant.delete("/customers/C")).status_code == 204
    assert (await tenant.get("/customers/C/export")).status_code == 404
    async with gateway.client() as nobody:
        assert (await nobody.get("/v1/customers/C/export")).status_code == 401
