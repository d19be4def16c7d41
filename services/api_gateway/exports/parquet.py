"""Parquet: rows become row groups that leave as soon as they are full.

Nothing of this is imported before the first such export: the library takes more memory than the rest of the gateway.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.api_gateway.repository.exports import Column, Kind, Rows

ROWS_OF_A_GROUP = 32_768
"""Small enough for memory that does not grow, large enough for readers that skip whole groups."""

TYPES: dict[Kind, Callable[[], pa.DataType]] = {
    "text": pa.string,
    "words": lambda: pa.list_(pa.string()),
    "json": pa.string,
    "integer": pa.int32,
    "money": lambda: pa.decimal128(18, 4),
    "sum": lambda: pa.decimal128(38, 4),
    "time": lambda: pa.timestamp("us", tz="UTC"),
    "date": pa.date32,
    "boolean": pa.bool_,
}


class _Sink(io.RawIOBase):
    """A file that forgets what was taken from it."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self._parts = b"".join(self._parts), []
        return taken


class Parquet:
    """A Parquet file, compressed with zstd."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._schema = pa.schema([pa.field(column.name, TYPES[column.kind]()) for column in columns])
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []

    def begin(self) -> bytes:
        """The format's mark."""
        return self._sink.take()

    def add(self, rows: Rows) -> bytes:
        """Nothing, or a whole row group."""
        columns = zip(*rows, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._waiting.append(pa.record_batch(arrays, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= ROWS_OF_A_GROUP:
            self._write()
        return self._sink.take()

    def end(self) -> bytes:
        """The last row group and the footer."""
        self._write()
        self._writer.close()
        return self._sink.take()

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=2 * ROWS_OF_A_GROUP)
            self._waiting = []
