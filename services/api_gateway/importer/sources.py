"""Files as batches of rows of text, whatever their format; nothing of a file is held but the batch being made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

BATCH_ROWS = 20_000
LONGEST_ROW = 4 * 1024 * 1024
"""Characters of one row; 500 lines of a sale with long labels take a tenth of it."""
MOST_COLUMNS = 1_000
ROW = "row"
DOCUMENT = "document"
"""The column of a record that is already a body of the REST API, as JSON text."""


class ImportRefusedError(Exception):
    """The file as a whole cannot be imported. The message says why, in words for people, without its content."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One reason against one row. `field` is ours, empty for the row as a whole."""

    row: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows: `row` (int64) and a text column per mapped field, null where a cell is blank."""

    frame: pl.DataFrame
    rejects: list[Reject] = field(default_factory=list)
    position: int = 0
    """Bytes (Parquet: rows) read so far."""


class Source(Protocol):
    """An opened file."""

    header: list[str]
    """Columns of the file."""
    settings: dict[str, str]
    """How it is read, as found or as told."""
    documents: bool
    """Whether its records are bodies of the REST API, which need no mapping."""

    def batches(self, mapping: Mapping[str, str]) -> Iterator[Batch]:
        """All rows in order, with columns renamed by `mapping` (column -> field).

        Raises:
            ImportRefusedError: the file breaks off or cannot be read further.
        """


def check_header(header: Sequence[str]) -> list[str]:
    """The columns, when they can be told apart.

    Raises:
        ImportRefusedError: there are too many, a name stands twice, or there is none.
    """
    if len(header) > MOST_COLUMNS:
        raise ImportRefusedError(f"The file has {len(header)} columns; at most {MOST_COLUMNS} are taken.")
    names = [name.strip() for name in header]
    if not any(names):
        raise ImportRefusedError("The file has no header.")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ImportRefusedError(f"The header names a column twice: {', '.join(twice)[:200]}.")
    return names


def check_mapping(mapping: Mapping[str, str], header: Sequence[str]) -> None:
    """Refuses a mapping of columns that are not there.

    Raises:
        ImportRefusedError: names them.
    """
    missing = sorted(set(mapping) - set(header))
    if missing:
        raise ImportRefusedError(f"The mapping names columns that the file does not have: {', '.join(missing)[:200]}.")


def tidy(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns without blanks at their ends; what is blank becomes null."""
    text = pl.selectors.string().str.strip_chars()
    cleaned = frame.with_columns(text)
    empty = pl.selectors.string()
    return cleaned.with_columns(pl.when(empty != "").then(empty))
