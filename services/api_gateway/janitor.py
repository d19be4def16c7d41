"""Housekeeping: expired tokens, answers and files go away, and closed tenants are erased after their grace period."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.api_gateway.file_store import FileStore, folder_of
from services.api_gateway.outgoing import master_data
from services.api_gateway.repository import erasure, imports
from services.api_gateway.repository import tenants as repository
from services.api_gateway.tenant_events import changed
from shared.db.engine import transaction
from shared.events.catalogue import CUSTOMERS, PRODUCT_ALIASES, PRODUCTS, Topic
from shared.messaging.outbox import insert_outbox
from shared.observability.logging import get_logger

CHUNK = 1_000
"""Rows deleted with their tombstones in one transaction."""
ERASED_NAME = "Erased tenant"
log = get_logger(__name__)


async def purge(engine: AsyncEngine) -> None:
    """Deletes expired refresh tokens and remembered answers."""
    async with transaction(engine) as connection:
        await connection.execute(text("select gateway.purge_expired()"))


async def delete_expired_files(engine: AsyncEngine, files: FileStore) -> None:
    """Deletes the stored files of imports that are due: their time is over, or their upload never ended."""
    async with transaction(engine) as connection:
        due = await imports.expired(connection, CHUNK)
    for row in due:
        await asyncio.to_thread(files.delete, folder_of(row.tenant_id, row.import_id))
        async with transaction(engine, tenant_id=row.tenant_id) as connection:
            await imports.files_gone(connection, row.tenant_id, row.import_id)


async def erase_closed(
    engine: AsyncEngine, grace_days: int, now: datetime | None = None, *, files: FileStore
) -> list[UUID]:
    """Erases every tenant that was closed more than `grace_days` days ago; the ids of those erased.

    Safe to interrupt and to run twice at once: each chunk is deleted together with its tombstones, and the tenant's
    own last event comes after all of them.
    """
    moment = (now or datetime.now(UTC)) - timedelta(days=grace_days)
    async with transaction(engine, operator=True) as connection:
        due = await repository.closed_before(connection, moment)
    for tenant_id in due:
        await asyncio.to_thread(files.delete, folder_of(tenant_id))
        await _erase(engine, tenant_id)
        log.info("tenant erased", tenant_id=tenant_id)
    return list(due)


async def _erase(engine: AsyncEngine, tenant_id: UUID) -> None:
    await _bury(engine, tenant_id, CUSTOMERS, erasure.take_customers)
    await _bury(engine, tenant_id, PRODUCTS, erasure.take_products)
    await _bury(engine, tenant_id, PRODUCT_ALIASES, erasure.take_aliases)
    async with transaction(engine, tenant_id=tenant_id) as connection:
        row = await repository.find(connection, tenant_id, lock=True)
        if row is None or row.status != "closed":
            return
        await erasure.remove_accounts(connection, tenant_id)
        await erasure.blank_events(connection, tenant_id)
        await imports.remove_all(connection, tenant_id)
        erased = await repository.change(connection, row, "system:janitor", {"status": "erased", "name": ERASED_NAME})
        await insert_outbox(connection, "gateway", [changed(erased)])


async def _bury(
    engine: AsyncEngine,
    tenant_id: UUID,
    topic: Topic,
    take: Callable[[AsyncConnection, UUID, int], Awaitable[list[str]]],
) -> None:
    """Deletes master data in chunks, each with a tombstone per key in the same transaction."""
    while True:
        async with transaction(engine, tenant_id=tenant_id) as connection:
            keys = await take(connection, tenant_id, CHUNK)
            await insert_outbox(
                connection,
                "gateway",
                [master_data(topic, topic.types[0], tenant_id, key, payload=None, request_id=None) for key in keys],
            )
        if len(keys) < CHUNK:
            return
