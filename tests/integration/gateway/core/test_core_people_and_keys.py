"""People, roles, keys: who may do what, and how soon a change counts."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.background import note_last_used

PASSWORD = "a long pass phrase"


async def test_owners_and_admins_manage_people_and_nobody_else_does(gateway: Any) -> None:
    owner = await gateway.owner()
    people = {"owner": owner}
    for role in ("admin", "marketer", "analyst"):
        await gateway.add_user(owner, f"the.{role}", role)
        people[role] = await gateway.log_in(f"the.{role}")
    people["key"] = {"X-API-Key": (await gateway.api_key(owner, "read", "customers:write"))["api_key"]}
    people["operator"] = await gateway.operator()
    allowed = {"owner": 200, "admin": 200, "marketer": 403, "analyst": 403, "key": 403, "operator": 403}
    for path in ("/v1/users", "/v1/api-keys"):
        for who, status in allowed.items():
            assert (await gateway.http.get(path, headers=people[who])).status_code == status, (who, path)
    for who, status in allowed.items():
        answer = await gateway.http.patch("/v1/tenants/current/settings", headers=people[who], json={"active_days": 30})
        assert answer.status_code == status, who
    reading = {**dict.fromkeys(allowed, 200), "operator": 403}
    for path in ("/v1/tenants/current", "/v1/tenants/current/settings", "/v1/tenants/current/settings/history"):
        for who, status in reading.items():
            assert (await gateway.http.get(path, headers=people[who])).status_code == status, (who, path)
    for who in allowed:
        answer = await gateway.http.get("/v1/tenants", headers=people[who])
        assert answer.status_code == (200 if who == "operator" else 403), who


async def test_each_role_and_key_has_its_scopes(gateway: Any) -> None:
    owner = await gateway.owner()
    await gateway.add_user(owner, "ben", "marketer")
    await gateway.add_user(owner, "eva", "analyst")
    key = await gateway.api_key(owner, "sales:write", "read", "read")

    async def scopes(headers: dict[str, str]) -> list[str]:
        return (await gateway.http.get("/v1/auth/me", headers=headers)).json()["scopes"]

    everything = ["campaigns:write", "customers:write", "products:write", "read", "sales:write"]
    assert await scopes(owner) == everything
    assert await scopes(await gateway.log_in("ben")) == [scope for scope in everything if scope != "sales:write"]
    assert await scopes(await gateway.log_in("eva")) == ["read"]
    assert await scopes({"X-API-Key": key["api_key"]}) == ["read", "sales:write"]


async def test_an_admin_neither_makes_nor_touches_owners(gateway: Any) -> None:
    owner = await gateway.owner()
    boss = (await gateway.http.get("/v1/auth/me", headers=owner)).json()["user"]["user_id"]
    ben = await gateway.add_user(owner, "ben", "admin")
    admin = await gateway.log_in("ben")
    new = {"username": "eva", "email": "eva@example.org", "password": PASSWORD, "role": "owner"}
    for method, path, body in (
        ("POST", "/v1/users", new),
        ("PATCH", f"/v1/users/{ben['user_id']}", {"role": "owner"}),
        ("PATCH", f"/v1/users/{boss}", {"password": "taken over by ben"}),
        ("DELETE", f"/v1/users/{boss}", None),
    ):
        answer = await gateway.http.request(method, path, headers=admin, json=body)
        assert answer.status_code == 403, (method, path, answer.text)
    await gateway.log_in("ana")


async def test_the_last_owner_can_be_neither_removed_nor_demoted_nor_closed(gateway: Any) -> None:
    owner = await gateway.owner()
    mine = f"/v1/users/{(await gateway.http.get('/v1/auth/me', headers=owner)).json()['user']['user_id']}"
    for body in ({"role": "admin"}, {"active": False}):
        answer = await gateway.http.patch(mine, headers=owner, json=body)
        assert (answer.status_code, answer.json()["type"].rsplit("/", 1)[1]) == (409, "last-owner")
    assert (await gateway.http.delete(mine, headers=owner)).status_code == 409
    second = await gateway.add_user(owner, "ben", "owner")
    await gateway.http.patch(f"/v1/users/{second['user_id']}", headers=owner, json={"active": False})
    assert (await gateway.http.delete(mine, headers=owner)).status_code == 409
    await gateway.http.patch(f"/v1/users/{second['user_id']}", headers=owner, json={"active": True})
    assert (await gateway.http.patch(mine, headers=owner, json={"email": "new@example.org"})).status_code == 200
    assert (await gateway.http.delete(mine, headers=owner)).status_code == 204


async def test_two_owners_cannot_remove_each_other_at_the_same_moment(gateway: Any) -> None:
    owner = await gateway.owner()
    await gateway.add_user(owner, "ben", "owner")
    users = (await gateway.http.get("/v1/users", headers=owner)).json()["items"]
    answers = await asyncio.gather(
        *(gateway.http.delete(f"/v1/users/{user['user_id']}", headers=owner) for user in users)
    )
    assert sorted(answer.status_code for answer in answers) == [204, 409]


async def test_closing_an_account_ends_its_refresh_tokens_at_once(gateway: Any) -> None:
    owner = await gateway.owner()
    for change, name in (({"active": False}, "ben"), ({"password": "set by the owner"}, "eva"), (None, "tim")):
        user = await gateway.add_user(owner, name, "analyst")
        tokens, path = await gateway.tokens(name), f"/v1/users/{user['user_id']}"
        if change is None:
            await gateway.http.delete(path, headers=owner)
        else:
            await gateway.http.patch(path, headers=owner, json=change)
        answer = await gateway.http.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert answer.status_code == 401, name


async def test_a_new_role_counts_from_the_next_access_token(gateway: Any) -> None:
    owner = await gateway.owner()
    user = await gateway.add_user(owner, "ben", "analyst")
    tokens = await gateway.tokens("ben")
    await gateway.http.patch(f"/v1/users/{user['user_id']}", headers=owner, json={"role": "admin"})
    renewed = (await gateway.http.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).json()
    for token, status in ((tokens["access_token"], 403), (renewed["access_token"], 200)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await gateway.http.get("/v1/users", headers=headers)).status_code == status


async def test_lists_of_people_go_page_by_page_and_a_cursor_is_of_no_use_elsewhere(gateway: Any) -> None:
    owner = await gateway.owner()
    for number in range(4):
        await gateway.add_user(owner, f"user{number}", "analyst")
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await gateway.http.get("/v1/users", headers=owner, params=params)).json()
        seen += [user["username"] for user in page["items"]]
        first, cursor = cursor or page["next_cursor"], page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["ana", "user0", "user1", "user2", "user3"]
    stranger = await gateway.owner("stranger")
    for headers, path in ((stranger, "/v1/users"), (owner, "/v1/api-keys")):
        answer = await gateway.http.get(path, headers=headers, params={"cursor": first})
        assert answer.status_code == 400
    for bad in ({"limit": 0}, {"limit": 501}, {"limit": "x"}, {"cursor": "x" * 2000}):
        assert (await gateway.http.get("/v1/users", headers=owner, params=bad)).status_code == 422


async def test_people_and_keys_of_another_tenant_do_not_exist(gateway: Any) -> None:
    owner, stranger = await gateway.owner(), await gateway.owner("stranger")
    user, key = await gateway.add_user(owner, "ben", "analyst"), await gateway.api_key(owner)
    for method, path, body in (
        ("GET", f"/v1/users/{user['user_id']}", None),
        ("PATCH", f"/v1/users/{user['user_id']}", {"role": "admin"}),
        ("DELETE", f"/v1/users/{user['user_id']}", None),
        ("GET", f"/v1/api-keys/{key['key_id']}", None),
        ("DELETE", f"/v1/api-keys/{key['key_id']}", None),
        ("GET", f"/v1/users/{uuid.uuid4()}", None),
    ):
        answer = await gateway.http.request(method, path, headers=stranger, json=body)
        assert answer.status_code == 404, (method, path)
    assert (await gateway.http.get(f"/v1/users/{user['user_id']}", headers=owner)).json() == user
    assert (await gateway.http.get("/v1/users", headers=stranger)).json()["items"][0]["username"] == "stranger"


async def test_a_key_is_shown_once_works_until_revoked_and_then_ends_at_once_here(gateway: Any) -> None:
    owner = await gateway.owner()
    key = await gateway.api_key(owner, "read")
    assert key["api_key"].startswith(key["prefix"] + "_")
    headers = {"X-API-Key": key["api_key"]}
    assert (await gateway.http.get("/v1/tenants/current", headers=headers)).status_code == 200
    listed = (await gateway.http.get("/v1/api-keys", headers=owner)).json()["items"]
    assert "api_key" not in listed[0]
    assert key["api_key"] not in str(listed)
    for _ in range(2):
        assert (await gateway.http.delete(f"/v1/api-keys/{key['key_id']}", headers=owner)).status_code == 204
    assert (await gateway.http.get("/v1/tenants/current", headers=headers)).status_code == 401


async def test_a_revoked_key_ends_in_other_processes_when_their_cache_does(make_gateway: Any) -> None:
    here, there = await make_gateway(), await make_gateway()
    owner = await here.owner()
    key = await here.api_key(owner, "read")
    headers = {"X-API-Key": key["api_key"]}
    assert (await there.http.get("/v1/tenants/current", headers=headers)).status_code == 200
    await here.http.delete(f"/v1/api-keys/{key['key_id']}", headers=owner)
    for cached in there.services.keyring._known._kept.values():
        assert cached[0] - there.services.keyring._known._clock() <= 60
    there.services.keyring._known._clock = lambda: float("inf")
    assert (await there.http.get("/v1/tenants/current", headers=headers)).status_code == 401


async def test_an_expired_key_is_refused_and_an_expiry_in_the_past_too(gateway: Any) -> None:
    owner = await gateway.owner()
    soon = datetime.now(UTC) + timedelta(seconds=0.4)
    key = await gateway.api_key(owner, "read", expires_at=soon.isoformat())
    headers = {"X-API-Key": key["api_key"]}
    assert (await gateway.http.get("/v1/tenants/current", headers=headers)).status_code == 200
    await asyncio.sleep(0.5)
    assert (await gateway.http.get("/v1/tenants/current", headers=headers)).status_code == 401
    for bad in (soon.isoformat(), "9999-12-31T00:00:00Z", "2030-01-01T00:00:00", "soon", 1924992000, "1924992000"):
        body = {"name": "k", "scopes": ["read"], "expires_at": bad}
        answer = await gateway.http.post("/v1/api-keys", headers=owner, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "expires_at")


@pytest.mark.parametrize("scopes", [[], ["everything"], ["read"] * 6, "read", None])
async def test_a_key_needs_scopes_that_exist(gateway: Any, scopes: Any) -> None:
    body = {"name": "k", "scopes": scopes}
    answer = await gateway.http.post("/v1/api-keys", headers=await gateway.owner(), json=body)
    assert answer.status_code == 422


async def test_the_last_use_of_a_key_is_written_apart_from_requests(gateway: Any, admin_engine: AsyncEngine) -> None:
    owner = await gateway.owner()
    key = await gateway.api_key(owner, "read")

    async def last_used() -> Any:
        async with admin_engine.connect() as connection:
            return (await connection.execute(text("select last_used_at from gateway.api_key"))).scalar()

    for _ in range(3):
        await gateway.http.get("/v1/tenants/current", headers={"X-API-Key": key["api_key"]})
    assert await last_used() is None
    await note_last_used(gateway.services)
    assert (datetime.now(UTC) - await last_used()).total_seconds() < 10
    assert gateway.services.keyring.take_used() == {}
