"""What runs, written down so that another command, or the next start after a crash, can find it."""

import contextlib
import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from cli.files import write_atomically

# Start times come from the system's clock ticks and boot time, which shift a little when the clock is set.
SAME_START_SECONDS = 2.0


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    created: float
    """Start of the process, seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """The identity of a running process.

        Raises:
            psutil.NoSuchProcess: it is gone already.
        """
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process if it is still this one and runs, else None."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


@dataclass(frozen=True)
class Entry:
    """One process of the stack as the state file holds it."""

    pid: int
    created: float
    port: int
    log: str
    state: str
    """starting, running, restarting or stopped."""
    restarts: int = 0

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.created)


class StateFile:
    """`state.json` of a data folder. Only the holder of the folder's lock writes it; anyone may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()

    def entries(self) -> dict[str, Entry]:
        """The processes by name, in the order of their start."""
        found: dict[str, Entry] = {}
        for name, values in self._read().get("processes", {}).items():
            with contextlib.suppress(TypeError):  # written by another version of this program
                found[name] = Entry(**values)
        return found

    def field(self, name: str) -> Any:
        """A value beside the processes, such as `gateway_url`, or None."""
        return self._read().get(name)

    def put(self, name: str, entry: Entry) -> None:
        """Adds or replaces one process."""
        with self._guard:
            content = self._read()
            content.setdefault("processes", {})[name] = asdict(entry)
            self._write(content)

    def drop(self, name: str) -> None:
        """Forgets one process."""
        with self._guard:
            content = self._read()
            if content.get("processes", {}).pop(name, None) is not None:
                self._write(content)

    def set(self, **fields: Any) -> None:
        """Sets values beside the processes."""
        with self._guard:
            self._write({**self._read(), **fields})

    def remove(self) -> None:
        """Deletes the file: nothing runs."""
        with self._guard:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, content: dict[str, Any]) -> None:
        write_atomically(self.path, json.dumps(content, indent=2) + "\n")
