"""CSV (RFC 4180) and NDJSON: rows become bytes."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import orjson

from services.api_gateway.repository.exports import Column, Kind, Rows

# What a spreadsheet would calculate: also behind white space or a quotation mark, and in full width.
_FORMULA = re.compile(r"[\s\"']*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


class FileFormat(Protocol):
    """Makes a file of rows, part by part; each call answers the bytes that are ready."""

    def begin(self) -> bytes:
        """What stands before the first row."""

    def add(self, rows: Rows) -> bytes:
        """Takes rows."""

    def end(self) -> bytes:
        """What stands behind the last row."""


def defused(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe goes before what would begin one."""
    return "'" + text if _FORMULA.match(text) else text


def _quoted(text: str) -> str:
    return '"' + defused(text).replace('"', '""') + '"'


def _plain(value: Any) -> str:
    return str(value)


_CELLS: dict[Kind, Callable[[Any], str]] = {
    "text": _quoted,
    "words": lambda words: _quoted(orjson.dumps(words).decode()),
    "json": _quoted,
    "integer": _plain,
    "money": lambda value: f"{value:.4f}",
    "sum": lambda value: f"{value:.4f}",
    "time": datetime.isoformat,
    "date": _plain,
    "boolean": lambda value: "true" if value else "false",
}


class Csv:
    """Commas, a header, CRLF, UTF-8. Texts are always quoted, numbers never, and an empty cell is null."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._header = ",".join(_quoted(column.name) for column in columns)
        self._cells = [_CELLS[column.kind] for column in columns]

    def begin(self) -> bytes:
        """The header."""
        return (self._header + "\r\n").encode()

    def add(self, rows: Rows) -> bytes:
        """One line a row."""
        return "".join([self._line(row) for row in rows]).encode()

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _line(self, row: Sequence[Any]) -> str:
        cells = ["" if value is None else cell(value) for cell, value in zip(self._cells, row, strict=True)]
        return ",".join(cells) + "\r\n"


class Ndjson:
    """One JSON object a line; decimals are strings, as in every answer of the API."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = [column.name for column in columns]
        self._json = [position for position, column in enumerate(columns) if column.kind == "json"]

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, rows: Rows) -> bytes:
        """One line a row."""
        return b"".join([orjson.dumps(self._object(row), _decimal, orjson.OPT_APPEND_NEWLINE) for row in rows])

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def _object(self, row: Sequence[Any]) -> dict[str, Any]:
        found = dict(zip(self._names, row, strict=True))
        for position in self._json:
            found[self._names[position]] = orjson.Fragment(row[position])
        return found


def _decimal(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:.4f}"
    raise TypeError(type(value).__name__)
