"""Every operation of the API with the way it keeps tenants apart, and two tenants to try it on."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import asyncpg
import httpx
from pydantic import SecretStr

from services.api_gateway.operators import create_operator
from services.api_gateway.settings import GatewaySettings
from tests.e2e.installation import PASSWORD, TOKEN, Installation, Tenant, expect, joined_tokens
from tests.support.waiting import until

CUSTOMER = {"first_name": "Ana", "last_name": "Ruiz", "email": "ana@example.org"}
WHEN = "2026-11-20T10:00:00+01:00"
LINES = [{"product_key": "P-1", "quantity": "1", "unit_price": "5"}]
SALE = {"sale_id": "{sale_id}", "customer_code": "{customer_code}", "sold_at": WHEN, "lines": LINES}

FILE = "sale_id,customer_code,sold_at,product_key,quantity,unit_price\n{sale_id},{customer_code},2026-11-20,P-1,1,5\n"

Kind = Literal["public", "own", "foreign id", "own namespace", "operator"]
"""public: needs no credential and names no tenant; own: acts inside the caller's tenant and takes no id; foreign id:
answers 404 for what belongs to another tenant; own namespace: ids that each tenant chooses, so that the same id makes a
thing of the caller's own; operator: for platform operators alone."""


@dataclass(frozen=True)
class Operation:
    """How an operation is tried with another tenant's ids; braces in strings stand for those ids."""

    kind: Kind
    body: Any = None
    upload: str | None = None
    """Content of a file of sales to send as a form instead of a body."""
    query: Mapping[str, str] = field(default_factory=dict)
    lists_all: bool = False
    """It answers with all ids of the caller's own things: once these bear A's ids, A's mark in them says nothing."""


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
    "GET /v1/customers/{customer_code}/export": Operation("foreign id"),
    "GET /v1/products": Operation("own", query={"q": "shelf"}),
    "POST /v1/products": Operation("own namespace", {"product_key": "{product_key}", "name": "B"}),
    "POST /v1/products/bulk": Operation("own namespace", {"products": [{"product_key": "{product_key}"}]}),
    "GET /v1/products/{product_key}": Operation("foreign id"),
    "PATCH /v1/products/{product_key}": Operation("foreign id", {"name": "B"}),
    "DELETE /v1/products/{product_key}": Operation("foreign id"),
    "GET /v1/products/{product_key}/popularity": Operation("foreign id"),
    "PUT /v1/products/{product_key}": Operation("own namespace", {"name": "B"}),
    "GET /v1/product-aliases": Operation("own", query={"product_key": "{product_key}"}),
    "GET /v1/product-aliases/suggestions": Operation("own", query={"q": "shelf"}),
    "GET /v1/product-aliases/unmapped": Operation("own"),
    "POST /v1/product-aliases": Operation("own namespace", {"alias": "{alias}", "product_key": "{product_key}"}),
    "POST /v1/product-aliases/bulk": Operation(
        "own namespace", {"aliases": [{"alias": "{alias}", "product_key": "{product_key}"}]}
    ),
    "GET /v1/product-aliases/{alias}": Operation("foreign id"),
    "PUT /v1/product-aliases/{alias}": Operation("own namespace", {"product_key": "{product_key}"}),
    "DELETE /v1/product-aliases/{alias}": Operation("foreign id"),
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
    "GET /v1/exports/customers.{format}": Operation("own", lists_all=True),
    "GET /v1/exports/sales.{format}": Operation("own", lists_all=True),
    "GET /v1/exports/products.{format}": Operation("own", lists_all=True),
    "GET /v1/exports/segments-history.{format}": Operation("own", lists_all=True),
    "GET /v1/imports": Operation("own"),
    "POST /v1/imports": Operation("own namespace", upload=FILE),
    "GET /v1/imports/{import_id}": Operation("foreign id"),
    "GET /v1/imports/{import_id}/rejected": Operation("foreign id"),
    "POST /v1/imports/{import_id}/pause": Operation("foreign id"),
    "POST /v1/imports/{import_id}/resume": Operation("foreign id"),
    "POST /v1/imports/{import_id}/cancel": Operation("foreign id"),
    "GET /v1/rfm/distribution": Operation("own"),
    "GET /v1/rfm/cutoffs": Operation("own"),
    "GET /v1/analytics/lifetime-value": Operation("own"),
    "POST /v1/rfm/what-if": Operation("own", {"method": "quintile"}),
    "GET /v1/analytics/overview": Operation("own"),
    "GET /v1/analytics/sales-trend": Operation("own"),
    "GET /v1/analytics/segments": Operation("own"),
    "GET /v1/analytics/products": Operation("own"),
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
            filled(path, self.ids),
            json=None if operation.body is None else json.loads(filled(json.dumps(operation.body), self.ids)),
            data=None if operation.upload is None else {"kind": "sales"},
            files=None
            if operation.upload is None
            else {"file": ("s.csv", filled(operation.upload, self.ids).encode())},
            params={key: filled(value, self.ids) for key, value in operation.query.items()},
            headers=self.intruders[who],
        )

    def tells(self, response: httpx.Response) -> list[str]:
        """What of A's the answer holds, apart from what the request itself named."""
        asked = f"{response.request.url} {response.request.read().decode()}"
        return [mark for mark in self.marks if mark in response.text and mark not in asked]


def filled(text: str, ids: Mapping[str, str]) -> str:
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
    alias = {"alias": ids["alias"], "product_key": ids["product_key"]}
    writes.append(await http.post("/v1/product-aliases", json=alias, headers=auth))
    assert all(write.is_success for write in writes), [write.text for write in writes]
    await _import(installation, tenant, ids)
    seen = {TOKEN: joined_tokens(*(write.headers[TOKEN] for write in (settings, *writes))), "Prefer": "wait=30"}
    shares = expect(await http.get("/v1/rfm/distribution", headers={**auth, **seen}), 200)
    assert shares["customers"] == 1


async def _import(installation: Installation, tenant: Tenant, ids: dict[str, str]) -> None:
    """A dry run that has ended: from here on nothing about it changes."""
    http, auth = installation.http, tenant.auth
    files = {"file": (f"{ids['mark']}.csv", filled(FILE, ids).encode())}
    form = {"kind": "sales", "dry_run": "true"}
    ids["import_id"] = expect(await http.post("/v1/imports", data=form, files=files, headers=auth), 202)["import_id"]

    async def ended() -> bool:
        found = expect(await http.get(f"/v1/imports/{ids['import_id']}", headers=auth), 200)
        return bool(found["state"] == "completed")

    await until(ended, seconds=60, what="the import ended")


async def _operator(installation: Installation) -> dict[str, str]:
    username = f"operator-{secrets.token_hex(6)}"
    settings = GatewaySettings(database_url=SecretStr(installation.database.gateway_url))
    await create_operator(settings, username, "operator@example.org", PASSWORD)
    return {"Authorization": f"Bearer {(await installation.log_in(username))['access_token']}"}


BACKGROUND = {
    "rfm.score_request": "(tenant_id) values ($1)",
    "rfm.alias_move": "values ($1, 'T', '')",
    "rfm.recompute": (
        "(tenant_id, requested_at, cause, step, updated_at) values ($1, now(), 'repair', 'days', now()) "
        "on conflict do nothing"
    ),
    "rfm.job_run": (
        "(tenant_id, job, finished_at, seconds, outcome, orders, figures) "
        "values ($1, 'self_check', now(), 1, 'passed', 1, '{}') on conflict do nothing"
    ),
    "rfm.lifetime_model": (
        "(tenant_id, fitted_at, status, reference_date, history_days, horizon_days, customers) "
        "values ($1, now(), 'ok', now(), 400, 365, 1) on conflict do nothing"
    ),
    "rfm.lifetime_value": (
        "(tenant_id, customer_code, probability_alive, expected_orders, expected_value, low, high, computed_at) "
        "values ($1, 'c', 1, 1, 1, 0, 2, now()) on conflict do nothing"
    ),
    "rfm.customer_queue": "(tenant_id, customer_codes, product_keys) values ($1, '{C}', '{}')",
    "rfm.customer_search": "(tenant_id, customer_code, words, tags, families) values ($1, 'C', 'c', '{}', '{}')",
    "rfm.rhythm": "(tenant_id, customer_code) values ($1, 'C')",
    "rfm.period": "(tenant_id, grain, start, revision, customers) values ($1, 'day', '1999-01-01', 1, 1)",
    "rfm.product_period": (
        "(tenant_id, grain, start, product_key, orders, units, revenue) values ($1, 'day', '1999-01-01', 'P', 1, 1, 1)"
    ),
}
"""Tables that the worker fills and empties when it comes by, and how a row is added to them."""


async def rows_of(connection: asyncpg.Connection, tenant_id: str) -> dict[str, list[str]]:
    """Every row of a tenant, as text; without what changes by itself."""
    found = {}
    for table in await tenant_tables(connection):
        if table not in BACKGROUND:
            query = f"select (to_jsonb(t) - 'last_used_at')::text as row from {table} t where tenant_id = $1::uuid"
            found[table] = sorted(each["row"] for each in await connection.fetch(query, tenant_id))
    return found


async def tenant_tables(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "select c.table_schema || '.' || c.table_name as name from information_schema.columns c "
        "join information_schema.tables t using (table_schema, table_name) "
        "where c.column_name = 'tenant_id' and t.table_type = 'BASE TABLE' order by 1"
    )
    return [row["name"] for row in rows]


async def set_scene(installation: Installation) -> Scene:
    """Tenant A populated and settled; tenant B and an operator beside it."""
    mark = f"mark{secrets.token_hex(6)}"
    victim, other = await installation.register(f"{mark} A"), await installation.register("B")
    ids = {
        "mark": mark,
        "tenant_id": victim.tenant_id,
        "customer_code": f"C-{mark}",
        "product_key": f"P-{mark}",
        "alias": f"T-{mark}",
        "sale_id": f"S-{mark}",
        "return_id": f"R-{mark}",
        "format": "csv",
    }
    await _populate(installation, victim, ids)
    intruders = {
        "owner": other.auth,
        "api key": await installation.api_key(other),
        "operator": await _operator(installation),
    }
    admin = await installation.admin()
    rows = await rows_of(admin, victim.tenant_id)
    await admin.close()
    marks = (mark, victim.tenant_id, victim.username, ids["user_id"], ids["key_id"], "mark-a@example.org")
    return Scene(installation, victim, ids, marks, intruders, rows)
