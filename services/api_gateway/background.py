"""What the process does beside requests. A failed round is logged and tried again at its next time."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from services.api_gateway import janitor
from services.api_gateway.dependencies import Services
from services.api_gateway.repository import api_keys
from shared.db.engine import transaction
from shared.observability.logging import get_logger

FIRST_ROUND_S = 5.0
log = get_logger(__name__)


async def run_background(services: Services) -> None:
    """Runs until it is cancelled; writes down the last uses of keys once more then."""
    settings = services.settings

    async def clean() -> None:
        await janitor.purge(services.engine)
        await janitor.delete_expired_files(services.engine, services.files)
        await janitor.erase_closed(services.engine, settings.grace_days, files=services.files)
        services.relay.notify()

    async def note() -> None:
        await note_last_used(services)

    await services.passwords.warm_up()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(settings.janitor_s, "janitor", clean, first_s=FIRST_ROUND_S))
            tasks.create_task(_every(settings.last_used_s, "last use of keys", note, first_s=settings.last_used_s))
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                await note_last_used(services)


async def note_last_used(services: Services) -> None:
    """Writes down when keys were last used, tenant by tenant, off the path of requests."""
    by_tenant: dict[UUID, dict[UUID, datetime]] = defaultdict(dict)
    for (tenant_id, key_id), used_at in services.keyring.take_used().items():
        by_tenant[tenant_id][key_id] = used_at
    for tenant_id, used in by_tenant.items():
        async with transaction(services.engine, tenant_id=tenant_id) as connection:
            await api_keys.touch(connection, used)


async def _every(period_s: float, name: str, work: Callable[[], Awaitable[None]], *, first_s: float) -> None:
    await asyncio.sleep(min(first_s, period_s))
    while True:
        try:
            await work()
        except Exception as error:
            log.warning("background round failed", round=name, error=type(error).__name__)
        await asyncio.sleep(period_s)
