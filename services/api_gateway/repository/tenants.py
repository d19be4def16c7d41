"""Tenants, their settings and the history of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.tables import tenant, tenant_settings_history
from services.rfm_worker.tables import sale


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant as stored; `settings` as JSON."""

    tenant_id: UUID
    name: str
    status: str
    settings: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str
    closed_at: datetime | None


_COLUMNS = tuple(getattr(tenant.c, name) for name in TenantRow.__slots__)


def _row(row: Row[Any]) -> TenantRow:
    return TenantRow(**row._asdict())


async def add(
    connection: AsyncConnection, tenant_id: UUID, name: str, settings: Mapping[str, Any], by: str
) -> TenantRow:
    """A new active tenant in version 1, with the first entry of its settings' history."""
    values = {"tenant_id": tenant_id, "name": name, "status": "active", "settings": settings, "version": 1}
    row = (await connection.execute(insert(tenant).values(**values, updated_by=by).returning(*_COLUMNS))).one()
    stored = _row(row)
    await _remember(connection, stored)
    return stored


async def find(connection: AsyncConnection, tenant_id: UUID, *, lock: bool = False) -> TenantRow | None:
    """A tenant that this transaction may see; `lock` holds the row until its end."""
    query: Select[Any] = select(*_COLUMNS).where(tenant.c.tenant_id == tenant_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else _row(row)


async def page(
    connection: AsyncConnection, after: tuple[datetime, UUID] | None, limit: int, status: str | None = None
) -> Sequence[TenantRow]:
    """Tenants in the order of their creation."""
    query = select(*_COLUMNS).order_by(tenant.c.created_at, tenant.c.tenant_id).limit(limit)
    if status is not None:
        query = query.where(tenant.c.status == status)
    if after is not None:
        query = query.where(_after(after))
    return [_row(row) for row in await connection.execute(query)]


def _after(position: tuple[datetime, UUID]) -> Any:
    created, tenant_id = position
    return (tenant.c.created_at > created) | ((tenant.c.created_at == created) & (tenant.c.tenant_id > tenant_id))


async def change(connection: AsyncConnection, current: TenantRow, by: str, changes: Mapping[str, Any]) -> TenantRow:
    """Writes changes over a row that this transaction has locked; the version grows by one."""
    row = (
        await connection.execute(
            update(tenant)
            .where(tenant.c.tenant_id == current.tenant_id)
            .values(**changes, version=current.version + 1, updated_at=func.now(), updated_by=by)
            .returning(*_COLUMNS)
        )
    ).one()
    stored = _row(row)
    if stored.settings != current.settings:
        await _remember(connection, stored)
    return stored


async def _remember(connection: AsyncConnection, stored: TenantRow) -> None:
    await connection.execute(
        insert(tenant_settings_history).values(
            tenant_id=stored.tenant_id,
            version=stored.version,
            settings=stored.settings,
            changed_at=stored.updated_at,
            changed_by=stored.updated_by,
        )
    )


async def history(
    connection: AsyncConnection, tenant_id: UUID, before_version: int | None, limit: int
) -> Sequence[Row[Any, Any, Any, Any]]:
    """Versions of the settings, newest first: version, settings, changed_at, changed_by."""
    table = tenant_settings_history
    query = (
        select(table.c.version, table.c.settings, table.c.changed_at, table.c.changed_by)
        .where(table.c.tenant_id == tenant_id)
        .order_by(table.c.version.desc())
        .limit(limit)
    )
    if before_version is not None:
        query = query.where(table.c.version < before_version)
    return (await connection.execute(query)).all()


async def has_sales(connection: AsyncConnection, tenant_id: UUID) -> bool:
    """Whether the worker's ledger holds anything of this tenant."""
    return bool((await connection.execute(select(exists().where(sale.c.tenant_id == tenant_id)))).scalar())


async def closed_before(connection: AsyncConnection, moment: datetime) -> Sequence[UUID]:
    """Closed tenants whose grace period ended at `moment`; needs an operator's transaction."""
    query = select(tenant.c.tenant_id).where(tenant.c.status == "closed", tenant.c.closed_at <= moment)
    return (await connection.execute(query.order_by(tenant.c.closed_at))).scalars().all()
