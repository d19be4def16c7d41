"""What every request meets: problems, sizes, types, ids, rate limits, idempotency, outages, documents."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.edge import Edge
from services.api_gateway.repository import idempotency as idempotency_repository
from services.api_gateway.repository import tenants as tenant_repository

PASSWORD = "a long pass phrase"
JSON = {"Content-Type": "application/json"}


def slug(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "instance", "errors", "request_id"} <= set(body)
    assert (body["status"], body["request_id"]) == (answer.status_code, answer.headers["x-request-id"])
    return answer.status_code, body["type"].rsplit("/", 1)[1]


async def test_unknown_paths_and_methods_are_problems_with_allow(gateway: Any) -> None:
    owner = await gateway.owner()
    assert slug(await gateway.http.get("/nope")) == (404, "not-found")
    assert slug(await gateway.http.get("/v1/nope", headers=owner)) == (404, "not-found")
    assert slug(await gateway.http.get("/v1/users/", headers=owner)) == (404, "not-found")
    assert slug(await gateway.http.get("/docs/../../etc/passwd")) == (404, "not-found")
    answer = await gateway.http.request("DELETE", "/v1/users", headers=owner)
    assert slug(answer) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"nope", b'{"a": 1,}', b"\xff\xfe{}", b'{"tenant_name": "\xff"}', b"\x00", b'{"a":' * 100_000],
)
async def test_a_body_that_is_not_json_is_malformed_never_an_error_of_ours(gateway: Any, body: bytes) -> None:
    for path in ("/v1/auth/register", "/v1/auth/refresh"):
        answer = await gateway.http.post(path, headers=JSON, content=body)
        assert answer.status_code == (422 if body == b"" else 400), answer.text
        slug(answer)
        assert [error["field"] for error in answer.json()["errors"]] == [""]


async def test_a_path_that_is_not_utf_8_is_refused_rather_than_read_as_something_else(gateway: Any) -> None:
    owner = await gateway.owner()
    answer = await gateway.http.put("/v1/customers/a%ff", headers=owner, json={})
    assert slug(answer) == (400, "malformed")
    assert (await gateway.http.get("/v1/customers", headers=owner)).json()["items"] == []


@pytest.mark.parametrize(
    "value",
    ["a\x00b", "\ud800", "a\nb", "x" * 10_000, 7, None, [], {}, True, 1e400, "'; drop table gateway.tenant; --"],
)
async def test_odd_values_never_lead_to_an_error_of_ours(gateway: Any, value: Any) -> None:
    owner = await gateway.owner()
    body = json.dumps({"name": value, "scopes": ["read"]})
    answer = await gateway.http.post("/v1/api-keys", headers=owner | JSON, content=body)
    assert answer.status_code in (201, 400, 422)
    assert answer.status_code != 201 or answer.json()["name"] == value
    body = json.dumps({"username": value, "email": value, "role": value, "password": value})
    answer = await gateway.http.post("/v1/users", headers=owner | JSON, content=body)
    assert answer.status_code in (400, 422)
    body = json.dumps({"timezone": value, "audit": {"threshold": [value]}})
    answer = await gateway.http.patch("/v1/tenants/current/settings", headers=owner | JSON, content=body)
    assert answer.status_code in (400, 422)


async def test_unknown_fields_with_odd_names_are_named_in_a_harmless_form(gateway: Any) -> None:
    body = json.dumps({"refresh_token": "x", "\ud800" + "y" * 5000: 1})
    answer = await gateway.http.post("/v1/auth/refresh", headers=JSON, content=body)
    assert slug(answer) == (422, "validation")
    assert len(answer.json()["errors"][0]["field"]) <= 200


async def test_a_body_above_the_limit_is_refused_with_and_without_a_length(make_gateway: Any) -> None:
    gateway = await make_gateway(body_limit=1000)
    owner = await gateway.owner()
    large = b'{"name": "' + b"x" * 1000 + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 100):
            yield large[start : start + 100]

    for content in (large, chunks()):
        answer = await gateway.http.post("/v1/api-keys", headers=owner | JSON, content=content)
        assert slug(answer) == (413, "too-large")
    answer = await gateway.http.post("/v1/users", headers=owner | JSON | {"Content-Length": "x"}, content=b"{}")
    assert answer.status_code == 400


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
async def test_a_body_of_another_type_is_refused(gateway: Any, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = await gateway.http.post("/v1/auth/register", headers=headers, content=b"{}")
    assert slug(answer) == (415, "unsupported-media-type")
    answer = await gateway.http.post("/v1/auth/token", headers=JSON, content=b"{}")
    assert slug(answer) == (415, "unsupported-media-type")


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "identity, gzip"])
async def test_a_compressed_body_is_refused_by_its_name(gateway: Any, coding: str) -> None:
    owner = await gateway.owner()
    body = gzip.compress(b'{"sale_id": "S-1"}')
    answer = await gateway.http.post("/v1/sales", headers=owner | JSON | {"Content-Encoding": coding}, content=body)
    assert slug(answer) == (415, "unsupported-media-type")
    assert [error["field"] for error in answer.json()["errors"]] == ["Content-Encoding"]
    plain = await gateway.http.put("/v1/customers/C-1", headers=owner | {"Content-Encoding": "identity"}, json={})
    assert plain.status_code == 201


async def _post(
    gateway: Any, path: str, headers: dict[str, str], messages: list[Any], told: Callable[[int], None]
) -> None:
    """A POST message by message, as the server hands it on; `told` gets the status once the answer begins."""
    left = iter(messages)

    async def receive() -> Any:
        return next(left)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            told(message["status"])

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()], "client": ("::1", 1),
        "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("::1", 80),
    }  # fmt: skip
    await gateway.app(scope, receive, send)


async def _hang_up(gateway: Any, path: str, headers: dict[str, str], half: bytes) -> list[int]:
    """A request whose connection ends in the middle of its body; answers the status that nobody hears."""
    messages = [{"type": "http.request", "body": half, "more_body": True}, {"type": "http.disconnect"}]
    statuses: list[int] = []
    await _post(gateway, path, headers | {"Content-Length": "100000"}, messages, statuses.append)
    return statuses


async def test_a_client_that_hangs_up_is_no_defect_of_ours(gateway: Any) -> None:
    owner = await gateway.owner()
    for path in ("/v1/customers/bulk", "/v1/customers", "/v1/sales", "/v1/sales/batch"):
        assert await _hang_up(gateway, path, owner | JSON, b'{"customers": [') == [400], path


async def test_half_a_body_is_not_carried_out_and_does_not_take_the_key(gateway: Any) -> None:
    headers = await gateway.owner() | JSON | {"Idempotency-Key": "once"}
    body = b'{"customers": [{"customer_code": "C-1"}, {"customer_code": "C-2"}]}'
    # What has arrived is a whole document by itself: only the end of the connection tells that more was meant.
    whole = body.ljust(100)
    assert await _hang_up(gateway, "/v1/customers/bulk", headers, body) == [400]
    assert (await gateway.http.get("/v1/customers/C-1", headers=headers)).status_code == 404
    answer = await gateway.http.post("/v1/customers/bulk", headers=headers, content=whole)
    assert answer.status_code == 200


async def test_an_answer_is_remembered_before_it_is_told(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = await gateway.owner() | JSON | {"Idempotency-Key": "once"}
    order: list[Any] = []
    remember = idempotency_repository.remember

    async def noted(*arguments: Any, **named: Any) -> None:
        await remember(*arguments, **named)
        order.append("remembered")

    monkeypatch.setattr(idempotency_repository, "remember", noted)
    body = [{"type": "http.request", "body": b'{"customer_code": "a@example.org"}', "more_body": False}]
    await _post(gateway, "/v1/customers", headers, body, order.append)
    assert order == ["remembered", 422]


async def test_a_sane_request_id_is_kept_and_any_other_replaced(gateway: Any) -> None:
    for sent, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 65, False), ("a\tb", False), ("é", False)):
        answer = await gateway.http.get("/nope", headers={"X-Request-ID": sent.encode()})
        made = answer.headers["x-request-id"]
        assert (made == sent) is kept
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", made)


async def test_nothing_from_a_request_gets_into_headers(gateway: Any) -> None:
    owner = await gateway.owner()
    injected = "x%0d%0aSet-Cookie:%20a=b"
    for path in (f"/v1/users/{injected}", f"/{injected}", f"/docs/{injected}", f"/v1/users?cursor={injected}"):
        answer = await gateway.http.get(path, headers=owner)
        assert "set-cookie" not in answer.headers
        assert answer.status_code in (400, 404, 422)


async def test_every_answer_has_its_security_headers(gateway: Any) -> None:
    owner = await gateway.owner()
    for path in ("/v1/users", "/v1/nope", "/docs", "/health/live", "/openapi.json"):
        answer = await gateway.http.get(path, headers=owner)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert (await gateway.http.get("/v1/users", headers=owner)).headers["cache-control"] == "no-store"


async def test_each_caller_has_its_own_rate_limit_and_is_told_where_it_stands(make_gateway: Any) -> None:
    gateway = await make_gateway(rate_limit_requests=3, rate_limit_window_s=3600)
    await gateway.register("ana")
    first, second = await gateway.log_in(), None
    answers = [await gateway.http.get("/v1/auth/me", headers=first) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["ratelimit-limit"] == "3"
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=3600'
    assert 0 < int(answers[0].headers["ratelimit-reset"]) <= 3600
    assert slug(answers[3]) == (429, "rate-limited")
    assert 0 < int(answers[3].headers["retry-after"]) <= 3600
    second = await gateway.owner("ben")
    assert (await gateway.http.get("/v1/auth/me", headers=second)).status_code == 200


async def test_an_idempotency_key_replays_the_answer_and_does_nothing_twice(gateway: Any) -> None:
    owner = await gateway.owner()
    headers = owner | {"Idempotency-Key": "once"}
    body = {"username": "ben", "email": "ben@example.org", "password": PASSWORD, "role": "analyst"}
    first = await gateway.http.post("/v1/users", headers=headers, json=body)
    again = await gateway.http.post("/v1/users", headers=headers, json=body)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    other = await gateway.http.post("/v1/users", headers=headers, json=body | {"role": "admin"})
    assert slug(other) == (409, "idempotency-key-reused")
    assert slug(await gateway.http.post("/v1/api-keys", headers=headers, json=body))[0] == 409
    stranger = await gateway.owner("stranger") | {"Idempotency-Key": "once"}
    assert slug(await gateway.http.post("/v1/users", headers=stranger, json=body)) == (409, "username-taken")
    assert len((await gateway.http.get("/v1/users", headers=owner)).json()["items"]) == 2


async def test_an_operators_idempotency_key_makes_one_tenant_and_meets_no_other_callers(
    gateway: Any, admin_engine: AsyncEngine
) -> None:
    headers = await gateway.operator() | {"Idempotency-Key": "once"}
    first = await gateway.http.post("/v1/tenants", headers=headers, json={"name": "Shop"})
    again = await gateway.http.post("/v1/tenants", headers=headers, json={"name": "Shop"})
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    other = await gateway.http.post("/v1/tenants", headers=headers, json={"name": "Another"})
    assert slug(other) == (409, "idempotency-key-reused")
    assert len((await gateway.http.get("/v1/tenants", headers=headers)).json()["items"]) == 1
    owner = await gateway.owner() | {"Idempotency-Key": "once"}
    assert slug(await gateway.http.post("/v1/tenants", headers=owner, json={"name": "Shop"})) == (403, "forbidden")


async def test_the_idempotency_key_stands_in_the_document_of_every_post_that_honours_it(gateway: Any) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    posts = {path: operations["post"] for path, operations in document["paths"].items() if "post" in operations}
    named = {
        path
        for path, operation in posts.items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
        and not parameter["required"]
        and {"400", "409"} <= set(operation["responses"])
    }
    assert named == {path for path in posts if not path.startswith("/v1/auth/")}
    assert {"/v1/tenants", "/v1/sales", "/v1/sales/batch", "/v1/customers"} <= named


async def test_every_read_of_what_a_worker_feeds_takes_the_consistency_token(gateway: Any) -> None:
    """The dependency that waits is also what puts the header into the document: without it neither is there."""
    document = (await gateway.http.get("/openapi.json")).json()
    gets = {path: operations["get"] for path, operations in document["paths"].items() if "get" in operations}
    takes = {
        path
        for path, operation in gets.items()
        if "425" in operation["responses"]
        and any(parameter["name"] == "X-Consistency-Token" for parameter in operation.get("parameters", []))
    }
    gateways_own = ("/v1/auth/", "/v1/tenants", "/v1/users", "/v1/api-keys", "/v1/imports")
    assert takes == {path for path in gets if path.startswith("/v1/") and not path.startswith(gateways_own)}
    assert {"/v1/products", "/v1/sales", "/v1/customers/{customer_code}", "/v1/rfm/cutoffs"} <= takes


async def test_every_route_names_the_query_parameters_that_it_does_not_know(gateway: Any) -> None:
    callers = {"operator": await gateway.operator(), "owner": await gateway.owner()}
    document = (await gateway.http.get("/openapi.json")).json()
    asked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/v1/"):
                continue
            asked += 1
            assert "422" in operation["responses"], (method, path)
            caller = callers["operator" if path.startswith("/v1/tenants") and "current" not in path else "owner"]
            answer = await gateway.http.request(
                method,
                re.sub(r"\{\w+\}", "x", path),
                params=[("segmnt", "x"), ("segmnt", ""), ("Limit", "9")],
                headers=caller,
            )
            assert slug(answer) == (422, "validation"), (method, path, answer.text)
            wrong = {error["field"]: error["reason"] for error in answer.json()["errors"]}
            assert (wrong["segmnt"], wrong["Limit"]) == ("is not a known parameter",) * 2, (method, path)
    assert asked > 60


async def test_an_unknown_query_parameter_is_told_beside_all_else_but_only_to_who_may_ask(gateway: Any) -> None:
    owner = await gateway.owner()
    answer = await gateway.http.get("/v1/customers?limit=0&segment=champions&segmnt=x&from=2026-01-01", headers=owner)
    assert sorted(error["field"] for error in answer.json()["errors"]) == ["from", "limit", "segmnt"]
    for method, path in (("GET", "/v1/customers"), ("POST", "/v1/sales"), ("GET", "/v1/auth/me")):
        assert slug(await gateway.http.request(method, f"{path}?segmnt=x")) == (401, "unauthenticated")
    assert (await gateway.http.get("/v1/customers?limit=5&segment=champions", headers=owner)).status_code == 200


async def test_every_route_with_a_range_refuses_one_that_is_reversed_by_both_names(gateway: Any) -> None:
    owner = await gateway.owner()
    document = (await gateway.http.get("/openapi.json")).json()
    ranged = {
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if {"from", "to"} & {parameter["name"] for parameter in operation.get("parameters", [])}
    }
    assert {"/v1/exports/sales.{format}", "/v1/sales", "/v1/analytics/segments"} <= ranged
    assert len(ranged) == 8
    for path in ranged:
        called = path.replace("{format}", "csv").replace("{customer_code}", "C")
        answer = await gateway.http.get(called, params={"from": "2026-02-02", "to": "2026-02-01"}, headers=owner)
        assert slug(answer) == (422, "validation"), (path, answer.text)
        assert [error["field"] for error in answer.json()["errors"]] == ["from", "to"], path


async def test_pages_and_probes_take_any_query_parameter(gateway: Any) -> None:
    for path in ("/docs", "/docs/start.js", "/openapi.json", "/asyncapi.json", "/health/live", "/metrics"):
        assert (await gateway.http.get(path, params={"at": "7"})).status_code == 200, path


async def test_a_change_of_password_ignores_the_idempotency_key(gateway: Any, admin_engine: AsyncEngine) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": "once"}
    body = {"current_password": PASSWORD, "new_password": "another long phrase"}
    assert (await gateway.http.post("/v1/auth/password", headers=headers, json=body)).status_code == 204
    assert slug(await gateway.http.post("/v1/auth/password", headers=headers, json=body)) == (422, "validation")
    async with admin_engine.connect() as connection:
        assert (await connection.execute(text("select count(*) from gateway.idempotency_key"))).scalar() == 0


async def test_answers_with_a_secret_are_not_kept_for_replay(gateway: Any, admin_engine: AsyncEngine) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": "once"}
    body = {"name": "k", "scopes": ["read"]}
    key = (await gateway.http.post("/v1/api-keys", headers=headers, json=body)).json()
    assert slug(await gateway.http.post("/v1/api-keys", headers=headers, json=body)) == (409, "already-done")
    assert len((await gateway.http.get("/v1/api-keys", headers=headers)).json()["items"]) == 1
    async with admin_engine.connect() as connection:
        stored = (await connection.execute(text("select encode(body, 'escape') from gateway.idempotency_key"))).scalar()
    assert key["api_key"] not in str(stored)


async def test_the_first_of_two_requests_at_once_wins_and_the_other_is_told_to_wait(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": "once"}
    entered, go_on = asyncio.Event(), asyncio.Event()
    hash_password = gateway.services.passwords.hash

    async def slow(password: str) -> str:
        entered.set()
        await go_on.wait()
        return await hash_password(password)

    monkeypatch.setattr(gateway.services.passwords, "hash", slow)
    body = {"username": "ben", "email": "ben@example.org", "password": PASSWORD, "role": "analyst"}
    first = asyncio.create_task(gateway.http.post("/v1/users", headers=headers, json=body))
    await entered.wait()
    second = await gateway.http.post("/v1/users", headers=headers, json=body)
    assert slug(second) == (409, "still-running")
    assert second.headers["retry-after"]
    go_on.set()
    assert (await first).status_code == 201
    assert (await gateway.http.post("/v1/users", headers=headers, json=body)).status_code == 201


async def test_a_claim_whose_process_died_is_free_again_after_a_while(gateway: Any, admin_engine: AsyncEngine) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": "once"}
    body = {"username": "ben", "email": "ben@example.org", "password": PASSWORD, "role": "analyst"}
    await gateway.http.post("/v1/users", headers=headers, json=body)
    for age, status in (("1 second", 409), ("61 seconds", 409)):
        async with admin_engine.begin() as connection:
            await connection.execute(
                text(f"update gateway.idempotency_key set status = null, created_at = now() - interval '{age}'")
            )
        answer = await gateway.http.post("/v1/users", headers=headers, json=body)
        kind = "still-running" if age == "1 second" else "username-taken"
        assert slug(answer) == (status, kind)


@pytest.mark.parametrize("key", [b"", b"a b", b"x" * 201, b"\xff"])
async def test_an_unreadable_idempotency_key_is_malformed(gateway: Any, key: bytes) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": key}
    assert slug(await gateway.http.post("/v1/users", headers=headers, json={})) == (400, "malformed")


async def test_an_answer_that_asks_to_try_again_is_not_remembered(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": "once"}
    body = {"username": "ben", "email": "ben@example.org", "password": PASSWORD, "role": "analyst"}
    with monkeypatch.context() as patched:

        async def fail(_: str) -> str:
            raise RuntimeError("a bug with a secret in its text")

        patched.setattr(gateway.services.passwords, "hash", fail)
        answer = await gateway.http.post("/v1/users", headers=headers, json=body)
        assert slug(answer) == (500, "internal")
        assert "secret" not in answer.text
    assert (await gateway.http.post("/v1/users", headers=headers, json=body)).status_code == 201


async def test_without_the_database_reads_answer_503_with_retry_after_and_recover(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await gateway.owner()
    with monkeypatch.context() as patched:

        async def away(*_: Any, **__: Any) -> None:
            raise ConnectionRefusedError

        patched.setattr(tenant_repository, "find", away)
        gateway.services.tenants.drop(next(iter(gateway.services.tenants._cache._kept), None))
        answer = await gateway.http.get("/v1/tenants/current", headers=owner)
        assert slug(answer) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert (await gateway.http.get("/v1/tenants/current", headers=owner)).status_code == 200


async def test_a_gateway_whose_database_never_was_there_answers_503(make_gateway: Any) -> None:
    gateway = await make_gateway(database_url="postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    data = {"username": "ana", "password": PASSWORD}
    assert slug(await gateway.http.post("/v1/auth/token", data=data)) == (503, "unavailable")
    key = {"X-API-Key": "iak_00000000_" + "A" * 43}
    assert slug(await gateway.http.get("/v1/auth/me", headers=key)) == (503, "unavailable")
    ready = await gateway.http.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "failing")
    assert set(ready.json()["checks"]) >= {"database", "event log"}
    assert (await gateway.http.get("/health/live")).status_code == 200


async def test_the_docs_need_nothing_from_elsewhere(gateway: Any) -> None:
    page = (await gateway.http.get("/docs")).text
    assert "//" not in page.replace("<!doctype", "")
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
        answer = await gateway.http.get(asset)
        assert answer.status_code == 200
        assert len(answer.content) > 100


async def test_a_head_is_answered_like_a_get_without_its_body(gateway: Any) -> None:
    owner = await gateway.owner()
    await gateway.http.put("/v1/customers/C-1", headers=owner, json={})
    paths = [
        "/health/live", "/health/ready", "/metrics", "/docs", "/docs/start.js", "/openapi.json", "/asyncapi.json",
        "/status", "/v1/customers", "/v1/customers/C-1", "/v1/products", "/v1/sales", "/v1/rfm/distribution",
        "/v1/rfm/cutoffs", "/v1/tenants/current", "/v1/auth/me", "/v1/users", "/v1/nope", "/v1/customers/nobody",
    ]  # fmt: skip
    for path in paths:
        got, head = [await gateway.http.request(method, path, headers=owner) for method in ("GET", "HEAD")]
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"], path
        assert "content-length" in head.headers, path
        assert head.headers.get("etag") == got.headers.get("etag"), path
    nobody = await gateway.http.head("/v1/customers/C-1")
    assert (nobody.status_code, nobody.content) == (401, b"")
    assert (await gateway.http.head("/v1/auth/token")).status_code == 405
    metrics = (await gateway.http.get("/metrics")).text
    assert (
        'iacrm_http_requests_total{method="HEAD",route="/v1/customers/{customer_code:path}",status="200"} ' in metrics
    )


async def test_a_request_that_the_stop_cuts_off_is_told_to_try_again(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await gateway.owner() | {"Idempotency-Key": "once"}
    entered = asyncio.Event()
    with monkeypatch.context() as patched:

        async def endless(_: str) -> str:
            entered.set()
            await asyncio.Event().wait()
            raise AssertionError

        patched.setattr(gateway.services.passwords, "hash", endless)
        body = {"username": "ben", "email": "ben@example.org", "password": PASSWORD, "role": "analyst"}
        running = asyncio.create_task(gateway.http.post("/v1/users", headers=headers, json=body))
        await entered.wait()
        running.cancel()
        answer = await running
    assert slug(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert (await gateway.http.post("/v1/users", headers=headers, json=body)).status_code == 201


async def test_an_answer_that_has_begun_is_cut_off_with_its_connection() -> None:
    sent: list[Any] = []

    async def begins(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise asyncio.CancelledError

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        raise AssertionError

    with pytest.raises(asyncio.CancelledError):
        await Edge(begins)({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
    assert sent == ["http.response.start"]


async def test_metrics_count_routes_by_template_and_asyncapi_is_served(gateway: Any) -> None:
    owner = await gateway.owner()
    await gateway.http.get("/v1/users/0b8f5f0e-2a7d-4d39-9c77-6f2a3a1f5d10", headers=owner)
    await gateway.http.get("/somewhere/else")
    metrics = (await gateway.http.get("/metrics")).text
    assert 'route="/v1/users/{user_id}"' in metrics
    assert "0b8f5f0e" not in metrics
    assert "somewhere" not in metrics
    assert (await gateway.http.get("/asyncapi.json")).json()["asyncapi"] == "3.0.0"


async def test_the_openapi_document_has_an_example_for_every_body_and_every_error(gateway: Any) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in json.dumps(document)
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["tags"], where
            assert operation["summary"], where
            public = not path.startswith("/v1/") or path in (
                "/v1/auth/register", "/v1/auth/token", "/v1/auth/refresh", "/v1/auth/logout",
            )  # fmt: skip
            assert ("security" in operation) is not public, where
            for content in operation.get("requestBody", {}).get("content", {}).values():
                assert _has_example(content, schemas), where
            for status, answer in operation["responses"].items():
                if status >= "400" and path.startswith("/v1/"):
                    problem = answer["content"]["application/problem+json"]
                    assert problem["example"]["status"] == int(status), where
                    assert problem["schema"]["$ref"].endswith("/ProblemDocument"), where


def _has_example(content: dict[str, Any], schemas: dict[str, Any]) -> bool:
    if content.get("example") or content.get("examples"):
        return True
    schema = content["schema"]
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    if schema.get("examples"):
        return True
    fields = schema.get("properties", {})
    return bool(fields) and all("examples" in fields[name] for name in schema.get("required", fields))
