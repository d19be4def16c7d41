"""Registering, logging in, refreshing, logging out: what works, and what must not."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.events.envelope import Envelope
from shared.events.payloads import TenantChangedV1

PASSWORD = "a long pass phrase"


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"].endswith(f"/errors/{slug}")
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


async def test_registering_makes_a_tenant_its_owner_and_its_event_in_one_transaction(
    gateway: Any, admin_engine: AsyncEngine
) -> None:
    made = await gateway.register("Ana", settings={"timezone": "UTC", "currency": "USD"})
    assert (made["status"], made["version"], made["settings"]["currency"]) == ("active", 1, "USD")
    assert (made["owner"]["username"], made["owner"]["role"]) == ("ana", "owner")
    async with admin_engine.connect() as connection:
        (row,) = (await connection.execute(text("select topic, key, value, headers from gateway.outbox"))).all()
    assert (row.topic, row.key) == ("tenants", made["tenant_id"])
    event = TenantChangedV1.model_validate_json(row.value)
    assert (event.settings.timezone, event.version) == ("UTC", 1)
    assert Envelope.from_headers([(n, v.encode()) for n, v in row.headers]).type == "tenant.changed.v1"
    me = (await gateway.http.get("/v1/auth/me", headers=await gateway.log_in("ANA"))).json()
    assert (me["tenant_id"], me["role"]) == (made["tenant_id"], "owner")


async def test_no_password_and_no_token_stands_in_the_database(gateway: Any, admin_engine: AsyncEngine) -> None:
    owner = await gateway.owner()
    tokens, key = await gateway.tokens(), await gateway.api_key(owner)
    async with admin_engine.connect() as connection:
        for table in ("user_account", "refresh_token", "api_key", "idempotency_key", "outbox"):
            rows = await connection.execute(text(f"select t::text from gateway.{table} t"))
            stored = " ".join(rows.scalars())
            for secret in (PASSWORD, tokens["refresh_token"], tokens["access_token"], key["api_key"]):
                assert secret not in stored


async def test_a_taken_username_is_a_conflict_whatever_its_case_and_leaves_no_tenant_behind(
    gateway: Any, admin_engine: AsyncEngine
) -> None:
    await gateway.register("ana")
    body = {"tenant_name": "B", "username": "ANA", "email": "b@example.org", "password": PASSWORD}
    problem(await gateway.http.post("/v1/auth/register", json=body), 409, "username-taken")
    async with admin_engine.connect() as connection:
        assert (await connection.execute(text("select count(*) from gateway.tenant"))).scalar() == 1


async def test_registration_can_be_closed(make_gateway: Any) -> None:
    gateway = await make_gateway(registration_open=False)
    body = {"tenant_name": "B", "username": "ana", "email": "b@example.org", "password": PASSWORD}
    problem(await gateway.http.post("/v1/auth/register", json=body), 403, "registration-closed")


async def test_registrations_from_one_address_are_limited(make_gateway: Any) -> None:
    gateway = await make_gateway(registrations_per_address=1)
    await gateway.register("ana")
    body = {"tenant_name": "B", "username": "ben", "email": "b@example.org", "password": PASSWORD}
    problem(await gateway.http.post("/v1/auth/register", json=body), 429, "too-many-logins")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"username": "a b"}, "username"),
        ({"username": "ab"}, "username"),
        ({"email": "nobody"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 201}, "password"),
        ({"tenant_name": ""}, "tenant_name"),
        ({"tenant_name": "a\x00b"}, "tenant_name"),
        ({"tenant_name": "x" * 10_000}, "tenant_name"),
        ({"settings": {"currency": "XXX"}}, "settings.currency"),
        ({"settings": {"timezone": "Mars/Base"}}, "settings.timezone"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_a_bad_registration_names_its_field(gateway: Any, change: dict[str, Any], field: str) -> None:
    body = {"tenant_name": "B", "username": "ben", "email": "b@example.org", "password": PASSWORD}
    found = problem(await gateway.http.post("/v1/auth/register", json=body | change), 422, "validation")
    assert [entry["field"] for entry in found["errors"]] == [field]
    assert "pydantic" not in str(found)


async def test_an_unknown_name_a_wrong_password_and_a_closed_account_get_the_same_answer(gateway: Any) -> None:
    owner = await gateway.owner()
    left = await gateway.add_user(owner, "left", "analyst")
    await gateway.http.patch(f"/v1/users/{left['user_id']}", headers=owner, json={"active": False})
    answers = []
    for username, password in (("nobody", PASSWORD), ("ana", "wrong pass phrase"), ("left", PASSWORD), ("a\0", "x")):
        answer = await gateway.http.post("/v1/auth/token", data={"username": username, "password": password})
        found = problem(answer, 401, "unauthenticated")
        answers.append({name: value for name, value in found.items() if name != "request_id"})
    assert all(answer == answers[0] for answer in answers)


async def test_every_login_verifies_exactly_one_hash(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await gateway.register("ana")
    await gateway.services.passwords.warm_up()
    hasher, calls = gateway.services.passwords._hasher, list[str]()
    verify = hasher.verify_and_update
    monkeypatch.setattr(hasher, "verify_and_update", lambda p, h: (calls.append(h), verify(p, h))[1])
    for username in ("ana", "nobody"):
        await gateway.http.post("/v1/auth/token", data={"username": username, "password": "wrong pass phrase"})
    assert len(calls) == 2
    assert calls[0].split("$")[:4] == calls[1].split("$")[:4]


async def test_attempts_on_one_account_are_limited_even_with_the_right_password_and_for_unknown_names(
    make_gateway: Any,
) -> None:
    gateway = await make_gateway(login_attempts_per_account=3)
    await gateway.register("ana")
    for username in ("ana", "nobody"):
        wrong = {"username": username, "password": "wrong pass phrase"}
        for _ in range(3):
            problem(await gateway.http.post("/v1/auth/token", data=wrong), 401, "unauthenticated")
        answer = await gateway.http.post("/v1/auth/token", data=wrong | {"password": PASSWORD})
        problem(answer, 429, "too-many-logins")
        assert int(answer.headers["retry-after"]) > 0


async def test_failures_from_one_address_are_limited_over_all_accounts(make_gateway: Any) -> None:
    gateway = await make_gateway(login_failures_per_address=3)
    for number in range(3):
        data = {"username": f"user{number}", "password": "wrong"}
        problem(await gateway.http.post("/v1/auth/token", data=data), 401, "unauthenticated")
    data = {"username": "user9", "password": "wrong"}
    problem(await gateway.http.post("/v1/auth/token", data=data), 429, "too-many-logins")


async def test_a_refresh_token_rotates_and_its_second_use_ends_the_family(gateway: Any) -> None:
    await gateway.register("ana")
    first, other = await gateway.tokens(), await gateway.tokens()

    async def refresh(token: str) -> httpx.Response:
        return await gateway.http.post("/v1/auth/refresh", json={"refresh_token": token})

    second = (await refresh(first["refresh_token"])).json()
    third = (await refresh(second["refresh_token"])).json()
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3
    problem(await refresh(first["refresh_token"]), 401, "unauthenticated")
    problem(await refresh(third["refresh_token"]), 401, "unauthenticated")
    assert (await refresh(other["refresh_token"])).status_code == 200


async def test_two_uses_of_a_refresh_token_at_once_give_at_most_one_new_token(gateway: Any) -> None:
    await gateway.register("ana")
    token = (await gateway.tokens())["refresh_token"]
    body = {"refresh_token": token}
    answers = await asyncio.gather(*(gateway.http.post("/v1/auth/refresh", json=body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


@pytest.mark.parametrize("token", ["x", "iar_" + "a" * 43, "é\ud7ff", "a\0b"])
async def test_a_refresh_token_that_is_none_is_refused(gateway: Any, token: str) -> None:
    answer = await gateway.http.post("/v1/auth/refresh", json={"refresh_token": token})
    problem(answer, 401, "unauthenticated")


async def test_an_expired_refresh_token_is_refused(gateway: Any, admin_engine: AsyncEngine) -> None:
    await gateway.register("ana")
    token = (await gateway.tokens())["refresh_token"]
    async with admin_engine.begin() as connection:
        await connection.execute(text("update gateway.refresh_token set expires_at = now()"))
    problem(await gateway.http.post("/v1/auth/refresh", json={"refresh_token": token}), 401, "unauthenticated")


async def test_logging_out_ends_the_family_and_nothing_else(gateway: Any) -> None:
    await gateway.register("ana")
    mine, other = await gateway.tokens(), await gateway.tokens()
    for _ in range(2):
        answer = await gateway.http.post("/v1/auth/logout", json={"refresh_token": mine["refresh_token"]})
        assert answer.status_code == 204
    for tokens, status in ((mine, 401), (other, 200)):
        body = {"refresh_token": tokens["refresh_token"]}
        assert (await gateway.http.post("/v1/auth/refresh", json=body)).status_code == status


async def test_changing_the_password_needs_the_old_one_and_ends_all_refresh_tokens(gateway: Any) -> None:
    owner = await gateway.owner()
    tokens = await gateway.tokens()
    new = "another long phrase"
    wrong = {"current_password": "wrong pass phrase", "new_password": new}
    refused = await gateway.http.post("/v1/auth/password", headers=owner, json=wrong)
    assert problem(refused, 422, "validation")["errors"] == [
        {"field": "current_password", "reason": "is not the current password"}
    ]
    assert "www-authenticate" not in refused.headers
    right = {"current_password": PASSWORD, "new_password": new}
    assert (await gateway.http.post("/v1/auth/password", headers=owner, json=right)).status_code == 204
    body = {"refresh_token": tokens["refresh_token"]}
    assert (await gateway.http.post("/v1/auth/refresh", json=body)).status_code == 401
    await gateway.log_in("ana", new)
    key = await gateway.api_key(owner)
    answer = await gateway.http.post("/v1/auth/password", headers={"X-API-Key": key["api_key"]}, json=right)
    problem(answer, 403, "forbidden")


@pytest.mark.parametrize(("path", "refused"), [("refresh", 401), ("logout", 204)])
async def test_guesses_of_refresh_tokens_from_one_address_are_limited(
    make_gateway: Any, path: str, refused: int
) -> None:
    gateway = await make_gateway(login_failures_per_address=3)
    await gateway.register()
    good = {"refresh_token": (await gateway.tokens())["refresh_token"]}
    assert (await gateway.http.post("/v1/auth/refresh", json=good)).status_code == 200
    for guess in range(3):
        answer = await gateway.http.post(f"/v1/auth/{path}", json={"refresh_token": f"iar_{guess}"})
        assert answer.status_code == refused
    for limited in ("refresh", "logout"):
        answer = await gateway.http.post(f"/v1/auth/{limited}", json={"refresh_token": "iar_more"})
        problem(answer, 429, "too-many-logins")
        assert answer.headers["retry-after"]


async def test_a_new_signing_key_logs_nobody_out(make_gateway: Any) -> None:
    before = await make_gateway(jwt_secrets={"a": "a" * 40}, jwt_active_kid="a")
    owner = await before.owner()
    after = await make_gateway(jwt_secrets={"a": "a" * 40, "b": "b" * 40}, jwt_active_kid="b")
    assert (await after.http.get("/v1/auth/me", headers=owner)).status_code == 200
    dropped = await make_gateway(jwt_secrets={"b": "b" * 40}, jwt_active_kid="b")
    problem(await dropped.http.get("/v1/auth/me", headers=owner), 401, "unauthenticated")
    assert (await dropped.http.get("/v1/auth/me", headers=await after.log_in())).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer x.y.z"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIiwia2lkIjoiZGV2ZWxvcG1lbnQifQ.e30."},
        {"X-API-Key": "iak_00000000_" + "A" * 43},
        {"X-API-Key": "x"},
        {"X-API-Key": ""},
    ],
)
async def test_without_a_valid_credential_nothing_is_read_or_written(gateway: Any, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/auth/me"), ("GET", "/v1/users"), ("POST", "/v1/users"), ("POST", "/v1/sales")):
        answer = await gateway.http.request(method, path, headers=headers, json={})
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_bad_credentials_from_one_address_are_limited_and_good_ones_go_on(make_gateway: Any) -> None:
    gateway = await make_gateway(rate_limit_refused=3, rate_limit_window_s=3600)
    owner = await gateway.owner()
    bad = {"Authorization": "Bearer x.y.z"}
    statuses = [(await gateway.http.get("/v1/auth/me", headers=bad)).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert (await gateway.http.get("/v1/auth/me", headers=owner)).status_code == 200
