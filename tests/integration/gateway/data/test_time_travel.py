"""Time travel and what-if over HTTP: their shapes, their limits, and that they are the caller's own."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from services.api_gateway.examples import WHAT_IF
from shared.db.engine import transaction
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker, fields

DAY = datetime(2026, 3, 10, 12, tzinfo=UTC)
PAST_READS = ["/rfm/distribution", "/rfm/cutoffs", "/customers/C1"]


async def shop(tenant: Tenant, worker: Worker) -> None:
    """One customer with two sales ten days apart, one of which was cancelled later."""
    first_seen = {"created_at": DAY - timedelta(days=5), "first_order_at": DAY, "last_order_at": DAY}
    await worker.customer(
        tenant, "C1", frequency=1, monetary=Decimal(10), last_order_day=DAY.date(), segment="champions", r=5, f=5, m=5,
        **first_seen,
    )  # fmt: skip
    for n, cancelled in enumerate((False, True)):
        at = DAY + timedelta(days=10 * n)
        net = Decimal(0) if cancelled else Decimal(10)
        await worker.sale(
            tenant, f"S{n}", customer_code="C1", sold_at=at, day=at.date(), cancelled=cancelled, net=net
        )  # fmt: skip
    await worker.insert(
        "sale_cancellation",
        tenant,
        {"sale_id": "S1", "cancelled_at": DAY + timedelta(days=15), "event_time": DAY, "event_id": "e"},
    )


async def test_a_customer_of_an_earlier_day_has_the_identity_of_today(tenant: Tenant, worker: Worker) -> None:
    await shop(tenant, worker)
    await tenant.put("/customers/C1", json={"first_name": "Ana"})
    answer = await tenant.get("/customers/C1", params={"as_of": "2026-03-21"})
    assert answer.status_code == 200, answer.text
    then = answer.json()
    assert then["first_name"] == "Ana"
    moments = {name: then["rfm"].pop(name) for name in ("cutoffs_at", "segment_since")}
    assert moments["cutoffs_at"]
    assert moments["segment_since"] is None
    assert then["rfm"] == {
        "recency_days": 1, "frequency": 2, "monetary": "20.00", "r": 5, "f": 1, "m": 1, "rfm_code": "511",
        "rfm_score": 7, "segment": "new", "first_order_at": "2026-03-10T12:00:00Z",
        "last_order_at": "2026-03-20T12:00:00Z", "reference_date": "2026-03-21",
    }  # fmt: skip
    value = then["profile"].pop("lifetime_value")
    assert (value["status"], value["reason"]) == ("not_enough_data", "not_known_of_the_past")
    assert {part for name, part in value.items() if name not in ("status", "reason")} == {None}
    assert then["profile"] == {
        "average_basket": "10.00",
        "preferred_families": [{"family": "unknown", "share": 1.0}],
        "budget": {"band": "low", "typical": "10.00", "low": "10.00", "high": "10.00"},
        "usual_interval_days": 10,
        "next_order_expected_at": "2026-03-30",
    }
    later = (await tenant.get("/customers/C1", params={"as_of": "2026-03-25"})).json()
    assert (later["rfm"]["frequency"], later["rfm"]["monetary"]) == (1, "10.00")


async def test_the_tenant_of_an_earlier_day(tenant: Tenant, worker: Worker) -> None:
    await shop(tenant, worker)
    then = (await tenant.get("/rfm/distribution", params={"as_of": "2026-03-21"})).json()
    assert (then["reference_date"], then["customers"], len(then["segments"])) == ("2026-03-21", 1, 12)
    assert {each["segment"]: each["revenue"] for each in then["segments"] if each["customers"]} == {"new": "20.00"}
    cutoffs = (await tenant.get("/rfm/cutoffs", params={"as_of": "2026-03-21"})).json()
    assert (cutoffs["method"], cutoffs["recency_days"], cutoffs["frequency"]) == ("quintile", [1] * 4, [2] * 4)
    assert cutoffs["monetary"] == ["20.00"] * 4
    before = (await tenant.get("/rfm/distribution", params={"as_of": "2026-03-05"})).json()
    assert [each["customers"] for each in before["segments"]] == [0] * 11 + [1]
    long_ago = (await tenant.get("/rfm/distribution", params={"as_of": "1900-01-01"})).json()
    assert (long_ago["customers"], long_ago["reference_date"]) == (0, "1900-01-01")


async def test_who_did_not_exist_yet_is_not_found(tenant: Tenant, worker: Worker) -> None:
    await shop(tenant, worker)
    answer = await tenant.get("/customers/C1", params={"as_of": "2026-03-04"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "This customer was not known on 2026-03-04 yet.")
    assert (await tenant.get("/customers/C1", params={"as_of": "2026-03-05"})).status_code == 200
    await tenant.put("/customers/new", json={})
    today = datetime.now(UTC).date()
    yesterday = await tenant.get("/customers/new", params={"as_of": str(today - timedelta(days=2))})
    assert yesterday.status_code == 404
    unknown = await tenant.get("/customers/nobody", params={"as_of": "2026-03-21"})
    assert unknown.json()["detail"] == "There is no such customer."


@pytest.mark.parametrize("path", PAST_READS)
async def test_a_day_that_has_not_come_is_refused_in_the_tenants_zone(
    gateway: Gateway, worker: Worker, path: str
) -> None:
    # At any moment it is a later date on Kiribati than in Samoa's American half.
    east, west = await gateway.tenant(), await gateway.tenant()
    for tenant, zone in ((east, "Pacific/Kiritimati"), (west, "Pacific/Pago_Pago")):
        await worker.insert("tenant", tenant, {"timezone": zone})
        await worker.customer(tenant, "C1", created_at=DAY)
    async with transaction(worker.engine) as connection:
        day = await connection.scalar(text("select (now() at time zone 'Pacific/Kiritimati')::date"))
    assert isinstance(day, date)
    assert (await east.get(path, params={"as_of": str(day)})).status_code == 200
    refused = await west.get(path, params={"as_of": str(day)})
    assert (refused.status_code, fields(refused)) == (422, {"as_of"})
    await east.client.aclose()
    await west.client.aclose()


async def test_the_past_needs_a_credential_and_is_ones_own(
    gateway: Gateway, tenant: Tenant, other: Tenant, worker: Worker
) -> None:
    await shop(tenant, worker)
    query = {"as_of": "2026-03-21"}
    async with gateway.client() as nobody:
        for path in PAST_READS:
            assert (await nobody.get(f"/v1{path}", params=query)).status_code == 401
        assert (await nobody.post("/v1/rfm/what-if", json=WHAT_IF)).status_code == 401
    assert (await tenant.get("/rfm/distribution", params=query)).json()["customers"] == 1
    assert (await other.get("/rfm/distribution", params=query)).json()["customers"] == 0
    assert (await other.get("/rfm/cutoffs", params=query)).json()["frequency"] == []
    assert (await other.get("/customers/C1", params=query)).status_code == 404
    assert (await tenant.post("/rfm/what-if", json=WHAT_IF)).json()["customers"] == 1
    assert (await other.post("/rfm/what-if", json=WHAT_IF)).json()["customers"] == 0


async def test_a_read_with_a_token_is_computed_anew(tenant: Tenant, worker: Worker) -> None:
    query = {"as_of": "2026-03-21"}
    assert (await tenant.get("/rfm/distribution", params=query)).json()["customers"] == 0
    await shop(tenant, worker)
    token = {"X-Consistency-Token": "W10"}
    assert (await tenant.get("/rfm/distribution", params=query, headers=token)).json()["customers"] == 1


async def test_what_if_tells_who_would_move_and_changes_nothing(tenant: Tenant, worker: Worker) -> None:
    await shop(tenant, worker)
    body = {**WHAT_IF, "reference_date": "2026-03-20"}
    answer = await tenant.post("/rfm/what-if", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["method"], found["reference_date"]) == ("fixed", "2026-03-20")
    assert (found["recency_days"], found["monetary"]) == (
        [7, 30, 90, 180],
        ["50.00", "150.00", "400.00", "1000.00"],
    )
    assert (found["customers"], found["moved"]) == (1, 1)
    assert found["moves"] == [
        {
            "from": "champions", "to": "new", "customers": 1, "revenue": "10.00",
            "examples": [{
                "customer_code": "C1", "recency_days": 10, "frequency": 1, "monetary": "10.00",
                "before": {"r": 5, "f": 5, "m": 5, "rfm_code": "555"},
                "after": {"r": 4, "f": 1, "m": 1, "rfm_code": "411"},
            }],
        }
    ]  # fmt: skip
    for side, segment in (("before", "champions"), ("after", "new")):
        assert {each["segment"]: each["customers"] for each in found[side] if each["customers"]} == {segment: 1}
    assert (await tenant.get("/customers/C1")).json()["rfm"]["segment"] == "champions"
    assert (await tenant.get("/tenants/current/settings")).json()["settings"]["rfm"]["method"] == "quintile"


async def test_a_reader_may_ask_what_if(gateway: Gateway, tenant: Tenant) -> None:
    made = await tenant.post("/api-keys", json={"name": "reports", "scopes": ["read"]})
    async with gateway.client(headers={"X-API-Key": made.json()["api_key"]}) as client:
        answer = await client.post("/v1/rfm/what-if", json={"method": "quintile"})
    assert (answer.status_code, answer.json()["moves"]) == (200, [])
