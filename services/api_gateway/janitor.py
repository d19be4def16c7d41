"""Housekeeping: expired tokens and answers go away, and closed tenants are erased after their grace period."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.repository import erasure
from services.api_gateway.repository import tenants as repository
from services.api_gateway.tenant_events import changed
from shared.db.engine import transaction
from shared.events.catalogue import CUSTOMERS, PRODUCTS
from shared.messaging.outbox import insert_outbox
from shared.messaging.record import Message
from shared.observability.logging import get_logger

CHUNK = 1_000
"""Rows deleted with their tombstones in one transaction."""
ERASED_NAME = "Erased tenant"
log = get_logger(__name__)


async def purge(engine: AsyncEngine) -> None:
    """Deletes expired refresh tokens and remembered answers."""
    async with transaction(engine) as connection:
        await connection.execute(text("select gateway.purge_expired()"))


async def erase_closed(engine: AsyncEngine, grace_days: int, now: datetime | None = None) -> list[UUID]:
    """Erases every tenant that was closed more than `grace_days` days ago; the ids of those erased.

    Safe to interrupt and to run twice at once: each chunk is deleted together with its tombstones, and the tenant's
    own last event comes after all of them.
    """
    moment = (now or datetime.now(UTC)) - timedelta(days=grace_days)
    async with transaction(engine, operator=True) as connection:
        due = await repository.closed_before(connection, moment)
    for tenant_id in due:
        await _erase(engine, tenant_id)
        log.info("tenant erased", tenant_id=tenant_id)
    return list(due)


async def _erase(engine: AsyncEngine, tenant_id: UUID) -> None:
    for topic, take in ((CUSTOMERS, erasure.take_customers), (PRODUCTS, erasure.take_products)):
        while True:
            async with transaction(engine, tenant_id=tenant_id) as connection:
                keys = await take(connection, tenant_id, CHUNK)
                tombstones = [Message(topic.name, f"{tenant_id}:{key}".encode(), None) for key in keys]
                await insert_outbox(connection, "gateway", tombstones)
            if len(keys) < CHUNK:
                break
    async with transaction(engine, tenant_id=tenant_id) as connection:
        row = await repository.find(connection, tenant_id, lock=True)
        if row is None or row.status != "closed":
            return
        await erasure.remove_accounts(connection, tenant_id)
        erased = await repository.change(
            connection, row, "system:janitor", {"status": "erased", "name": ERASED_NAME}
        )
        await insert_outbox(connection, "gateway", [changed(erased)])
