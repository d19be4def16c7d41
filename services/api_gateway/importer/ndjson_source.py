"""NDJSON: one JSON object per line, either flat (a row of a table) or a whole body of the REST API."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from services.api_gateway.importer.csv_source import check_encoding
from services.api_gateway.importer.sources import (
    BATCH_ROWS,
    DOCUMENT,
    LONGEST_ROW,
    ROW,
    Batch,
    ImportRefusedError,
    Reject,
    check_header,
    check_mapping,
    tidy,
)

HEADER_ROWS = 1_000
"""Records whose names make the header: JSON has none of its own."""


class NdjsonSource:
    """An NDJSON file.

    Args:
        path: where it lies.
        key: field that tells records apart.
        nested: member whose presence in the first record makes all of them whole bodies; None where the key does.

    Raises:
        ImportRefusedError: it is not UTF-8, or its first record is no object.
    """

    def __init__(self, path: Path, *, key: str, nested: str | None, encoding: str | None) -> None:
        if encoding not in (None, "utf-8"):
            raise ImportRefusedError("NDJSON is UTF-8.")
        check_encoding(path, "utf-8")
        self._path, self._key = path, key
        names, first = self._names()
        self.documents = isinstance(first.get(nested), list) if nested is not None else key in first
        self.header = check_header(names)
        self.settings = {"encoding": "utf-8"}

    def batches(self, mapping: Mapping[str, str]) -> Iterator[Batch]:
        """All rows; the first line is row 1."""
        if not self.documents:
            check_mapping(mapping, self.header)
        fields = {self._key: self._key, DOCUMENT: DOCUMENT} if self.documents else dict(mapping)
        taken = _Taken(fields)
        with self._path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                record = line.strip()
                if record:
                    self._take(taken, number, record)
                if taken.full:
                    yield taken.batch(file.tell())
                    taken = _Taken(fields)
            yield taken.batch(file.tell())

    def _take(self, taken: "_Taken", number: int, line: bytes) -> None:
        try:
            record = _parse(line)
        except (ValueError, RecursionError):
            taken.reject(number, "", "is not valid JSON")
            return
        if not isinstance(record, dict):
            taken.reject(number, "", "must be a JSON object")
        elif self.documents:
            key = record.get(self._key)
            taken.add(number, {self._key: str(key) if isinstance(key, str | _Number) else "", DOCUMENT: line.decode()})
        else:
            taken.add(number, record)

    def _names(self) -> tuple[list[str], dict[str, Any]]:
        names: dict[str, None] = {}
        first: dict[str, Any] | None = None
        with self._path.open("rb") as file:
            for line in islice(_lines(file), HEADER_ROWS):
                try:
                    record = _parse(line) if line.strip() else None
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict):
                    first = record if first is None else first
                    names |= dict.fromkeys(record)
        if first is None:
            raise ImportRefusedError(f"None of the first {HEADER_ROWS} lines is a JSON object.")
        return list(names), first


class _Number(str):
    """A JSON number as it was written: binary fractions would change it."""

    __slots__ = ()


def _parse(line: bytes) -> Any:
    return json.loads(line, parse_float=_Number, parse_int=_Number)


def _lines(file: Any) -> Iterator[bytes]:
    first = True
    while line := file.readline(LONGEST_ROW):
        if len(line) >= LONGEST_ROW:
            raise ImportRefusedError(f"A line is longer than {LONGEST_ROW} bytes.")
        yield line.removeprefix(b"\xef\xbb\xbf") if first else line
        first = False


@dataclass(slots=True)
class _Taken:
    """The batch being made."""

    mapping: Mapping[str, str]
    numbers: list[int] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.rejects) >= BATCH_ROWS

    def add(self, number: int, record: Mapping[str, Any]) -> None:
        cells: list[str | None] = []
        for column, name in self.mapping.items():
            value = record.get(column)
            if isinstance(value, dict | list):
                self.reject(number, name, "must be a text, a number, true or false")
                return
            cells.append(_text(value))
        self.numbers.append(number)
        self.rows.append(cells)

    def reject(self, number: int, name: str, reason: str) -> None:
        self.rejects.append(Reject(number, name, reason))

    def batch(self, position: int) -> Batch:
        schema = dict.fromkeys(self.mapping.values(), pl.String)
        frame = pl.DataFrame(self.rows, schema=schema, orient="row")
        return Batch(tidy(frame).insert_column(0, pl.Series(ROW, self.numbers, dtype=pl.Int64)), self.rejects, position)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).encode("utf-8", "replace").decode()
