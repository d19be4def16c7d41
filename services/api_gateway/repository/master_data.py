"""What customers, products and aliases have in common: rows with a version, written one or thousands at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Master:
    """A table of master data: its name, its key column and its columns with their types, in JSON recordset syntax."""

    table: str
    key: str
    columns: dict[str, str]

    @property
    def noun(self) -> str:
        """What a row is called in sentences."""
        return self.table.replace("_", " ")

    def insert(self, on_conflict: str) -> TextClause:
        """INSERT of the rows in parameter `rows` (a JSON array), sorted by key so that bulk writes cannot deadlock."""
        types = ", ".join(f"{name} {kind}" for name, kind in {self.key: "text", **self.columns}.items())
        names = ", ".join([self.key, *self.columns])
        return text(
            f"insert into gateway.{self.table} as t "  # noqa: S608 - names from our own code
            f"(tenant_id, {names}, version, created_at, updated_at) "
            f"select cast(:tenant as uuid), {names}, 1, now, now "
            f"from jsonb_to_recordset(cast(cast(:rows as text) as jsonb)) as r({types}), "
            "lateral (select clock_timestamp() as now) c "
            f'order by {self.key} collate "C" on conflict (tenant_id, {self.key}) {on_conflict} returning *'
        )

    @property
    def replace(self) -> str:
        """What an upsert does with a row that is there."""
        taken = ", ".join(f"{name} = excluded.{name}" for name in self.columns)
        later = "greatest(excluded.updated_at, t.updated_at)"
        return f"do update set {taken}, version = t.version + 1, updated_at = {later}"


CUSTOMER = Master(
    "customer",
    "customer_code",
    {
        "first_name": "text",
        "last_name": "text",
        "email": "text",
        "phone": "text",
        "language": "text",
        "timezone": "text",
        "birth_date": "date",
        "tags": "text[]",
        "attributes": "jsonb",
        "consents": "jsonb",
    },
)
PRODUCT = Master(
    "product",
    "product_key",
    {
        "name": "text",
        "family": "text",
        "sub_family": "text",
        "price": "numeric(18,4)",
        "margin": "numeric(18,4)",
        "stock": "numeric(18,3)",
        "active": "boolean",
        "tags": "text[]",
        "attributes": "jsonb",
    },
)
ALIAS = Master("product_alias", "alias", {"product_key": "text"})
_ALL = (CUSTOMER, PRODUCT, ALIAS)
_INSERT = {master.table: master.insert("do nothing") for master in _ALL}
_UPSERT = {master.table: master.insert(master.replace) for master in _ALL}


async def insert_one(
    connection: AsyncConnection, master: Master, tenant_id: UUID, row: dict[str, Any]
) -> Row[Any] | None:
    """Adds a row (its key and columns as JSON values); None when the key exists."""
    found = await connection.execute(_INSERT[master.table], _parameters(tenant_id, [row]))
    return found.one_or_none()


async def upsert(
    connection: AsyncConnection, master: Master, tenant_id: UUID, rows: Sequence[dict[str, Any]]
) -> list[Row[Any]]:
    """Creates or replaces rows with distinct keys; version 1 marks the created ones. Sorted by key."""
    found = await connection.execute(_UPSERT[master.table], _parameters(tenant_id, rows))
    return sorted(found, key=lambda row: str(getattr(row, master.key)).encode())


async def merge(
    connection: AsyncConnection, master: Master, tenant_id: UUID, fields: Sequence[str], rows: Sequence[dict[str, Any]]
) -> list[Row[Any]]:
    """Creates rows with distinct keys, or sets these fields of those that are there; the ones that changed, by key.

    Members of JSON objects are set one by one. A row that holds all of it already is left as it is, version included.
    """
    given = Master(master.table, master.key, {name: master.columns[name] for name in fields})
    found = await connection.execute(given.insert(_merged(given)), _parameters(tenant_id, rows))
    return sorted(found, key=lambda row: str(getattr(row, master.key)).encode())


def _merged(given: Master) -> str:
    new = {
        name: f"t.{name} || excluded.{name}" if k == "jsonb" else f"excluded.{name}"
        for name, k in given.columns.items()
    }
    if not new:
        return "do nothing"
    taken = ", ".join(f"{name} = {value}" for name, value in new.items())
    before, after = ", ".join(f"t.{name}" for name in new), ", ".join(new.values())
    return (
        f"do update set {taken}, version = t.version + 1, updated_at = greatest(excluded.updated_at, t.updated_at) "
        f"where ({before}) is distinct from ({after})"
    )


async def lock(connection: AsyncConnection, master: Master, tenant_id: UUID, code: str) -> Row[Any] | None:
    """The row, locked until the transaction ends; None when there is none."""
    return (await connection.execute(_select(master, "for update"), _key(tenant_id, code))).one_or_none()


async def get(connection: AsyncConnection, master: Master, tenant_id: UUID, code: str) -> Row[Any] | None:
    """The row as stored; None when there is none."""
    return (await connection.execute(_select(master, ""), _key(tenant_id, code))).one_or_none()


async def delete(connection: AsyncConnection, master: Master, tenant_id: UUID, code: str) -> bool:
    """Removes the row, holding its key until the transaction ends even where there was none; says whether there was.

    The key is held by inserting it first: a write of the same key that runs at the same moment comes either wholly
    before or wholly after, and so does its event.
    """
    remove = text(
        f"delete from gateway.{master.table} "  # noqa: S608 - names from our own code
        f"where tenant_id = :tenant and {master.key} = :code returning true"
    )
    while True:
        held = await insert_one(connection, master, tenant_id, _empty(master, code))
        if await connection.scalar(remove, _key(tenant_id, code)):
            return held is None
        # Somebody else removed, between the two statements, the row that stood there: nothing is held yet.


def _empty(master: Master, code: str) -> dict[str, Any]:
    needed = {"tags": [], "attributes": {}, "consents": {}, "active": True, "product_key": ""}
    return {master.key: code, **{name: value for name, value in needed.items() if name in master.columns}}


def _select(master: Master, suffix: str) -> TextClause:
    return text(
        f"select * from gateway.{master.table} "  # noqa: S608 - names from our own code
        f"where tenant_id = :tenant and {master.key} = :code {suffix}"
    )


def _key(tenant_id: UUID, code: str) -> dict[str, Any]:
    return {"tenant": tenant_id, "code": code}


def _parameters(tenant_id: UUID, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"tenant": tenant_id, "rows": orjson.dumps(rows).decode()}
