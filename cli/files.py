"""Small files that are never seen half written, and a lock that dies with its holder."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Self


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces the file as a whole; readers see the old or the new text, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def rotate(path: Path, largest: int = 20 * 1024 * 1024, keep: int = 3) -> None:
    """Moves a log of more than `largest` bytes aside as `<name>.1`, keeping the last `keep` of them."""
    if not path.exists() or path.stat().st_size <= largest:
        return
    for number in range(keep - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))


class FileLock:
    """A lock between processes. The system frees it when the holder dies, however that happens."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self, *, wait: bool = False) -> bool:
        """Takes the lock; without `wait`, answers False at once when another process holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(handle)
                return False
            except BaseException:
                os.close(handle)
                raise
            # The holder before us removes its file when it lets go: a lock on a removed file protects nothing.
            if _same_file(handle, self._path):
                self._handle = handle
                return True
            os.close(handle)

    def release(self) -> None:
        """Removes the file and frees the lock; harmless when it is not held."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        self.acquire(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _same_file(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), there)
