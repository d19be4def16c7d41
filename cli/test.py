"""`./iacrm test`: all checks, then all tests on real servers; nothing is left running, whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.console import Console
from cli.embedded.infrastructure import AlreadyRunningError, Infrastructure
from cli.paths import ROOT
from cli.supervisor.signals import Signals, StopRequested

INTERRUPTED = 130
MOST_LINES = 100
"""Of a failed check's output; run the tool itself for all of it."""

STOP_SECONDS = 30.0
"""After Ctrl-C, for pytest to end the running test and to stop the servers."""

RUN_VARIABLE = "IACRM_TEST_RUN"
"""Every process of a run inherits it, which is how one that was left behind is found."""

_LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"
CHECKS: dict[str, Sequence[str]] = {
    "ruff check": ("-m", "ruff", "check", "--quiet", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "--quiet", "."),
    "mypy": ("-m", "mypy"),
    "import-linter": ("-c", _LINT_IMPORTS),
}


@dataclass(frozen=True)
class Step:
    """A finished check."""

    name: str
    good: bool
    seconds: float
    output: str = ""


def run(arguments: Sequence[str], *, stack: str, containers: bool, fast: bool) -> int:
    """Runs the checks and pytest.

    Args:
        arguments: passed on to pytest.
        stack: `embedded` or `testcontainers`.
        containers: only the tests of the container images, without checks.
        fast: without the tests that kill processes.

    Returns:
        Exit code: 0 when everything is good, 130 when interrupted, else 1.
    """
    return _Run(Console()).run([*_selection(containers, fast), f"--stack={stack}", *arguments], checks=not containers)


def _selection(containers: bool, fast: bool) -> list[str]:
    if containers:
        return ["-m", "containers", "--containers"]
    return ["-m", "not containers and not faults" if fast else "not containers"]


class _Run:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._id = uuid.uuid4().hex
        self._pytest: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, RUN_VARIABLE: self._id, "PYTHONPATH": str(ROOT)}
        self._summary = ROOT / ".data" / f"pytest-{self._id}.xml"

    def run(self, options: Sequence[str], *, checks: bool) -> int:
        """Checks, then tests, then the summary, which ends with pytest's own last line."""
        _remove_leftovers(self._console)
        with Signals(self._kill) as signals:
            try:
                steps = self._check() if checks else []
                steps.append(self._test(options))
            except StopRequested:
                signals.stopping()
                self._console.line("\nInterrupted; stopping the servers of the tests ...")
                self._interrupt()
                return INTERRUPTED
            finally:
                signals.stopping()
                self._end_everything()
        return self._summarise(steps)

    def _check(self) -> list[Step]:
        self._console.heading("Checks")
        began = time.monotonic()
        running = {name: self._start(arguments) for name, arguments in CHECKS.items()}
        steps = []
        for name, process in running.items():
            output = process.communicate()[0].decode("utf-8", "replace")
            step = Step(name, process.returncode == 0, time.monotonic() - began, output)
            self._console.line(_line(step))
            if not step.good:
                self._console.line("\n".join(output.splitlines()[-MOST_LINES:]))
            steps.append(step)
        return steps

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _test(self, options: Sequence[str]) -> Step:
        self._console.heading("Tests")
        began = time.monotonic()
        self._summary.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pytest", f"--junitxml={self._summary}", *options]
        # In a session of its own: Ctrl-C reaches us alone, and we pass it on.
        self._pytest = subprocess.Popen(command, cwd=ROOT, env=self._environment, start_new_session=True)
        code = self._pytest.wait()
        return Step("pytest", code == 0, time.monotonic() - began)

    def _interrupt(self) -> None:
        if self._pytest is not None and self._pytest.poll() is None:
            self._pytest.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._pytest.wait(STOP_SECONDS)

    def _kill(self) -> None:
        if self._pytest is not None:
            self._pytest.kill()

    def _end_everything(self) -> None:
        left = [process for process in psutil.process_iter() if self._is_ours(process)]
        for process in left:
            with suppress(psutil.Error):
                self._console.error(f"Ended a process that was left behind: {' '.join(process.cmdline())[:120]}")
                process.kill()
        psutil.wait_procs(left, timeout=5)
        _remove_leftovers(self._console)

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            return process.pid != os.getpid() and process.environ().get(RUN_VARIABLE) == self._id
        return False

    def _summarise(self, steps: Sequence[Step]) -> int:
        self._console.heading("Summary")
        for step in steps:
            self._console.line(_line(step))
        if self._summary.exists():
            self._console.line(last_line(self._summary.read_text()))
            self._summary.unlink()
        return 0 if all(step.good for step in steps) else 1


def _line(step: Step) -> str:
    return f"{'ok    ' if step.good else 'FAILED'}  {step.name} ({step.seconds:.1f} s)"


def last_line(junit: str) -> str:
    """Pytest's last line, from its report: `=== 1 failed, 41 passed, 2 skipped in 12.30s ===`."""
    suite = ET.fromstring(junit).find("testsuite")
    if suite is None:
        return "=== no tests ran ==="
    counts = {name: int(suite.get(key, 0)) for name, key in _COUNTS.items()}
    passed = int(suite.get("tests", 0)) - sum(counts.values())
    parts = [f"{count} {name}" for name, count in (("failed", counts["failed"]), ("passed", passed)) if count]
    parts += [f"{counts[name]} {name}" for name in ("skipped", "errors") if counts[name]]
    return f"=== {', '.join(parts) or 'no tests ran'} in {float(suite.get('time', 0)):.2f}s ==="


_COUNTS = {"failed": "failures", "skipped": "skipped", "errors": "errors"}


def _remove_leftovers(console: Console) -> None:
    """Data folders of test and benchmark runs whose owner is gone, with whatever it left running."""
    for folder in [*_folders("test-*"), *_folders("bench-*")]:
        servers = Infrastructure(folder, report=console)
        try:
            servers.acquire()
        except AlreadyRunningError:
            continue  # another run
        servers.end_leftovers()
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _folders(pattern: str) -> list[Path]:
    return [path for path in (ROOT / ".data").glob(pattern) if path.is_dir()]
