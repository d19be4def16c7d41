"""Rows divided into parts on disk by the key of their record: all rows of a sale end in one part, wherever they stood.

Each part is small enough to be worked on in memory, and is a step after which an interrupted import goes on.
"""

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from services.api_gateway.importer.sources import ROW, Batch, Reject
from shared.events.fields import MOST_LINES

PART_BYTES = 4 * 1024 * 1024
"""Of the uploaded file per part: some 50,000 lines, which is what an interrupted import repeats at most."""
PARQUET_EXPANSION = 5
"""Text that a Parquet file becomes, in times its own size."""
MOST_PARTS = 512
LARGEST_PART = 4 * PART_BYTES
"""Bytes of a part that is still loaded at once; a larger one is divided once more."""
MOST_ROWS_PER_KEY = MOST_LINES
ABANDONED_S = 24 * 3600.0
_DONE = "complete.json"
_READ_ROWS = 50_000
_SALTS = (0, 7919)
_PART = "__part"


def parts_for(size_bytes: int, format_: str) -> int:
    """How many parts a file of this size is divided into."""
    size = size_bytes * (PARQUET_EXPANSION if format_ == "parquet" else 1)
    return max(1, min(MOST_PARTS, -(-size // PART_BYTES)))


class Spill:
    """The parts of one import in a folder of this machine.

    Args:
        folder: belongs to this import alone.
        key: column that tells records apart.
        parts: how many.
    """

    def __init__(self, folder: Path, key: str, parts: int) -> None:
        self._folder, self._key, self.parts = folder, key, parts

    @property
    def complete(self) -> bool:
        """Whether an earlier run has left all parts here, whole."""
        try:
            sizes = json.loads((self._folder / _DONE).read_text())
            return bool(sizes == _sizes(self._folder)) and len(sizes) == self.parts
        except (OSError, ValueError):
            return False

    def fill(self, batches: Iterator[Batch], seen: Callable[[Batch], None]) -> None:
        """Divides all batches; `seen` is told of each one, and may raise to stop.

        The parts appear under their name when all are there: an importer that was thought dead and still writes
        cannot spoil those of its successor.
        """
        made = self._folder.with_name(f"{self._folder.name}-{uuid.uuid4().hex}")
        made.mkdir(parents=True, mode=0o700)
        try:
            with _Writers(made, self.parts) as writers:
                for batch in batches:
                    seen(batch)
                    writers.write(_numbered(batch.frame, self._key, self.parts, _SALTS[0]))
            (made / _DONE).write_text(json.dumps(_sizes(made)))
            shutil.rmtree(self._folder, ignore_errors=True)
            made.rename(self._folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def load(self, part: int) -> Iterator[tuple[pl.DataFrame, list[Reject]]]:
        """The rows of a part, in frames that hold whole records, with rejects of records that have too many rows."""
        path = _path(self._folder, part)
        if path.stat().st_size <= LARGEST_PART:
            yield _read(path), []
            return
        giants = self._giants(path)
        yield from self._divided(path, giants)

    def remove(self) -> None:
        """Deletes all parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _giants(self, path: Path) -> pl.Series:
        counts: pl.DataFrame | None = None
        for frame in _frames(path):
            more = frame.group_by(self._key).len()
            counts = more if counts is None else pl.concat([counts, more]).group_by(self._key).agg(pl.col("len").sum())
        assert counts is not None  # noqa: S101 - a large part has rows
        return counts.filter(pl.col("len") > MOST_ROWS_PER_KEY)[self._key]

    def _divided(self, path: Path, giants: pl.Series) -> Iterator[tuple[pl.DataFrame, list[Reject]]]:
        parts = -(-path.stat().st_size // PART_BYTES)
        folder = path.with_suffix(".divided")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with _Writers(folder, parts) as writers:
            for frame in _frames(path):
                giant = frame[self._key].is_in(giants.implode())
                rows = frame.filter(giant)
                if rows.height:
                    yield rows.clear(), [Reject(row, self._key, too_many()) for row in rows[ROW]]
                writers.write(_numbered(frame.filter(~giant), self._key, parts, _SALTS[1]))
        for number in range(parts):
            yield _read(_path(folder, number)), []
        shutil.rmtree(folder, ignore_errors=True)


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in sorted(folder.glob("part-*.arrow"))]


def remove_abandoned(work: Path, now: float) -> None:
    """Deletes what this machine keeps of files that nobody has worked on for a day; they can be divided again.

    Args:
        work: folder with one folder per import, touched whenever a part of it is finished.
        now: seconds since 1970.
    """
    for folder in work.glob("*"):
        with contextlib.suppress(OSError):
            if now - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)


def too_many() -> str:
    """The reason against a record with more rows than a record may have."""
    return f"stands in more than {MOST_ROWS_PER_KEY} rows"


class _Writers:
    """One Arrow stream per part, opened with the first rows that any of them gets."""

    def __init__(self, folder: Path, parts: int) -> None:
        self._folder, self._parts = folder, parts
        self._streams: list[pa.RecordBatchStreamWriter] = []
        self._open = ExitStack()

    def write(self, frame: pl.DataFrame) -> None:
        """Appends rows to the part that each one's number names."""
        if not self._streams:
            self._begin(frame.drop(_PART))
        for (part,), rows in frame.partition_by(_PART, as_dict=True, include_key=False).items():
            self._streams[part].write_table(_arrow(rows))

    def _begin(self, example: pl.DataFrame) -> None:
        schema = _arrow(example.clear()).schema
        for part in range(self._parts):
            file = self._open.enter_context(_path(self._folder, part).open("wb"))
            self._streams.append(self._open.enter_context(pa.ipc.new_stream(file, schema)))

    def __enter__(self) -> "_Writers":
        return self

    def __exit__(self, *_: Any) -> None:
        self._open.close()


def _numbered(frame: pl.DataFrame, key: str, parts: int, salt: int) -> pl.DataFrame:
    number = (pl.col(key).hash(salt) % parts).cast(pl.Int64)
    return frame.with_columns(number.alias(_PART))


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _path(folder: Path, part: int) -> Path:
    return folder / f"part-{part:05d}.arrow"


def _read(path: Path) -> pl.DataFrame:
    with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
        return pl.DataFrame(pl.from_arrow(stream.read_all()))


def _frames(path: Path) -> Iterator[pl.DataFrame]:
    """The rows of a part a few at a time."""
    waiting: list[Any] = []
    with path.open("rb") as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            waiting.append(batch)
            if sum(each.num_rows for each in waiting) >= _READ_ROWS:
                yield pl.DataFrame(pl.from_arrow(waiting))
                waiting = []
    if waiting:
        yield pl.DataFrame(pl.from_arrow(waiting))


def rejects_without_key(frame: pl.DataFrame, key: str) -> tuple[pl.DataFrame, Sequence[Reject]]:
    """Rows that name no record, apart from those that do."""
    nameless = frame.filter(pl.col(key).is_null())
    if not nameless.height:
        return frame, ()
    return frame.filter(pl.col(key).is_not_null()), [Reject(row, key, "is required") for row in nameless[ROW]]
