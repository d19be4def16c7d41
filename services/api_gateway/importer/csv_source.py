"""CSV: encoding, separator and header are found out; a row that does not fit the header rejects itself alone."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import polars as pl

from services.api_gateway.importer.sources import (
    BATCH_ROWS,
    LONGEST_ROW,
    ROW,
    Batch,
    ImportRefusedError,
    Reject,
    check_header,
    check_mapping,
    tidy,
)

DELIMITERS = {",": ",", ";": ";", "tab": "\t", "|": "|"}
CHECK_BYTES = 4 * 1024 * 1024
_CODECS = {"utf-8": "utf-8-sig", "windows-1252": "cp1252"}
HEADER_ROW = 1


class CsvSource:
    """A CSV file.

    Args:
        path: where it lies.
        delimiter: one of `DELIMITERS`; found from the header when None.
        encoding: utf-8 or windows-1252; when None UTF-8 if all of the file is, else Windows-1252.

    Raises:
        ImportRefusedError: its encoding or its header is of no use.
    """

    documents = False

    def __init__(self, path: Path, *, delimiter: str | None, encoding: str | None) -> None:
        csv.field_size_limit(LONGEST_ROW)
        self._path = path
        encoding = check_encoding(path, encoding)
        self._codec = _CODECS[encoding]
        with self._open() as text:
            first = _first_line(text)
        delimiter = delimiter or _delimiter_of(first)
        self._delimiter = DELIMITERS[delimiter]
        with self._open() as text:
            self.header = check_header(self._header(text))
        self.settings = {"delimiter": delimiter, "encoding": encoding}

    def batches(self, mapping: Mapping[str, str]) -> Iterator[Batch]:
        """All rows; the header is row 1."""
        check_mapping(mapping, self.header)
        places = [(self.header.index(column), field) for column, field in mapping.items()]
        with self._path.open("rb") as file, self._text(file) as text:
            rows = self._reader(text)
            number = HEADER_ROW
            while next(rows, None) == []:
                number += 1  # blank lines above the header
            waiting: list[list[str]] = []
            numbers: list[int] = []
            rejects: list[Reject] = []
            for cells in self._counted(rows):
                number += 1
                reason = self._fit(cells)
                if reason is None:
                    waiting.append(cells)
                    numbers.append(number)
                elif reason:
                    rejects.append(Reject(number, "", reason))
                if len(waiting) + len(rejects) >= BATCH_ROWS:
                    yield Batch(_frame(waiting, numbers, places), rejects, file.tell())
                    waiting, numbers, rejects = [], [], []
            yield Batch(_frame(waiting, numbers, places), rejects, file.tell())

    def _fit(self, cells: list[str]) -> str | None:
        """None for a row that fits, an empty reason for a blank line."""
        if not (cells and cells[0].strip()) and not any(map(str.strip, cells)):
            return ""
        width = len(self.header)
        if len(cells) > width and not any(cells[width:]):
            del cells[width:]
        if len(cells) != width:
            return f"has {len(cells)} cells, and the header has {width}"
        if cells == self._raw_header:
            return "repeats the header"
        return None

    def _header(self, text: io.TextIOWrapper) -> list[str]:
        for cells in self._counted(self._reader(text)):
            if cells:
                while len(cells) > 1 and not cells[-1].strip():
                    cells.pop()  # a separator at the end of each line
                self._raw_header = list(cells)
                return cells
        raise ImportRefusedError("The file has no header.")

    def _reader(self, text: io.TextIOWrapper) -> Iterator[list[str]]:
        """The rows; a quotation mark that is never closed would take everything behind it for one cell.

        Raises:
            csv.Error: a row of several lines in which one is left open.
        """
        marks, lines = 0, 0

        def counted() -> Iterator[str]:
            nonlocal marks, lines
            for line in _short_lines(text):
                marks, lines = marks + line.count('"'), lines + 1
                yield line

        for cells in csv.reader(counted(), delimiter=self._delimiter):
            if lines > 1 and marks % 2:
                raise csv.Error("open quotation mark")
            marks, lines = 0, 0
            yield cells

    def _counted(self, rows: Iterator[list[str]]) -> Iterator[list[str]]:
        number = 0
        try:
            for number, cells in enumerate(rows, start=1):  # noqa: B007 - for the message
                yield cells
        except csv.Error:
            raise ImportRefusedError(
                f"After {number} rows comes one that never ends: is a quotation mark not closed?"
            ) from None

    def _open(self) -> io.TextIOWrapper:
        return self._text(self._path.open("rb"))

    def _text(self, file: IO[bytes]) -> io.TextIOWrapper:
        return io.TextIOWrapper(file, encoding=self._codec, newline="")


def check_encoding(path: Path, wanted: str | None) -> str:
    """The encoding of a file, which all of it follows.

    Raises:
        ImportRefusedError: it does not follow the wanted one, or neither.
    """
    if wanted is None:
        return "utf-8" if _wrong_byte(path, "utf-8") is None else check_encoding(path, "windows-1252")
    place = _wrong_byte(path, _CODECS[wanted])
    if place is not None:
        raise ImportRefusedError(f"Byte {place} is not {wanted.capitalize()}: name the file's encoding.")
    return wanted


def _wrong_byte(path: Path, codec: str) -> int | None:
    """Place of the first byte that the codec does not know; None when it knows all."""
    seen, reader = 0, codecs.getincrementaldecoder(codec)()
    with path.open("rb") as file:
        while block := file.read(CHECK_BYTES):
            try:
                reader.decode(block)
            except UnicodeDecodeError as error:
                return max(0, seen + error.start)
            seen += len(block)
    try:
        reader.decode(b"", final=True)
    except UnicodeDecodeError:
        return seen
    return None


def _first_line(text: io.TextIOWrapper) -> str:
    for line in _short_lines(text):
        if line.strip():
            return line
    raise ImportRefusedError("The file is empty.")


def _short_lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LONGEST_ROW):
        if len(line) >= LONGEST_ROW:
            raise ImportRefusedError(f"A row is longer than {LONGEST_ROW} characters.")
        yield line


def _delimiter_of(line: str) -> str:
    """The separator that parts the header into most columns; a comma where there is only one column."""
    width = {name: len(next(csv.reader([line], delimiter=mark), [])) for name, mark in DELIMITERS.items()}
    return max(width, key=lambda name: width[name])


def _frame(rows: list[list[str]], numbers: list[int], places: list[tuple[int, str]]) -> pl.DataFrame:
    columns = {field: [cells[place] for cells in rows] for place, field in places}
    frame = pl.DataFrame(columns, schema={field: pl.String for _, field in places})
    return tidy(frame).insert_column(0, pl.Series(ROW, numbers, dtype=pl.Int64))
