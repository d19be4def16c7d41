"""Files of imports: in a folder, or in anything that speaks S3. Every call blocks: run it in a thread."""

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self, cast
from uuid import UUID

import fsspec
from fsspec.implementations.local import LocalFileSystem

from services.api_gateway.settings import ImportStorageSettings

SOURCE = "source"
COPY_BYTES = 4 * 1024 * 1024
WRITE_BYTES = 8 * 1024 * 1024
"""S3 takes parts of at least 5 MiB; this is what a write to it holds in memory."""


class FileStore:
    """Files by key, `<tenant_id>/<import_id>/<name>`.

    Args:
        location: a folder, or a URL that fsspec knows, such as s3://bucket/prefix.
        options: for its file system, such as credentials.

    Raises:
        OSError: (every method) the storage does not answer or refuses.
    """

    def __init__(self, location: str, options: Mapping[str, Any]) -> None:
        self._fs, root = fsspec.url_to_fs(location, **options)
        self._root = root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    @classmethod
    def of(cls, settings: ImportStorageSettings) -> Self:
        """The storage that the settings name."""
        return cls(settings.import_storage, json.loads(settings.import_storage_options.get_secret_value() or "{}"))

    def create(self, key: str) -> BinaryIO:
        """Opens a file for writing; it replaces one that is there when it is closed."""
        path = self._path(key)
        if self._local:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(path).open("wb")
        return cast(BinaryIO, self._fs.open(path, "wb", block_size=WRITE_BYTES))

    def write(self, key: str, content: bytes) -> None:
        """Stores a small file."""
        with self.create(key) as file:
            file.write(content)

    def read(self, key: str) -> bytes | None:
        """A small file; None when there is none."""
        try:
            return bytes(self._fs.cat_file(self._path(key)))
        except FileNotFoundError:
            return None

    def fetch(self, key: str, target: Path) -> Path:
        """The file as a local one: itself where the storage is a folder, else a copy at `target`.

        Raises:
            FileNotFoundError: it is not there.
        """
        path = self._path(key)
        if self._local:
            Path(path).stat()
            return Path(path)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._fs.open(path, "rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, COPY_BYTES)
        return target

    def delete(self, key: str) -> None:
        """Removes a file, or everything below a prefix; harmless when there is nothing."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            self._fs.rm(self._path(key), recursive=True)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"


def folder_of(tenant_id: UUID, import_id: UUID | None = None) -> str:
    """The prefix of an import's files, or of all files of a tenant."""
    return f"{tenant_id}/{import_id}" if import_id is not None else str(tenant_id)


def source_of(tenant_id: UUID, import_id: UUID) -> str:
    """The key of the uploaded file."""
    return f"{folder_of(tenant_id, import_id)}/{SOURCE}"


def rejected_of(tenant_id: UUID, import_id: UUID, part: int) -> str:
    """The key of the rows that one part of an import rejected; part 0 holds what could not be taken apart."""
    return f"{folder_of(tenant_id, import_id)}/rejected-{part:05d}.csv"
