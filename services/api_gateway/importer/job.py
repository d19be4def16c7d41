"""One import from its file to its events: understood, taken apart, then part after part published and written down."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.file_store import FileStore, rejected_of, source_of
from services.api_gateway.import_fields import KINDS
from services.api_gateway.importer.outlet import Outlet
from services.api_gateway.importer.parts import (
    Part,
    Reading,
    StoppedError,
    make,
    rejected_lines,
    sample_of,
    take_apart,
)
from services.api_gateway.importer.records import Context
from services.api_gateway.importer.sources import ImportRefusedError, Reject, Source
from services.api_gateway.importer.spill import Spill, parts_for
from services.api_gateway.importer.understanding import (
    NotUnderstoodError,
    Understanding,
    notation_from,
    notation_of,
    open_source,
    settings_of,
    understand,
)
from services.api_gateway.importer.values import Notation
from services.api_gateway.repository import imports as repository
from services.api_gateway.repository.product_aliases import aliases_among
from services.api_gateway.tenant_cache import TenantState
from shared.db.engine import transaction
from shared.messaging import faults
from shared.observability import metrics

MOST_ERRORS = 100
"""Errors that the import itself shows; the file of rejected rows has all."""
SAVE_EVERY_S = 2.0
DIVISION = f"polars {pl.__version__}"
"""Rows are divided by Polars' hash, which is the same for one version only."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """What an importer has to work with."""

    engine: AsyncEngine
    files: FileStore
    outlet: Outlet
    folder: Path
    beat: Callable[[], None]
    """Called whenever something went forward."""


class Job:
    """One claimed import.

    Args:
        place: where and with what.
        row: the claimed row.
        tenant: whose it is.
        stop: set when the import is no longer this importer's.
    """

    def __init__(self, place: Workplace, row: Row[Any], tenant: TenantState, stop: threading.Event) -> None:
        self._place, self._row, self._tenant, self._stop = place, row, tenant, stop
        self._options: Mapping[str, Any] = row.options
        self._folder = place.folder / str(row.import_id)
        self._counts: dict[str, int] = dict(row.counts)
        self._errors: list[dict[str, Any]] = list(row.errors)
        self._positions: list[dict[str, Any]] = list(row.positions)
        self._done: int = row.parts_done
        self._aliases: Mapping[str, str] = {}

    async def run(self) -> None:
        """Works until the import is complete.

        Raises:
            ImportRefusedError: the file cannot be imported.
            StoppedError: the import is no longer this importer's.
        """
        row = self._row
        try:
            path = await asyncio.to_thread(
                self._place.files.fetch, source_of(row.tenant_id, row.import_id), self._folder / "source"
            )
        except FileNotFoundError:
            raise ImportRefusedError("The stored file is gone.") from None
        source, understanding = await self._understand(path)
        if row.kind == "products":
            async with transaction(self._place.engine, tenant_id=row.tenant_id) as connection:
                self._aliases = await aliases_among(connection, row.tenant_id)
        spill = Spill(self._folder / "parts", KINDS[row.kind].key, parts_for(row.size_bytes, row.format))
        context = await self._take_apart(source, understanding, spill)
        await self._all_parts(spill, understanding, context)

    def clean_up(self) -> None:
        """Removes what this machine keeps of the file."""
        Spill(self._folder, "", 0).remove()

    async def _understand(self, path: Path) -> tuple[Source, Understanding]:
        def look() -> tuple[Source, Understanding]:
            wanted = self._options.get("mapping", {})
            source = open_source(path, self._row.format, self._row.kind, self._options, mapped=bool(wanted))
            return source, understand(source, self._row.kind, wanted)

        try:
            source, understanding = await asyncio.to_thread(look)
        except NotUnderstoodError as error:
            await self._save(understood=error.understanding.as_json({}))
            raise
        if self._row.understood is None:
            await self._save(understood=understanding.as_json(source.settings))
        return source, understanding

    async def _take_apart(self, source: Source, understanding: Understanding, spill: Spill) -> Context:
        plan = f"{DIVISION}, {spill.parts} parts"
        begun = self._row.parts is not None and self._row.plan == plan
        if begun and spill.complete:
            return self._context(notation_from(self._row.understood["settings"]))
        reading, evidence = Reading(), understanding.evidence()
        work = asyncio.to_thread(
            take_apart, source, understanding, spill, reading=reading, stop=self._stop, look=evidence.add
        )
        await self._watched(work, reading)
        context = self._context(notation_of(evidence, self._options, self._tenant.settings.timezone))
        if not begun:
            opened = {"plan": plan, "parts": spill.parts, "parts_done": 0}
            settings = settings_of(source.settings, context.notation)
            await self._save(
                **await self._begin(understanding, reading, context),
                **opened,
                understood=understanding.as_json(settings),
            )
        return context

    async def _watched(self, work: Awaitable[None], reading: Reading) -> None:
        """Waits for the file to be taken apart, and writes down how far it is."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait([task], timeout=SAVE_EVERY_S))[0]:
                self._place.beat()
                if self._row.parts is None:
                    await self._save(counts={**self._counts, "rows": reading.rows, "bytes_read": reading.position})
        finally:
            if not task.done():
                self._stop.set()
                await asyncio.gather(task, return_exceptions=True)
        await task

    async def _begin(self, understanding: Understanding, reading: Reading, context: Context) -> dict[str, Any]:
        """What is known once the file is taken apart: from here on an importer goes on with the next part."""
        rejected = rejected_lines(pl.DataFrame(), reading.rejects, [])
        await self._store_rejected(0, rejected)
        self._counts = {"rows": reading.rows, "bytes_read": self._row.size_bytes}
        self._errors, self._positions, self._done = [], [], 0
        self._note(understanding, reading.rejects)
        sample = None
        if self._options.get("dry_run"):
            sample = await asyncio.to_thread(sample_of, reading, understanding, context)
        return {"counts": self._counts, "errors": self._errors, "positions": [], "sample": sample, "attempts": 0}

    async def _all_parts(self, spill: Spill, understanding: Understanding, context: Context) -> None:
        """Publishes each part while the next one is being made."""

        def begin(part: int) -> "asyncio.Task[Part]":
            return asyncio.create_task(asyncio.to_thread(make, spill, part, understanding, context, self._stop))

        coming = begin(self._done) if self._done < spill.parts else None
        try:
            for part in range(self._done, spill.parts):
                assert coming is not None  # noqa: S101 - begun for every part that is left
                ready = await coming
                coming = begin(part + 1) if part + 1 < spill.parts else None
                await self._finish_part(part, ready, understanding)
        finally:
            if coming is not None:
                self._stop.set()
                await asyncio.gather(coming, return_exceptions=True)

    async def _finish_part(self, part: int, ready: Part, understanding: Understanding) -> None:
        made = ready.made
        await self._store_rejected(part + 1, ready.rejected)
        if not self._options.get("dry_run"):
            told = await self._place.outlet.tell(self._row, made, self._stop)
            self._positions = merged(self._positions, told.positions)
            self._add("unchanged", told.unchanged)
        self._add("records", made.records)
        self._add("records_rejected", made.records_rejected)
        self._note(understanding, made.rejects)
        faults.reach("before_checkpoint")
        self._done = part + 1
        await self._save(
            parts_done=self._done, counts=self._counts, errors=self._errors, positions=self._positions, attempts=0
        )
        self._folder.touch()  # it is not abandoned
        metrics.IMPORT_PARTS.inc()
        self._place.beat()

    def _context(self, notation: Notation) -> Context:
        row, settings = self._row, self._tenant.settings
        return Context(
            tenant_id=row.tenant_id,
            accepted_at=row.accepted_at,
            request_id=row.request_id,
            backfill=bool(self._options.get("backfill")),
            currency=settings.currency,
            notation=notation,
            default_currency=self._options.get("currency"),
            channel=self._options.get("channel") or "store",
            aliases=self._aliases,
        )

    def _note(self, understanding: Understanding, rejects: Sequence[Reject]) -> None:
        """Counts rejected rows, and keeps the first errors for those who ask how it goes."""
        self._add("rows_rejected", len({reject.row for reject in rejects}))
        columns = {name: column for column, name in understanding.mapping.items()}
        for reject in rejects[: MOST_ERRORS - len(self._errors)]:
            self._errors.append({**asdict(reject), "column": columns.get(reject.field)})

    def _add(self, name: str, count: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + count

    async def _store_rejected(self, part: int, content: bytes) -> None:
        if content:
            key = rejected_of(self._row.tenant_id, self._row.import_id, part)
            await asyncio.to_thread(self._place.files.write, key, content)

    async def _save(self, **values: Any) -> None:
        async with transaction(self._place.engine, tenant_id=self._row.tenant_id) as connection:
            if self._stop.is_set() or not await repository.save(connection, self._row, values):
                raise StoppedError


def merged(known: Sequence[Mapping[str, Any]], more: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Entries of a consistency token, the last of each place."""
    last: dict[Any, dict[str, Any]] = {}
    for entry in (*known, *more):
        place = (entry["t"], entry["p"]) if "t" in entry else "outbox"
        if place not in last or entry.get("o", entry.get("x")) > last[place].get("o", last[place].get("x")):
            last[place] = dict(entry)
    return list(last.values())
