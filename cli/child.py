"""One process of the stack: launch it, know whether it is ready, stop it, and find it again after a crash."""

import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cli.files import rotate
from cli.spawn import Plan, spawn
from cli.state import Entry, Identity, StateFile

TICK_SECONDS = 0.05


class StartError(Exception):
    """A process did not become ready; the message holds the end of its log."""


class Child(ABC):
    """A process that this one starts and looks after. All methods may be called from any thread."""

    stop_signal = signal.SIGTERM
    stop_seconds = 10.0
    start_seconds = 60.0

    def __init__(self, name: str, *, port: int, log: Path, state: StateFile, output: Path | None = None) -> None:
        self.name = name
        self.port = port
        self.log = log
        """The file that people read."""
        self._output = output or log
        """Receives standard output and error: the same file, unless the process rolls its log itself."""
        self.restarts = 0
        self.launched_at = 0.0
        """Monotonic seconds of the last launch."""
        self.hurry = threading.Event()
        """Set to cut every wait for an orderly stop short."""
        self._state = state
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Program and arguments."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The whole environment of the process."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves now; answers within a fraction of a second."""

    def user(self) -> str | None:
        """Account to run as, None for the own one."""
        return None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self.alive() else None

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Starts the process without waiting for it. Does nothing while it runs; ends a leftover one first."""
        if self.alive():
            return
        self.end_leftover()
        rotate(self._output)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        plan = Plan(self.command(), self.environment(), self._output, self.stop_signal, self.user())
        self.launched_at = time.monotonic()
        spawn(plan, self._register)

    def wait_ready(self, seconds: float | None = None) -> None:
        """Waits until it serves.

        Raises:
            StartError: it ended, or took longer than `seconds`.
        """
        deadline = time.monotonic() + (self.start_seconds if seconds is None else seconds)
        while not self.ready():
            if not self.alive():
                raise StartError(f"{self.name} {self.how_it_ended()} while starting\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} is not ready after {self.start_seconds:.0f} s\n{self.log_tail()}")
            time.sleep(TICK_SECONDS)
        self.note("running")

    def start(self) -> None:
        """Launches and waits until it serves.

        Raises:
            StartError: it did not become ready; it is stopped again.
        """
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Orderly stop; a process that takes too long is killed. Harmless when it does not run."""
        self.end_process()
        self._process = None
        self._state.drop(self.name)

    def end_process(self) -> None:
        """The same, but the child still counts as one that should run."""
        process = self._process
        if process is not None:
            end(Identity.of(process.pid) if process.poll() is None else None, self.stop_signal, self)
            process.wait()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it started and left behind

    def kill(self) -> None:
        """SIGKILL, without notice: what a test does to see whether everything survives."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        self._process = None
        self._state.drop(self.name)

    def restart(self) -> None:
        """Orderly stop, then start."""
        self.stop()
        self.start()

    def note(self, state: str) -> None:
        """Writes the state (starting, running, restarting) into the state file."""
        entry = self._state.entries().get(self.name)
        if entry is not None and (entry.state, entry.restarts) != (state, self.restarts):
            self._state.put(self.name, Entry(entry.pid, entry.created, self.port, str(self.log), state, self.restarts))

    def how_it_ended(self) -> str:
        """For people: `ended with code 1`, `was killed by SIGKILL`."""
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return "is not running"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    def log_tail(self, lines: int = 15) -> str:
        """The last lines it wrote since its last launch."""
        texts = [tail(self.log, lines, self._log_start)]
        if self._output != self.log:
            texts.insert(0, tail(self._output, lines))
        return "\n".join(text for text in texts if text)

    def end_leftover(self) -> None:
        """Ends the process of this name that an earlier, killed supervisor left running."""
        entry = self._state.entries().get(self.name)
        if entry is not None:
            end(entry.identity, self.stop_signal, self)

    def _register(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        with suppress(psutil.NoSuchProcess):  # it died at once; `alive` says so
            created = Identity.of(process.pid).created
            entry = Entry(process.pid, created, self.port, str(self.log), "starting", self.restarts)
            self._state.put(self.name, entry)


def end(identity: Identity | None, first: signal.Signals, child: Child | None = None, seconds: float = 10.0) -> None:
    """Ends a process with its descendants: first politely, after a time limit (or in a hurry) with SIGKILL.

    Args:
        identity: the process; nothing happens when it is no longer that one.
        first: the polite signal.
        child: gives the time limit and the signal to hurry.
        seconds: the time limit where no child is given.
    """
    process = identity.process() if identity is not None else None
    if process is None:
        return
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        process.send_signal(first)
        deadline = time.monotonic() + (child.stop_seconds if child is not None else seconds)
        while _running(process) and time.monotonic() < deadline and not (child is not None and child.hurry.is_set()):
            time.sleep(TICK_SECONDS)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                if _running(member):
                    member.kill()
        psutil.wait_procs(family[1:], timeout=5)
        while _running(process):
            time.sleep(TICK_SECONDS)


def _running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(path: Path, lines: int, start: int = 0) -> str:
    """The last lines of a file from byte `start` on, reading at most its last 64 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start if start <= size else 0, size - 65_536))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
