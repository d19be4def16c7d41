"""Parquet: read a batch of rows at a time; its types become text as people would write it."""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars import selectors

from services.api_gateway.importer.sources import (
    BATCH_ROWS,
    MOST_COLUMNS,
    ROW,
    Batch,
    ImportRefusedError,
    check_header,
    check_mapping,
    tidy,
)

LARGEST_FOOTER = 16 * 1024 * 1024
MOST_ROWS = 100_000_000
MOST_EXPANSION = 200
"""Times the size of the file that its content may take by its own account: real data reach 5 to 30."""
SMALL = 64 * 1024 * 1024
"""Bytes of content that are never too many, however small the file is."""
READ_BYTES = 1024 * 1024
"""Of a column that are read at once; without it a row group is held whole."""
_TAIL = 8


class ParquetSource:
    """A Parquet file with columns of plain types.

    Raises:
        ImportRefusedError: it cannot be read, or its content is out of proportion to its size.
    """

    documents = False

    def __init__(self, path: Path) -> None:
        _check_footer(path)
        try:
            self._file = pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ImportRefusedError("The file is no Parquet file that can be read, or is cut off.") from error
        self._check_size(path)
        self._schema = self._file.schema_arrow
        self.header = check_header(self._schema.names)
        self.settings: dict[str, str] = {}

    def batches(self, mapping: Mapping[str, str]) -> Iterator[Batch]:
        """All rows; the first one is row 1."""
        check_mapping(mapping, self.header)
        for column in mapping:
            _check_type(column, self._schema.field(self.header.index(column)).type)
        names = {self._schema.names[self.header.index(column)]: name for column, name in mapping.items()}
        done = 0
        try:
            for table in self._file.iter_batches(BATCH_ROWS, columns=list(names)):
                frame = _as_text(pl.DataFrame(pl.from_arrow(table)).rename(names))
                numbers = pl.Series(ROW, range(done + 1, done + frame.height + 1), dtype=pl.Int64)
                done += frame.height
                yield Batch(tidy(frame).insert_column(0, numbers), [], done)
        except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
            raise ImportRefusedError(f"The file cannot be read further after row {done}.") from error

    def _check_size(self, path: Path) -> None:
        about = self._file.metadata
        content = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        if content > max(SMALL, MOST_EXPANSION * path.stat().st_size) or about.num_rows > MOST_ROWS:
            raise ImportRefusedError("The content of the file is out of proportion to its size.")
        if about.num_columns > MOST_COLUMNS:
            raise ImportRefusedError(f"The file has {about.num_columns} columns; at most {MOST_COLUMNS} are taken.")


def _check_footer(path: Path) -> None:
    """A footer of absurd size would be read whole before anything else is known."""
    with path.open("rb") as file:
        file.seek(-_TAIL, 2)
        (length,) = struct.unpack("<I", file.read(_TAIL)[:4])
    if length > LARGEST_FOOTER:
        raise ImportRefusedError("The file describes itself at such length that it is not read: too many columns?")


def _check_type(column: str, kind: pa.DataType) -> None:
    plain = (
        pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer,
        pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_date, pa.types.is_timestamp,
        pa.types.is_null,
    )  # fmt: skip
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not any(check(value) for check in plain):
        raise ImportRefusedError(
            f"Column {column[:100]} is of type {str(kind)[:100]}; texts, numbers, dates and times are taken."
        )


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Whole numbers without a fraction, dates and times in ISO 8601; times with a zone end with Z."""
    whole = selectors.float().cast(pl.String).str.strip_suffix(".0")
    frame = frame.with_columns(whole, selectors.date().dt.strftime("%Y-%m-%d"))
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    frame = frame.with_columns(_moment(pl.col(name).dt.convert_time_zone("UTC"), "Z").alias(name) for name in zoned)
    naive = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    frame = frame.with_columns(_moment(pl.col(name), "").alias(name) for name in naive)
    return frame.with_columns(pl.all().cast(pl.String))


def _moment(column: pl.Expr, suffix: str) -> pl.Expr:
    exact = column.dt.cast_time_unit("us")
    seconds, micros = f"%Y-%m-%dT%H:%M:%S{suffix}", f"%Y-%m-%dT%H:%M:%S%.6f{suffix}"
    return pl.when(exact.dt.microsecond() == 0).then(exact.dt.strftime(seconds)).otherwise(exact.dt.strftime(micros))
