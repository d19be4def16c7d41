"""One tenant never sees or changes what belongs to another: over every route, and in every table."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from services.api_gateway.operators import create_operator
from services.api_gateway.settings import GatewaySettings
from tests.e2e.installation import PASSWORD, TOKEN, Installation, Tenant, expect, joined_tokens

CUSTOMER = {"first_name": "Ana", "last_name": "Ruiz", "email": "ana@example.org"}
WHEN = "2026-11-20T10:00:00+01:00"
LINES = [{"product_key": "P-1", "quantity": "1", "unit_price": "5"}]
SALE = {"sale_id": "{sale_id}", "customer_code": "{customer_code}", "sold_at": WHEN, "lines": LINES}

Kind = Literal["public", "own", "foreign id", "own namespace", "operator"]
"""public: needs no credential and names no tenant; own: acts inside the caller's tenant and takes no id; foreign id:
answers 404 for what belongs to another tenant; own namespace: ids that each tenant chooses, so that the same id makes a
thing of the caller's own; operator: for platform operators alone."""


@dataclass(frozen=True)
class Operation:
    """How an operation is tried with another tenant's ids; braces in strings stand for those ids."""

    kind: Kind
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)


OPERATIONS: dict[str, Operation] = {
    "POST /v1/auth/register": Operation("public"),
    "POST /v1/auth/token": Operation("public"),
    "POST /v1/auth/refresh": Operation("public"),
    "POST /v1/auth/logout": Operation("public"),
    "GET /health/live": Operation("public"),
    "GET /health/ready": Operation("public"),
    "GET /metrics": Operation("public"),
    "GET /asyncapi.json": Operation("public"),
    "GET /status": Operation("public"),
    "GET /v1/auth/me": Operation("own"),
    "POST /v1/auth/password": Operation("own", {"current_password": "a wrong one here", "new_password": PASSWORD}),
    "GET /v1/tenants/current": Operation("own"),
    "GET /v1/tenants/current/settings": Operation("own"),
    "GET /v1/tenants/current/settings/history": Operation("own"),
    "PATCH /v1/tenants/current/settings": Operation("own", {"active_days": 60}),
    "GET /v1/tenants": Operation("operator"),
    "POST /v1/tenants": Operation("operator", {"name": "Shop"}),
    "GET /v1/tenants/{tenant_id}": Operation("operator"),
    "PATCH /v1/tenants/{tenant_id}": Operation("operator", {"name": "Taken over"}),
    "DELETE /v1/tenants/{tenant_id}": Operation("operator"),
    "GET /v1/users": Operation("own"),
    "POST /v1/users": Operation(
        "own",
        {
            "username": "ben-{fresh}",
            "email": "ben@example.org",
            "password": PASSWORD,
            "role": "analyst",
        },
    ),
    "GET /v1/users/{user_id}": Operation("foreign id"),
    "PATCH /v1/users/{user_id}": Operation("foreign id", {"role": "analyst"}),
    "DELETE /v1/users/{user_id}": Operation("foreign id"),
    "GET /v1/api-keys": Operation("own"),
    "POST /v1/api-keys": Operation("own", {"name": "k", "scopes": ["read"]}),
    "GET /v1/api-keys/{key_id}": Operation("foreign id"),
    "DELETE /v1/api-keys/{key_id}": Operation("foreign id"),
    "GET /v1/customers": Operation("own", query={"q": "Ruiz"}),
    "POST /v1/customers": Operation("own namespace", {"customer_code": "{customer_code}", "first_name": "B"}),
    "POST /v1/customers/bulk": Operation("own namespace", {"customers": [{"customer_code": "{customer_code}"}]}),
    "GET /v1/customers/{customer_code}": Operation("foreign id"),
    "PATCH /v1/customers/{customer_code}": Operation("foreign id", {"first_name": "B"}),
    "DELETE /v1/customers/{customer_code}": Operation("foreign id"),
    "PUT /v1/customers/{customer_code}": Operation("own namespace", {"first_name": "B"}),
    "GET /v1/customers/{customer_code}/sales": Operation("foreign id"),
    "GET /v1/customers/{customer_code}/history": Operation("foreign id"),
    "GET /v1/products": Operation("own", query={"q": "shelf"}),
    "POST /v1/products": Operation("own namespace", {"product_key": "{product_key}", "name": "B"}),
    "POST /v1/products/bulk": Operation("own namespace", {"products": [{"product_key": "{product_key}"}]}),
    "GET /v1/products/{product_key}": Operation("foreign id"),
    "PATCH /v1/products/{product_key}": Operation("foreign id", {"name": "B"}),
    "DELETE /v1/products/{product_key}": Operation("foreign id"),
    "PUT /v1/products/{product_key}": Operation("own namespace", {"name": "B"}),
    "GET /v1/sales": Operation("own", query={"customer_code": "{customer_code}"}),
    "POST /v1/sales": Operation("own namespace", SALE),
    "POST /v1/sales/batch": Operation("own namespace", {"sales": [SALE]}),
    "GET /v1/sales/{sale_id}": Operation("foreign id"),
    "POST /v1/sales/{sale_id}/returns": Operation(
        "own namespace",
        {
            "return_id": "{return_id}",
            "returned_at": WHEN,
            "lines": [{"product_key": "P-1", "quantity": "1", "amount": "5"}],
        },
    ),
    "POST /v1/sales/{sale_id}/cancellation": Operation("own namespace", {"cancelled_at": WHEN}),
    "GET /v1/rfm/distribution": Operation("own"),
    "GET /v1/rfm/cutoffs": Operation("own"),
}
TENANTED = [name for name, operation in OPERATIONS.items() if operation.kind not in ("public", "operator")]
# Operations that make things of the intruder's own come last: afterwards its ids are no longer foreign.
TENANTED.sort(key=lambda name: OPERATIONS[name].kind == "own namespace")


@dataclass(frozen=True)
class Scene:
    """Tenant A with one thing of every kind, and those who try to reach it."""

    installation: Installation
    victim: Tenant
    ids: dict[str, str]
    marks: tuple[str, ...]
    """Strings that only A's data hold."""
    intruders: dict[str, dict[str, str]]
    rows: dict[str, list[str]]

    async def try_out(self, name: str, who: str) -> httpx.Response:
        """The operation with A's ids and somebody else's credential."""
        method, _, path = name.partition(" ")
        operation = OPERATIONS[name]
        return await self.installation.http.request(
            method,
            _filled(path, self.ids),
            json=None if operation.body is None else json.loads(_filled(json.dumps(operation.body), self.ids)),
            params={key: _filled(value, self.ids) for key, value in operation.query.items()},
            headers=self.intruders[who],
        )

    def tells(self, response: httpx.Response) -> list[str]:
        """What of A's the answer holds, apart from what the request itself named."""
        asked = f"{response.request.url} {response.request.content.decode()}"
        return [mark for mark in self.marks if mark in response.text and mark not in asked]


def _filled(text: str, ids: Mapping[str, str]) -> str:
    for name, value in {**ids, "fresh": secrets.token_hex(4)}.items():
        text = text.replace("{" + name + "}", value)
    return text


async def _populate(installation: Installation, tenant: Tenant, ids: dict[str, str]) -> None:
    http, auth = installation.http, tenant.auth
    user = {
        "username": f"a-{secrets.token_hex(6)}",
        "email": "mark-a@example.org",
        "password": PASSWORD,
        "role": "admin",
    }
    ids["user_id"] = expect(await http.post("/v1/users", json=user, headers=auth), 201)["user_id"]
    key = {"name": f"{ids['mark']} key", "scopes": ["read"]}
    ids["key_id"] = expect(await http.post("/v1/api-keys", json=key, headers=auth), 201)["key_id"]
    settings = await http.patch("/v1/tenants/current/settings", json={"active_days": 77}, headers=auth)
    expect(settings, 200)
    product = {"product_key": ids["product_key"], "name": f"{ids['mark']} shelf", "family": "Shelves"}
    customer = {**CUSTOMER, "customer_code": ids["customer_code"], "attributes": {"note": ids["mark"]}}
    gone = {"customer_code": f"{ids['customer_code']}-gone"}
    sale = {**SALE, "sale_id": ids["sale_id"], "customer_code": ids["customer_code"], "metadata": {"m": ids["mark"]}}
    back = {**OPERATIONS["POST /v1/sales/{sale_id}/returns"].body, "return_id": ids["return_id"]}
    back["lines"] = [{"product_key": "P-1", "quantity": "1", "amount": "1"}]
    void = {"cancelled_at": WHEN, "reason": ids["mark"]}
    writes = [
        await http.post("/v1/products", json=product, headers=auth),
        await http.post("/v1/customers", json=customer, headers={**auth, "Idempotency-Key": "only-once"}),
        await http.post("/v1/customers", json=gone, headers=auth),
        await http.delete(f"/v1/customers/{gone['customer_code']}", headers=auth),
        await http.post("/v1/sales", json=sale, headers=auth),
        await http.post(f"/v1/sales/{ids['sale_id']}/returns", json=back, headers=auth),
        await http.post("/v1/sales", json={**sale, "sale_id": "S-void"}, headers=auth),
        await http.post("/v1/sales/S-void/cancellation", json=void, headers=auth),
    ]
    assert all(write.is_success for write in writes), [write.text for write in writes]
    seen = {TOKEN: joined_tokens(*(write.headers[TOKEN] for write in (settings, *writes))), "Prefer": "wait=30"}
    shares = expect(await http.get("/v1/rfm/distribution", headers={**auth, **seen}), 200)
    assert shares["customers"] == 1


async def _operator(installation: Installation) -> dict[str, str]:
    username = f"operator-{secrets.token_hex(6)}"
    settings = GatewaySettings(database_url=SecretStr(installation.database.gateway_url))
    await create_operator(settings, username, "operator@example.org", PASSWORD)
    return {"Authorization": f"Bearer {(await installation.log_in(username))['access_token']}"}


async def _rows(connection: asyncpg.Connection, tenant_id: str) -> dict[str, list[str]]:
    """Every row of a tenant, as text; without what changes by itself."""
    found = {}
    for table in await _tenant_tables(connection):
        if table != "rfm.score_request":
            query = f"select (to_jsonb(t) - 'last_used_at')::text as row from {table} t where tenant_id = $1::uuid"
            found[table] = sorted(each["row"] for each in await connection.fetch(query, tenant_id))
    return found


async def _tenant_tables(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "select c.table_schema || '.' || c.table_name as name from information_schema.columns c "
        "join information_schema.tables t using (table_schema, table_name) "
        "where c.column_name = 'tenant_id' and t.table_type = 'BASE TABLE' order by 1"
    )
    return [row["name"] for row in rows]


@pytest.fixture(scope="module")
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    """Tenant A populated and settled; tenant B and an operator beside it."""
    mark = f"mark{secrets.token_hex(6)}"
    victim, other = await installation.register(f"{mark} A"), await installation.register("B")
    ids = {
        "mark": mark,
        "tenant_id": victim.tenant_id,
        "customer_code": f"C-{mark}",
        "product_key": f"P-{mark}",
        "sale_id": f"S-{mark}",
        "return_id": f"R-{mark}",
    }
    await _populate(installation, victim, ids)
    intruders = {
        "owner": other.auth,
        "api key": await installation.api_key(other),
        "operator": await _operator(installation),
    }
    admin = await installation.admin()
    rows = await _rows(admin, victim.tenant_id)
    await admin.close()
    marks = (mark, victim.tenant_id, victim.username, ids["user_id"], ids["key_id"], "mark-a@example.org")
    return Scene(installation, victim, ids, marks, intruders, rows)


async def test_every_route_says_how_it_keeps_tenants_apart(installation: Installation) -> None:
    document = expect(await installation.http.get("/openapi.json"), 200)
    found = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert found == set(OPERATIONS), "classify new routes in OPERATIONS; remove those that are gone"


async def test_every_route_but_the_public_ones_needs_a_credential(installation: Installation, scene: Scene) -> None:
    answers = {}
    for name, operation in OPERATIONS.items():
        if operation.kind != "public":
            method, _, path = name.partition(" ")
            answers[name] = (await installation.http.request(method, _filled(path, scene.ids))).status_code
    assert {name: status for name, status in answers.items() if status != 401} == {}


@pytest.mark.parametrize("name", TENANTED)
async def test_the_owner_of_another_tenant(scene: Scene, name: str) -> None:
    response = await scene.try_out(name, "owner")
    match OPERATIONS[name].kind:
        case "foreign id":
            assert response.status_code == 404, response.text
        case "own namespace":
            assert response.status_code in (200, 201, 202, 409), response.text
        case _:
            assert response.status_code in (200, 201, 401), response.text
    assert scene.tells(response) == []
    if name.startswith("GET") and "items" in response.text:
        assert scene.ids["customer_code"] not in response.text
    await _nothing_changed(scene)


@pytest.mark.parametrize("name", TENANTED)
async def test_an_api_key_of_another_tenant(scene: Scene, name: str) -> None:
    response = await scene.try_out(name, "api key")
    if OPERATIONS[name].kind == "foreign id":
        # The owner has made B's own things under these ids by now; what belongs to A must not come with them.
        assert response.status_code in (200, 204, 403, 404), response.text
    else:
        assert response.status_code in (200, 201, 202, 401, 403, 409), response.text
    assert scene.tells(response) == []
    await _nothing_changed(scene)


@pytest.mark.parametrize("name", [*TENANTED])
async def test_a_platform_operator_reads_no_tenants_data(scene: Scene, name: str) -> None:
    response = await scene.try_out(name, "operator")
    own_account = name in ("GET /v1/auth/me", "POST /v1/auth/password")
    assert response.status_code in ((200, 401) if own_account else (403,)), response.text
    assert scene.tells(response) == []
    await _nothing_changed(scene)


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.kind == "operator"])
async def test_tenants_are_administered_by_operators_alone(scene: Scene, name: str) -> None:
    for who in ("owner", "api key"):
        response = await scene.try_out(name, who)
        assert response.status_code == 403, response.text
        assert scene.tells(response) == []
    await _nothing_changed(scene)


async def test_a_cursor_of_one_tenant_is_refused_for_another(scene: Scene) -> None:
    http = scene.installation.http
    for number in range(2):
        code = {"customer_code": f"cursor-{number}"}
        await http.post("/v1/products", json={"product_key": code["customer_code"]}, headers=scene.intruders["owner"])
    page = expect(await http.get("/v1/products", params={"limit": 1}, headers=scene.intruders["owner"]), 200)
    assert page["next_cursor"]
    answer = await http.get(
        "/v1/products", params={"limit": 1, "cursor": page["next_cursor"]}, headers=scene.victim.auth
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "cursor"


async def _nothing_changed(scene: Scene) -> None:
    admin = await scene.installation.admin()
    try:
        assert await _rows(admin, scene.victim.tenant_id) == scene.rows
    finally:
        await admin.close()


async def test_every_table_with_a_tenant_has_row_level_security_for_both_roles(scene: Scene) -> None:
    admin = await scene.installation.admin()
    try:
        for table in await _tenant_tables(admin):
            assert await admin.fetchval("select relrowsecurity from pg_class where oid = $1::regclass", table), table
            schema, _, name = table.partition(".")
            policies = await admin.fetch(
                "select roles::text[] as roles, qual from pg_policies where schemaname = $1 and tablename = $2",
                schema,
                name,
            )
            gateways = [policy["qual"] for policy in policies if "iacrm_gateway" in policy["roles"]]
            assert gateways, f"{table} has no policy for the gateway"
            assert all("current_tenant" in qual for qual in gateways), table
            assert not [policy for policy in policies if "public" in policy["roles"]], table
    finally:
        await admin.close()


async def _count(connection: asyncpg.Connection, table: str, tenant_id: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {table} where tenant_id = $1::uuid", tenant_id))


async def _tenant_with_all_tables_filled(admin: asyncpg.Connection, scene: Scene) -> dict[str, str]:
    """Table -> one row of A as JSON. The worker empties its list of requests, so one is added (and rolled back)."""
    await admin.execute("insert into rfm.score_request (tenant_id) values ($1::uuid)", scene.victim.tenant_id)
    samples = {}
    for table in await _tenant_tables(admin):
        query = f"select to_jsonb(t)::text from {table} t where tenant_id = $1::uuid limit 1"
        samples[table] = await admin.fetchval(query, scene.victim.tenant_id)
        assert samples[table] is not None, f"tenant A has no row in {table}: this test would prove nothing"
    return samples


@pytest.mark.parametrize("setting", ["another tenant", "no tenant", "operator", "not a uuid"])
async def test_no_table_shows_a_row_of_another_tenant(scene: Scene, setting: str) -> None:
    admin = await scene.installation.admin()
    transaction = admin.transaction()
    await transaction.start()
    try:
        samples = await _tenant_with_all_tables_filled(admin, scene)
        await admin.execute("set local role iacrm_gateway")
        await _set_tenant(admin, setting)
        for table in samples:
            if setting == "operator" and table in ("gateway.tenant", "gateway.tenant_settings_history"):
                continue  # that is what operators administer
            if setting == "not a uuid":
                with pytest.raises(asyncpg.DataError):
                    async with admin.transaction():
                        await _count(admin, table, scene.victim.tenant_id)
            else:
                assert await _count(admin, table, scene.victim.tenant_id) == 0, table
                assert await admin.fetchval(f"select count(*) from {table} where tenant_id is not null") == 0, table
    finally:
        await transaction.rollback()
        await admin.close()


async def _set_tenant(connection: asyncpg.Connection, setting: str) -> None:
    value = {"another tenant": "00000000-0000-4000-8000-00000000000b", "not a uuid": "x' or true --"}.get(setting, "")
    await connection.execute("select set_config('app.tenant', $1, true)", value)
    await connection.execute("select set_config('app.operator', $1, true)", "on" if setting == "operator" else "")


async def test_the_tenants_own_rows_are_visible_to_it(scene: Scene) -> None:
    """Otherwise the tests of what is hidden would pass on a role that sees nothing at all."""
    admin = await scene.installation.admin()
    transaction = admin.transaction()
    await transaction.start()
    try:
        samples = await _tenant_with_all_tables_filled(admin, scene)
        await admin.execute("set local role iacrm_gateway")
        await admin.execute("select set_config('app.tenant', $1, true)", scene.victim.tenant_id)
        for table in samples:
            assert await _count(admin, table, scene.victim.tenant_id) > 0, table
    finally:
        await transaction.rollback()
        await admin.close()


async def test_no_table_lets_another_tenant_write(scene: Scene) -> None:
    admin = await scene.installation.admin()
    transaction = admin.transaction()
    await transaction.start()
    try:
        samples = await _tenant_with_all_tables_filled(admin, scene)
        await admin.execute("set local role iacrm_gateway")
        await _set_tenant(admin, "another tenant")
        for table, row in samples.items():
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with admin.transaction():
                    await admin.execute(
                        f"insert into {table} overriding system value "
                        f"select * from jsonb_populate_record(null::{table}, $1::text::jsonb)",
                        row,
                    )
            for statement in (
                f"update {table} set tenant_id = tenant_id where tenant_id = $1::uuid",
                f"delete from {table} where tenant_id = $1::uuid",
            ):
                assert await _changed(admin, statement, scene.victim.tenant_id) == 0, statement
    finally:
        await transaction.rollback()
        await admin.close()


async def _changed(connection: asyncpg.Connection, statement: str, tenant_id: str) -> int:
    """Rows that a statement changed; 0 where the role may not even try."""
    try:
        async with connection.transaction():
            return int((await connection.execute(statement, tenant_id)).rpartition(" ")[2])
    except asyncpg.InsufficientPrivilegeError:
        return 0


async def _tables(connection: asyncpg.Connection, schema: str) -> list[str]:
    rows = await connection.fetch(
        "select schemaname || '.' || tablename as name from pg_tables where schemaname = $1", schema
    )
    return [row["name"] for row in rows]


@pytest.mark.parametrize(
    ("role", "schema", "may_read"), [("iacrm_rfm", "gateway", False), ("iacrm_gateway", "rfm", True)]
)
async def test_no_role_writes_outside_its_own_schema(
    installation: Installation, role: str, schema: str, may_read: bool
) -> None:
    urls = {"iacrm_rfm": installation.database.rfm_url, "iacrm_gateway": installation.database.gateway_url}
    connection = await asyncpg.connect(urls[role].replace("+asyncpg", ""))
    try:
        assert await connection.fetchval("select current_user") == role
        tables = await _tables(connection, schema)
        assert tables
        for table in tables:
            if may_read:
                granted = "select has_table_privilege($1, $2, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
                assert not await connection.fetchval(granted, role, table), table
            column = (
                await connection.fetchval(
                    "select attname from pg_attribute where attrelid = to_regclass($1) and attnum = 1", table
                )
                if may_read
                else "tenant_id"
            )
            statements = [
                f"delete from {table}",
                f"truncate {table}",
                f"update {table} set {column} = default",
                f"insert into {table} default values",
                f"alter table {table} disable row level security",
            ]
            if not may_read:
                statements.append(f"select 1 from {table}")
            for statement in statements:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for statement in (f"create table {schema}.mine (x int)", "create table public.mine (x int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["iacrm_gateway", "iacrm_rfm"])
async def test_no_service_has_a_role_that_passes_by_the_policies(installation: Installation, role: str) -> None:
    admin = await installation.admin()
    try:
        rights = dict(
            await admin.fetchrow(
                "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin "
                "from pg_roles where rolname = $1",
                role,
            )
        )
        assert rights.pop("rolcanlogin")
        assert not any(rights.values()), rights
        assert (
            await admin.fetchval(
                "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = $1", role
            )
            == 0
        )
        owned = await admin.fetch(
            "select c.oid::regclass::text from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = $1 "
            "and c.relpersistence <> 't' "
            "union all select n.nspname from pg_namespace n join pg_roles r on r.oid = n.nspowner where r.rolname = $1",
            role,
        )
        assert owned == []
    finally:
        await admin.close()
