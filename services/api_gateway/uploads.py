"""An uploaded file on its way to storage: checked at its first and last bytes, hashed as it passes, never held."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import BinaryIO

import orjson

from services.api_gateway.errors import invalid
from services.api_gateway.file_store import FileStore

WRITE_BYTES = 1024 * 1024
HEAD_BYTES = 64 * 1024
PARQUET = b"PAR1"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "ZIP (an Excel workbook is one too)",
    b"PK\x05\x06": "ZIP",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "PDF",
}
_EXTENSIONS = {
    "csv": "csv", "tsv": "csv", "tab": "csv", "ndjson": "ndjson", "jsonl": "ndjson", "parquet": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a stored file."""

    format: str
    size_bytes: int
    sha256: str


class Upload:
    """Writes one file.

    Args:
        files: where to.
        key: of the file there; its folder is the upload's own.
        name: that the sender gave it.
        wanted: format that the sender named, if any.
    """

    def __init__(self, files: FileStore, key: str, *, name: str, wanted: str | None) -> None:
        self._files, self._key, self._name, self._wanted = files, key, name, wanted
        self._file: BinaryIO | None = None
        self._waiting = bytearray()
        self._digest = hashlib.sha256()
        self._size = 0
        self._format: str | None = None
        self._tail = b""

    async def write(self, content: bytes) -> None:
        """Takes the next bytes.

        Raises:
            Problem: 422 once the first bytes show that this is no file that can be read.
        """
        self._size += len(content)
        self._waiting += content
        if len(self._waiting) >= WRITE_BYTES:
            await self._flush()

    async def finish(self) -> Stored:
        """Closes the file.

        Raises:
            Problem: 422 when it is empty, cut off, or not what its name says.
        """
        if not self._size:
            raise invalid("file", "is empty")
        await self._flush()
        assert self._file is not None and self._format is not None  # noqa: S101, PT018 - there were bytes
        if self._format == "parquet" and (self._tail != PARQUET or self._size < 12):
            raise invalid("file", "is cut off: a Parquet file ends with PAR1")
        await asyncio.to_thread(self._file.close)
        return Stored(self._format, self._size, self._digest.hexdigest())

    async def abandon(self) -> None:
        """Removes what was written; the storage being away is no reason to fail once more."""
        if self._file is not None:
            await asyncio.to_thread(self._remove, self._file)

    def _remove(self, file: BinaryIO) -> None:
        file.close()
        self._files.delete(self._key.rpartition("/")[0])

    async def _flush(self) -> None:
        block, self._waiting = bytes(self._waiting), bytearray()
        if self._format is None:
            self._format = format_of(block[:HEAD_BYTES], self._name, self._wanted)
            self._file = await asyncio.to_thread(self._files.create, self._key)
        self._tail = (self._tail + block)[-len(PARQUET) :]
        assert self._file is not None  # noqa: S101 - opened with the format
        await asyncio.to_thread(self._store, self._file, block)

    def _store(self, file: BinaryIO, block: bytes) -> None:
        self._digest.update(block)
        file.write(block)


def format_of(head: bytes, name: str, wanted: str | None) -> str:
    """The format of a file, from its first bytes; its name and what the sender says must agree.

    Raises:
        Problem: 422 when they do not, or when it is compressed or no text.
    """
    found = _from_content(head)
    extension = name.lower().rpartition(".")[2] if "." in name else ""
    if extension in _EXTENSIONS and _EXTENSIONS[extension] != found:
        raise invalid("file", f"is not what its name says: it ends with .{extension} and holds {_LOOKS[found]}")
    if wanted is not None and wanted != found:
        raise invalid("format", f"is {wanted}, and the file holds {_LOOKS[found]}")
    return found


_LOOKS = {"csv": "text that is neither JSON nor Parquet", "ndjson": "JSON", "parquet": "Parquet"}


def _from_content(head: bytes) -> str:
    if head.startswith(PARQUET):
        return "parquet"
    for magic, what in _COMPRESSED.items():
        if head.startswith(magic):
            raise invalid("file", f"is {what}: send the CSV, NDJSON or Parquet file itself, not compressed")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise invalid("file", "is UTF-16: save it as UTF-8 or Windows-1252")
    if b"\0" in head:
        raise invalid("file", "is no text: send CSV, NDJSON or Parquet")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise invalid("file", "is empty")
    return "ndjson" if text.startswith(b"{") and _is_json(text) else _csv(text)


def _csv(text: bytes) -> str:
    if text.startswith(b"["):
        raise invalid("file", "is a JSON array: send one JSON object per line (NDJSON)")
    return "csv"


def _is_json(text: bytes) -> bool:
    """Whether the first line is a JSON object, or the beginning of one that is longer than what is seen."""
    line, _, rest = text.partition(b"\n")
    if not rest and len(text) >= HEAD_BYTES // 2:
        return True
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        raise invalid("file", "begins like NDJSON, but its first line is no JSON object of its own") from None
