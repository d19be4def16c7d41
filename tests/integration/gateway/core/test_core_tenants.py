"""Tenants and their settings, and what is left of one that was closed."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway import janitor
from services.api_gateway.operators import UsernameTakenError, create_operator
from shared.db.engine import transaction

PASSWORD = "a long pass phrase"
SETTINGS = "/v1/tenants/current/settings"
BOUNDS = {"recency_days": [1, 2, 3, 4], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"]}


async def events(engine: AsyncEngine, topic: str = "tenants") -> list[dict[str, Any]]:
    query = text("select value from gateway.outbox where topic = :topic order by id")
    async with engine.connect() as connection:
        rows = (await connection.execute(query, {"topic": topic})).scalars()
        return [json.loads(value) if value else None for value in rows]


async def test_a_change_of_settings_merges_is_versioned_and_tells_who_and_when(
    gateway: Any, admin_engine: AsyncEngine
) -> None:
    owner = await gateway.owner()
    subject = (await gateway.http.get("/v1/auth/me", headers=owner)).json()["subject"]
    fixed = {"rfm": {"method": "fixed", "bounds": BOUNDS}, "campaigns": {"cap": {"count": 5}}}
    changed = await gateway.http.patch(SETTINGS, headers=owner, json=fixed)
    assert changed.status_code == 200
    assert changed.headers["x-consistency-token"]
    body = changed.json()
    assert (body["version"], body["changed_by"]) == (2, subject)
    assert body["settings"]["campaigns"]["cap"] == {"count": 5, "days": 7}
    assert body["settings"]["rfm"]["bounds"] == BOUNDS
    assert (await gateway.http.get(SETTINGS, headers=owner)).json() == body
    again = await gateway.http.patch(SETTINGS, headers=owner, json={"rfm": None, "timezone": "Asia/Tokyo"})
    assert again.json()["settings"]["rfm"] == {"method": "quintile", "bounds": None}
    history = (await gateway.http.get(f"{SETTINGS}/history", headers=owner, params={"limit": 2})).json()
    assert [entry["version"] for entry in history["items"]] == [3, 2]
    params = {"cursor": history["next_cursor"]}
    rest = (await gateway.http.get(f"{SETTINGS}/history", headers=owner, params=params)).json()
    assert ([entry["version"] for entry in rest["items"]], rest["next_cursor"]) == ([1], None)
    assert [(event["version"], event["settings"]["timezone"]) for event in await events(admin_engine)] == [
        (1, "Europe/Paris"), (2, "Europe/Paris"), (3, "Asia/Tokyo"),
    ]  # fmt: skip


async def test_a_change_that_changes_nothing_makes_no_version_and_no_event(
    gateway: Any, admin_engine: AsyncEngine
) -> None:
    owner = await gateway.owner()
    for patch in ({}, {"timezone": "Europe/Paris"}, {"currency": None}):
        answer = await gateway.http.patch(SETTINGS, headers=owner, json=patch)
        assert (answer.status_code, answer.json()["version"]) == (200, 1)
    assert len(await events(admin_engine)) == 1


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"timezone": "Mars"}, "timezone"),
        ({"currency": "EURO"}, "currency"),
        ({"reference_date": "tomorrow"}, "reference_date"),
        ({"active_days": 0}, "active_days"),
        ({"rfm": {"method": "fixed"}}, "rfm.bounds"),
        ({"rfm": {"bounds": BOUNDS | {"frequency": [4, 3, 2, 1]}}}, "rfm.bounds.frequency"),
        ({"campaigns": {"holdout_share": "NaN"}}, "campaigns.holdout_share"),
        ({"campaigns": {"cap": {"cuont": 1}}}, "campaigns.cap.cuont"),
        ({"surprise": True}, "surprise"),
        ({"audit": 7}, "audit"),
    ],
)
async def test_bad_settings_are_refused_with_the_fields_path(gateway: Any, patch: Any, field: str) -> None:
    owner = await gateway.owner()
    answer = await gateway.http.patch(SETTINGS, headers=owner, json=patch)
    assert answer.status_code == 422
    assert {entry["field"] for entry in answer.json()["errors"]} == {field}
    assert (await gateway.http.get(SETTINGS, headers=owner)).json()["version"] == 1


@pytest.mark.parametrize("body", ["[]", "1", "null", '"x"'])
async def test_settings_must_be_an_object(gateway: Any, body: str) -> None:
    headers = await gateway.owner() | {"Content-Type": "application/json"}
    assert (await gateway.http.patch(SETTINGS, headers=headers, content=body)).status_code == 422


async def test_the_currency_is_fixed_once_there_are_sales(gateway: Any, admin_engine: AsyncEngine) -> None:
    owner = await gateway.owner()
    assert (await gateway.http.patch(SETTINGS, headers=owner, json={"currency": "USD"})).status_code == 200
    tenant_id = (await gateway.http.get("/v1/tenants/current", headers=owner)).json()["tenant_id"]
    async with admin_engine.begin() as connection:
        await connection.execute(
            text("insert into rfm.sale (tenant_id, sale_id, recorded) values (:tenant, 's', true)"),
            {"tenant": uuid.UUID(tenant_id)},
        )
    answer = await gateway.http.patch(SETTINGS, headers=owner, json={"currency": "EUR", "timezone": "UTC"})
    assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (409, "currency-fixed")
    kept = (await gateway.http.get(SETTINGS, headers=owner)).json()["settings"]
    assert (kept["currency"], kept["timezone"]) == ("USD", "Europe/Paris")
    assert (await gateway.http.patch(SETTINGS, headers=owner, json={"currency": "USD"})).status_code == 200


async def test_an_operator_adds_lists_renames_closes_and_reopens_tenants_and_reads_no_data(gateway: Any) -> None:
    operator = await gateway.operator()
    owner = {"username": "ben", "email": "ben@example.org", "password": PASSWORD}
    made = await gateway.http.post("/v1/tenants", headers=operator, json={"name": "B", "owner": owner})
    assert made.status_code == 201
    path = made.headers["location"]
    bare = await gateway.http.post("/v1/tenants", headers=operator, json={"name": "C"})
    assert bare.json()["owner"] is None
    first = (await gateway.http.get("/v1/tenants", headers=operator, params={"limit": 1})).json()
    params = {"limit": 1, "cursor": first["next_cursor"]}
    second = (await gateway.http.get("/v1/tenants", headers=operator, params=params)).json()
    assert [t["name"] for t in first["items"] + second["items"]] == ["B", "C"]
    renamed = await gateway.http.patch(path, headers=operator, json={"name": "B & Sons"})
    assert (renamed.json()["name"], renamed.json()["version"]) == ("B & Sons", 2)
    ben, tokens = await gateway.log_in("ben"), await gateway.tokens("ben")
    closed = await gateway.http.delete(path, headers=operator)
    assert (closed.status_code, closed.json()["status"]) == (200, "closed")
    assert (await gateway.http.delete(path, headers=operator)).json() == closed.json()
    refused = await gateway.http.get("/v1/tenants/current", headers=ben)
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[1]) == (403, "tenant-closed")
    answer = await gateway.http.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert answer.status_code == 401
    login = await gateway.http.post("/v1/auth/token", data={"username": "ben", "password": PASSWORD})
    assert login.status_code == 401
    listed = await gateway.http.get("/v1/tenants", headers=operator, params={"status": "closed"})
    assert [t["name"] for t in listed.json()["items"]] == ["B & Sons"]
    assert (await gateway.http.patch(path, headers=operator, json={"status": "active"})).status_code == 200
    await gateway.log_in("ben")
    for other in ("/v1/users", "/v1/tenants/current", "/v1/api-keys", "/v1/tenants/current/settings"):
        assert (await gateway.http.get(other, headers=operator)).status_code == 403
    assert (await gateway.http.get(f"/v1/tenants/{uuid.uuid4()}", headers=operator)).status_code == 404
    assert (await gateway.http.patch(path, headers=operator, json={})).status_code == 422


async def test_operators_are_made_apart_from_http_and_names_stay_unique(gateway: Any) -> None:
    await gateway.register("ana")
    with pytest.raises(UsernameTakenError):
        await create_operator(gateway.settings, "Ana", "x@example.org", PASSWORD)
    me = (await gateway.http.get("/v1/auth/me", headers=await gateway.operator())).json()
    assert (me["role"], me["tenant_id"], me["scopes"]) == ("operator", None, [])


async def test_a_closed_tenant_is_erased_after_its_grace_period_and_leaves_tombstones(
    gateway: Any, admin_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = await gateway.operator()
    made, kept = await gateway.register("ana"), await gateway.register("ben")
    owner = await gateway.log_in("ana")
    await gateway.api_key(owner)
    monkeypatch.setattr(janitor, "CHUNK", 2)
    async with admin_engine.begin() as connection:
        for tenant in (made, kept):
            for table, key in (("customer", "customer_code"), ("product", "product_key")):
                await connection.execute(
                    text(
                        f"insert into gateway.{table} (tenant_id, {key}, version, created_at, updated_at) "
                        "select :tenant, 'k' || n, 1, now(), now() from generate_series(1, 5) n"
                    ),
                    {"tenant": uuid.UUID(tenant["tenant_id"])},
                )
            await connection.execute(
                text(
                    "insert into gateway.product_alias (tenant_id, alias, product_key, version, created_at, "
                    "updated_at) select :tenant, 'a' || n, 'k1', 1, now(), now() from generate_series(1, 5) n"
                ),
                {"tenant": uuid.UUID(tenant["tenant_id"])},
            )
        await connection.execute(
            text("insert into gateway.outbox (topic, key, value, headers) values ('customers', :key, 'Ana', '[]')"),
            {"key": f"{made['tenant_id']}:k1"},
        )
    await gateway.http.delete(f"/v1/tenants/{made['tenant_id']}", headers=operator)
    engine, files = gateway.services.engine, gateway.services.files
    assert await janitor.erase_closed(engine, 30, files=files) == []
    later = datetime.now(UTC) + timedelta(days=31)
    assert await janitor.erase_closed(engine, 30, later, files=files) == [uuid.UUID(made["tenant_id"])]
    assert await janitor.erase_closed(engine, 30, later, files=files) == []
    async with admin_engine.connect() as connection:
        for table, left in (("customer", 5), ("product", 5), ("product_alias", 5), ("user_account", 2), ("api_key", 0)):
            count = (await connection.execute(text(f"select count(*) from gateway.{table}"))).scalar()
            assert count == left, table
        query = "select topic, key, value from gateway.outbox where topic <> 'tenants' order by id"
        sent = (await connection.execute(text(query))).all()
        stored = (await connection.execute(text("select string_agg(t::text, ' ') from gateway.outbox t"))).scalar()
    assert all(row.value is None for row in sent)
    assert len({(row.topic, row.key) for row in sent}) == 15
    assert {row.key.partition(":")[0] for row in sent} == {made["tenant_id"]}
    assert "Ana" not in str(stored).replace("Shop of ana", "")
    last = (await events(admin_engine))[-1]
    assert (last["tenant_id"], last["status"], last["version"]) == (made["tenant_id"], "erased", 3)
    answer = await gateway.http.patch(f"/v1/tenants/{made['tenant_id']}", headers=operator, json={"status": "active"})
    assert answer.status_code == 409


async def test_the_janitor_purges_what_has_expired_of_every_tenant(gateway: Any, admin_engine: AsyncEngine) -> None:
    await gateway.register("ana")
    await gateway.tokens()
    await gateway.tokens()
    async with admin_engine.begin() as connection:
        await connection.execute(
            text(
                "update gateway.refresh_token set expires_at = now() - interval '2 days' where token_hash in "
                "(select token_hash from gateway.refresh_token limit 1)"
            )
        )
    await janitor.purge(gateway.services.engine)
    async with admin_engine.connect() as connection:
        assert (await connection.execute(text("select count(*) from gateway.refresh_token"))).scalar() == 1


async def test_the_gateways_role_sees_no_other_tenants_accounts_whatever_it_asks(gateway: Any) -> None:
    mine, other = await gateway.register("ana"), await gateway.register("ben")
    await gateway.tokens("ben")
    async with transaction(gateway.services.engine, tenant_id=uuid.UUID(mine["tenant_id"])) as connection:
        for table in ("tenant", "tenant_settings_history", "user_account", "refresh_token", "api_key"):
            seen = (await connection.execute(text(f"select tenant_id::text from gateway.{table}"))).scalars().all()
            assert other["tenant_id"] not in seen
        changed = await connection.execute(text("update gateway.user_account set active = false"))
        assert changed.rowcount == 1
    async with transaction(gateway.services.engine) as connection:
        for table in ("tenant", "user_account", "refresh_token", "customer"):
            assert (await connection.execute(text(f"select count(*) from gateway.{table}"))).scalar() == 0
