"""Where what was made of a file goes: facts to Kafka, master data into its tables together with its events."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.api_gateway.consistency_token import positions_of
from services.api_gateway.importer import masters
from services.api_gateway.importer.parts import StoppedError
from services.api_gateway.importer.records import Made
from services.api_gateway.master_writes import PRODUCTS_KIND, announcements
from services.api_gateway.repository import master_data
from services.api_gateway.repository.product_aliases import aliases_among, share_aliases
from shared.db.engine import transaction
from shared.messaging.errors import BrokerUnavailable, Transient
from shared.messaging.outbox import insert_outbox
from shared.messaging.producer import EventProducer
from shared.messaging.record import Message, RecordMetadata
from shared.observability import metrics
from shared.observability.logging import get_logger

CHUNK = 1_000
"""Events handed over at once, or rows stored in one transaction."""
LONGEST_PAUSE_S = 10.0
log = get_logger(__name__)


@dataclass(slots=True)
class Told:
    """What came of it: entries of a consistency token, and how many rows were stored just so already."""

    positions: list[dict[str, Any]] = field(default_factory=list)
    unchanged: int = 0


class Outlet:
    """Publishes and stores. Doing it twice changes nothing."""

    def __init__(self, engine: AsyncEngine, producer: EventProducer) -> None:
        self._engine, self._producer = engine, producer

    async def tell(self, job: Row[Any], made: Made, stop: threading.Event) -> Told:
        """Returns once the broker has acknowledged all events, and all rows are committed.

        Raises:
            StoppedError: `stop` was set meanwhile; some of it may be done.
        """
        told = Told()
        last: list[RecordMetadata] = []
        for start in range(0, len(made.messages), CHUNK):
            last += await self._publish(made.messages[start : start + CHUNK], stop)
        told.positions = positions_of(last)
        if last:
            metrics.EVENTS_ACCEPTED.labels(made_type(job.kind)).inc(len(last))
        for fields, rows in _by_fields(made.rows).items():
            for start in range(0, len(rows), CHUNK):
                if stop.is_set():
                    raise StoppedError
                await self._store(job, fields, rows[start : start + CHUNK], told)
        return told

    async def _publish(self, messages: Sequence[Message], stop: threading.Event) -> list[RecordMetadata]:
        """Waits for a broker that is away, for as long as the import is ours."""
        pause_s = 0.5
        while not stop.is_set():
            try:
                return await self._producer.publish_many(messages)
            except BrokerUnavailable:
                log.warning("import waits for the broker")
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        raise StoppedError

    async def _store(
        self, job: Row[Any], fields: tuple[str, ...], rows: Sequence[Mapping[str, Any]], told: Told
    ) -> None:
        kind = masters.SHAPES[job.kind].kind
        async with transaction(self._engine, tenant_id=job.tenant_id) as connection:
            if kind is PRODUCTS_KIND:
                await _refuse_new_aliases(connection, job.tenant_id, rows)
            changed = await master_data.merge(
                connection, kind.master, job.tenant_id, [name for name in fields if name != kind.master.key],
                [dict(row) for row in rows],
            )  # fmt: skip
            messages = announcements(
                kind, job.tenant_id, changed, request_id=job.request_id, backfill=bool(job.options.get("backfill"))
            )
            ids = await insert_outbox(connection, "gateway", messages)
        told.unchanged += len(rows) - len(changed)
        if ids:
            told.positions = [{"x": max(ids)}]


class AliasesChangedError(Transient):
    """A key of the file became an alias after the part was made: made again, it refuses that row with its reason."""


async def _refuse_new_aliases(connection: AsyncConnection, tenant_id: UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    await share_aliases(connection, tenant_id)
    if await aliases_among(connection, tenant_id, [row["product_key"] for row in rows]):
        raise AliasesChangedError


def made_type(kind: str) -> str:
    """The type of the events of a file of facts."""
    return {"sales": "sale.recorded.v1", "returns": "sale.returned.v1"}[kind]


def _by_fields(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Rows that set the same fields, together: one statement sets those and leaves all others."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(sorted(row))].append(row)
    return found
