"""The work on one file that needs no event loop: taken apart once, then one part after the other. Runs in threads."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from services.api_gateway.import_fields import KINDS
from services.api_gateway.importer import documents, flat, masters
from services.api_gateway.importer.records import Context, Made
from services.api_gateway.importer.sources import ROW, Batch, Reject, Source
from services.api_gateway.importer.spill import Spill, rejects_without_key
from services.api_gateway.importer.understanding import Understanding
from services.api_gateway.rejected_rows import lines, safe_cell

SAMPLE_ROWS = 200
SAMPLE_RECORDS = 5


class StoppedError(Exception):
    """The import is no longer this importer's to work on: it was paused, cancelled or taken over."""


@dataclass(slots=True)
class Reading:
    """What taking a file apart has shown so far."""

    rows: int = 0
    position: int = 0
    rejects: list[Reject] = field(default_factory=list)
    first: pl.DataFrame | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one part became, and the CSV lines of its rejected rows."""

    made: Made
    rejected: bytes


def take_apart(
    source: Source, understanding: Understanding, spill: Spill, *, reading: Reading, stop: threading.Event,
    look: Callable[[pl.DataFrame], None],
) -> None:  # fmt: skip
    """Divides the file into parts; `look` sees all rows.

    Raises:
        ImportRefusedError: the file cannot be read to its end.
        StoppedError: `stop` was set.
    """
    key = KINDS[understanding.kind].key

    def batches() -> Any:
        for batch in source.batches(understanding.mapping):
            named, nameless = rejects_without_key(batch.frame, key)
            yield Batch(named, [*batch.rejects, *nameless], batch.position)

    def seen(batch: Batch) -> None:
        if stop.is_set():
            raise StoppedError
        look(batch.frame)
        if reading.first is None or not reading.first.height:
            reading.first = batch.frame.head(SAMPLE_ROWS)
        reading.rows += batch.frame.height + len(batch.rejects)
        reading.rejects += batch.rejects
        reading.position = batch.position

    spill.fill(batches(), seen)


def make(spill: Spill, part: int, understanding: Understanding, context: Context, stop: threading.Event) -> Part:
    """Turns one part into what is to be published or stored.

    Raises:
        StoppedError: `stop` was set.
    """
    made, cells = Made(), bytearray()
    for frame, rejects in spill.load(part):
        if stop.is_set():
            raise StoppedError
        one = convert(frame, understanding, context)
        one.rejects = sorted([*rejects, *one.rejects], key=lambda reject: (reject.row, reject.field))
        cells += rejected_lines(frame, one.rejects, understanding.columns)
        one.records_rejected += len({reject.row for reject in rejects}) > 0
        made.add(one)
    return Part(made, bytes(cells))


def convert(frame: pl.DataFrame, understanding: Understanding, context: Context) -> Made:
    """What rows become that hold all rows of each record."""
    kind = understanding.kind
    if not frame.height:
        return Made()
    if kind in masters.SHAPES:
        return masters.from_rows(frame, masters.SHAPES[kind], context)
    if understanding.documents:
        return documents.from_documents(frame, documents.SHAPES[kind], context)
    return flat.from_rows(frame, documents.SHAPES[kind], context)


def sample_of(reading: Reading, understanding: Understanding, context: Context) -> list[Mapping[str, Any]]:
    """The first records as understood."""
    if reading.first is None:
        return []
    made = convert(reading.first, understanding, context)
    bodies = [orjson.loads(message.value or b"{}") for message in made.messages[:SAMPLE_RECORDS]]
    return [*bodies, *made.rows[:SAMPLE_RECORDS]]


def rejected_lines(frame: pl.DataFrame, rejects: list[Reject], columns: list[str]) -> bytes:
    """The lines of the file of rejected rows: row, field, reason, and the row's cells."""
    if not rejects:
        return b""
    wanted = pl.Series([reject.row for reject in rejects], dtype=pl.Int64).unique()
    found = frame.filter(pl.col(ROW).is_in(wanted.implode())).select(ROW, *columns) if frame.height else None
    cells = {} if found is None else {row: values for row, *values in found.iter_rows()}
    return lines(
        [
            str(reject.row), safe_cell(reject.field), safe_cell(reject.reason),
            *(safe_cell(value) for value in cells.get(reject.row, ())),
        ]
        for reject in rejects
    )  # fmt: skip
