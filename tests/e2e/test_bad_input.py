"""Bad input: a problem that names every offending field, nothing stored, nothing published."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest

from tests.e2e.bad_bodies import CASES
from tests.e2e.bad_sales import LINE, SALE, Bad
from tests.e2e.installation import JWT_KID, JWT_SECRET, TOKEN, Installation, Tenant, expect

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "errors", "request_id"}
LIMIT = 5_000_000


@pytest.fixture(scope="module")
async def shop(installation: Installation) -> Tenant:
    """A tenant whose registration has gone all the way, so that nothing moves by itself."""
    tenant = await installation.register("Bad input")
    await installation.all_published()
    return tenant


async def _stored(installation: Installation) -> dict[str, Any]:
    """What the gateway holds: each of its tables as count and checksum, and the ends of the topics."""
    admin = await installation.admin()
    try:
        tables = await admin.fetch("select tablename as name from pg_tables where schemaname = 'gateway' order by 1")
        found: dict[str, Any] = {}
        for table in tables:
            row = await admin.fetchrow(
                "select count(*), coalesce(sum(hashtextextended((to_jsonb(t) - 'last_used_at')::text, 0)), 0) "
                f"from gateway.{table['name']} t"
            )
            found[table["name"]] = tuple(row)
    finally:
        await admin.close()
    return {**found, **await installation.end_offsets()}


@asynccontextmanager
async def nothing_kept(installation: Installation) -> AsyncIterator[None]:
    """What happens inside must leave tables and topics as they were."""
    before = await _stored(installation)
    yield
    assert await _stored(installation) == before


def check_problem(response: httpx.Response, status: int, fields: set[str] | None = None) -> dict[str, Any]:
    """An answer must be a problem with this status, that names these fields and nothing internal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert set(problem) >= PROBLEM_MEMBERS
    assert problem["status"] == status
    assert problem["type"].startswith("https://")
    assert problem["title"]
    assert problem["request_id"] == response.headers["x-request-id"]
    for word in ("Traceback", "pydantic", "asyncpg", "sqlalchemy", "Error("):
        assert word not in response.text
    if fields is not None:
        assert {error["field"] for error in problem["errors"]} == fields
        assert all(error["reason"] for error in problem["errors"])
    return problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_bad_input_is_refused_by_name_and_leaves_nothing(
    installation: Installation, shop: Tenant, case: Bad
) -> None:
    async with nothing_kept(installation):
        response = await installation.http.request(
            case.method, case.path, content=case.body, headers={**shop.auth, **case.headers}
        )
    check_problem(response, case.status, case.fields)
    assert "set-cookie" not in response.headers
    assert "x-evil" not in response.headers
    assert len(response.content) < 200_000


async def test_the_request_of_the_bad_cases_is_good_without_what_is_bad(
    installation: Installation, shop: Tenant
) -> None:
    """Otherwise the cases above could be refused for another reason than theirs."""
    before = await installation.end_offsets()
    expect(await installation.http.post("/v1/sales", json={**SALE, "sale_id": "good"}, headers=shop.auth), 202)
    after = await installation.end_offsets()
    assert sum(after.values()) - sum(before.values()) == 1


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize("path", ["/v1/sales", "/v1/sales/batch", "/v1/customers/bulk"])
async def test_a_body_of_6_mb_is_refused(installation: Installation, shop: Tenant, path: str, chunked: bool) -> None:
    big = json.dumps({**SALE, "metadata": {"note": "x" * 6_000_000}}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 65_536):
            yield big[start : start + 65_536]

    async with nothing_kept(installation), httpx.AsyncClient(base_url=installation.base_url, timeout=20) as http:
        headers = {**shop.auth, "Content-Type": "application/json"}
        response = await http.post(path, content=pieces() if chunked else big, headers=headers)
        check_problem(response, 413)


async def test_a_body_just_below_the_limit_is_read(installation: Installation, shop: Tenant) -> None:
    note = "x" * (LIMIT - 1000)
    response = await installation.http.post("/v1/sales", json={**SALE, "metadata": {"note": note}}, headers=shop.auth)
    check_problem(response, 422, {"metadata.note"})


@pytest.mark.parametrize("form", ["JSON", "NDJSON"])
async def test_good_sales_of_a_batch_are_accepted_and_bad_ones_listed(
    installation: Installation, shop: Tenant, form: str
) -> None:
    tag = form.lower()
    bad_line = {**LINE, "quantity": "-1", "unit_price": "x"}
    sales: list[Any] = [
        {**SALE, "sale_id": f"{tag}-0"},
        {**SALE, "sale_id": "ana@example.org"},
        {**SALE, "sale_id": f"{tag}-2", "lines": [LINE, bad_line]},
        "not a sale",
        {**SALE, "sale_id": f"{tag}-4", "currency": "USD"},
        {**SALE, "sale_id": f"{tag}-5", "customer_code": None},
    ]
    lines = [json.dumps(sale) for sale in sales]
    if form == "NDJSON":
        lines.append('{"sale_id": "cut off')
        content, media = "\n".join([lines[0], "", *lines[1:]]) + "\n", "application/x-ndjson"
    else:
        content, media = '{"sales": [' + ",".join(lines) + "]}", "application/json"
    before = await installation.end_offsets()
    answer = await installation.http.post(
        "/v1/sales/batch", content=content, headers={**shop.auth, "Content-Type": media}
    )
    result = expect(answer, 202)
    assert result["accepted"] == 2
    rejected = {bad["index"]: {error["field"] for error in bad["errors"]} for bad in result["rejected"]}
    expected = {1: {"sale_id"}, 2: {"lines.1.quantity", "lines.1.unit_price"}, 3: {""}, 4: {"currency"}}
    assert rejected == (expected | {6: {""}} if form == "NDJSON" else expected)
    assert [bad["sale_id"] for bad in result["rejected"]][:4] == ["ana@example.org", f"{tag}-2", None, f"{tag}-4"]
    after = await installation.end_offsets()
    assert sum(after.values()) - sum(before.values()) == 2
    seen = {**shop.auth, TOKEN: answer.headers[TOKEN], "Prefer": "wait=30"}
    expect(await installation.http.get(f"/v1/sales/{tag}-5", headers=seen), 200)
    assert (await installation.http.get(f"/v1/sales/{tag}-2", headers=shop.auth)).status_code == 404


async def test_a_batch_of_bad_sales_alone_accepts_none(installation: Installation, shop: Tenant) -> None:
    async with nothing_kept(installation):
        body = {"sales": [{**SALE, "lines": []}, {}]}
        result = expect(await installation.http.post("/v1/sales/batch", json=body, headers=shop.auth), 202)
    assert result["accepted"] == 0
    assert [bad["index"] for bad in result["rejected"]] == [0, 1]


async def test_sql_in_a_search_finds_nothing_and_harms_nothing(installation: Installation, shop: Tenant) -> None:
    async with nothing_kept(installation):
        for text in ("' or '1'='1", "%", "_", "\\", "'; drop table gateway.customer; --", "$1", "%%%s"):
            for path in ("/v1/customers", "/v1/products"):
                found = expect(await installation.http.get(path, params={"q": text}, headers=shop.auth), 200)
                assert found["items"] == [], (path, text)


async def test_sql_as_a_code_is_only_a_code(installation: Installation, shop: Tenant) -> None:
    code = "C'); drop table rfm.sale; --"
    sale = {**SALE, "sale_id": "S' or '1'='1", "customer_code": code}
    answer = await installation.http.post("/v1/sales", json=sale, headers=shop.auth)
    expect(answer, 202)
    seen = {**shop.auth, TOKEN: answer.headers[TOKEN], "Prefer": "wait=30"}
    found = expect(await installation.http.get("/v1/sales", params={"customer_code": code}, headers=seen), 200)
    assert [(sale["sale_id"], sale["customer_code"]) for sale in found["items"]] == [("S' or '1'='1", code)]


async def test_a_request_id_that_is_not_harmless_is_replaced(installation: Installation, shop: Tenant) -> None:
    for bad in ("a b", "<script>", "x" * 65, 'a"b', "a;b"):
        response = await installation.http.get("/v1/auth/me", headers={**shop.auth, "X-Request-ID": bad})
        assert response.headers["x-request-id"] != bad
    response = await installation.http.get("/v1/auth/me", headers={**shop.auth, "X-Request-ID": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"


def _segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _forgeries(shop: Tenant, other: Tenant) -> dict[str, dict[str, str]]:
    claims = jwt.decode(shop.access_token, options={"verify_signature": False})
    head, body, signature = shop.access_token.split(".")
    kid = {"kid": JWT_KID}

    def signed(
        change: dict[str, Any],
        secret: str = JWT_SECRET,
        headers: dict[str, Any] | None = None,
        algorithm: str = "HS256",
    ) -> str:
        return jwt.encode({**claims, **change}, secret, algorithm, headers=kid if headers is None else headers)

    def unsigned(algorithm: str) -> str:
        return f"{_segment({'alg': algorithm, 'typ': 'JWT', **kid})}.{_segment(claims)}."

    now = int(time.time())
    tokens = {
        "expired": signed({"iat": now - 4000, "exp": now - 1}),
        "signed with another secret": signed({}, secret="another secret that nobody has configured"),
        "of an unknown key": signed({}, headers={"kid": "nobody"}),
        "with a key id that is a path": signed({}, headers={"kid": "../../dev/null"}),
        "without a key id": signed({}, headers={}),
        "of another issuer": signed({"iss": "somebody"}),
        "for another audience": signed({"aud": "something"}),
        "without an end": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, JWT_SECRET, "HS256", headers=kid),
        "with another algorithm": signed({}, algorithm="HS512"),
        "alg none": unsigned("none"),
        "alg NoNe": unsigned("NoNe"),
        "alg none with a signature": f"{unsigned('none')}{signature}",
        "another tenant's id under an old signature": ".".join(
            (head, _segment({**claims, "tid": other.tenant_id}), signature)
        ),
        "a role under an old signature": f"{head}.{_segment({**claims, 'role': 'operator', 'tid': None})}.{signature}",
        "without its signature": f"{head}.{body}.",
        "cut short": shop.access_token[:-4],
        "a tenant that is no id": signed({"tid": "' or 1=1"}),
        "a subject that is no id": signed({"sub": "admin"}),
        "a refresh token": shop.refresh_token,
        "nonsense": "nonsense",
        "10,000 characters": "x" * 10_000,
    }
    found = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
    secret = hmac.new(b"x", b"y", hashlib.sha256).hexdigest()
    return found | {
        "no credential": {},
        "a scheme alone": {"Authorization": "Bearer"},
        "another scheme": {"Authorization": f"Basic {shop.access_token}"},
        "an access token as key": {"X-API-Key": shop.access_token},
        "an unknown key": {"X-API-Key": f"iak_00000000_{secret[:43]}"},
        "SQL as key": {"X-API-Key": "' or '1'='1"},
    }


async def test_no_false_credential_is_accepted(installation: Installation, shop: Tenant) -> None:
    other = await installation.register("Other")
    await installation.all_published()
    async with nothing_kept(installation):
        for name, headers in _forgeries(shop, other).items():
            for method, path, body in (
                ("GET", "/v1/auth/me", None),
                ("POST", "/v1/sales", SALE),
                ("POST", "/v1/customers", {"customer_code": "C"}),
            ):
                response = await installation.http.request(method, path, json=body, headers=headers)
                assert response.status_code == 401, f"{name}: {method} {path}: {response.text}"
                check_problem(response, 401)
                assert response.headers["www-authenticate"].startswith("Bearer")


async def test_what_is_forged_would_be_accepted_if_it_were_true(installation: Installation, shop: Tenant) -> None:
    """Otherwise the forgeries above could fail for their form alone."""
    claims = jwt.decode(shop.access_token, options={"verify_signature": False})
    token = jwt.encode({**claims, "jti": "again"}, JWT_SECRET, "HS256", headers={"kid": JWT_KID})
    me = expect(await installation.http.get("/v1/auth/me", headers={"Authorization": f"Bearer {token}"}), 200)
    assert me["tenant_id"] == shop.tenant_id


async def test_a_revoked_and_an_expired_key_are_refused(installation: Installation, shop: Tenant) -> None:
    revoked = expect(
        await installation.http.post("/v1/api-keys", json={"name": "k", "scopes": ["sales:write"]}, headers=shop.auth),
        201,
    )
    key = {"X-API-Key": revoked["api_key"]}
    assert (await installation.http.delete(f"/v1/api-keys/{revoked['key_id']}", headers=shop.auth)).status_code == 204
    check_problem(await installation.http.post("/v1/sales", json=SALE, headers=key), 401)
    expired = await installation.api_key(shop, "sales:write", name="expired")
    admin = await installation.admin()
    await admin.execute("update gateway.api_key set expires_at = now() - interval '1 second' where name = 'expired'")
    await admin.close()
    check_problem(await installation.http.post("/v1/sales", json=SALE, headers=expired), 401)


async def test_a_key_without_the_scope_and_a_person_without_the_role_may_not(
    installation: Installation, shop: Tenant
) -> None:
    reader = await installation.api_key(shop, "read", name="reader")
    writer = await installation.api_key(shop, "sales:write", name="writer")
    for method, path, headers in (
        ("POST", "/v1/sales", reader),
        ("POST", "/v1/customers", reader),
        ("DELETE", "/v1/products/P", reader),
        ("GET", "/v1/sales", writer),
        ("POST", "/v1/users", writer),
        ("POST", "/v1/api-keys", writer),
    ):
        check_problem(await installation.http.request(method, path, json=SALE, headers=headers), 403)
