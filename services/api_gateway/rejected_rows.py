"""The CSV file of rejected rows: what is wrong with each, and its cells, none of which can start a formula."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIRST = ("row", "field", "reason")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
LONGEST_CELL = 1_000


def safe_cell(value: str | None) -> str:
    """A cell that no spreadsheet takes for a formula, cut to a length that it can show."""
    text = (value or "")[:LONGEST_CELL]
    return f"'{text}" if text.startswith(_FORMULA) else text


def first_line(understood: Mapping[str, Any] | None) -> bytes:
    """The header: what is wrong, then the columns of the file that are used."""
    columns = [] if understood is None else [name for name in understood["header"] if name in understood["mapping"]]
    return lines([[*FIRST, *(safe_cell(column) for column in columns)]])


def lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows of cells as CSV in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")
