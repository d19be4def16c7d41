"""`./iacrm up`: the stack in the foreground, or detached in the background."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from cli.background import Background
from cli.child import StartError
from cli.console import Console
from cli.demo_error import DemoError
from cli.embedded.infrastructure import AlreadyRunningError
from cli.embedded.jars import JarError
from cli.files import rotate
from cli.paths import ROOT, data_folder, log_folder
from cli.ports import PortTakenError
from cli.state import Identity, StateFile
from cli.status import running_supervisor, show
from cli.supervisor.signals import Signals, StopRequested
from cli.supervisor.stack import Stack

INTERRUPTED = 130
START_SECONDS = 300.0
Show = Callable[[Stack, Console], Coroutine[Any, Any, None]]
EXPECTED = (AlreadyRunningError, DemoError, PortTakenError, JarError, StartError, OSError)
"""Failures that a message explains; anything else is a bug and shows its trace."""


def run(
    port: int | None = None, show_off: Show | None = None, *, leave: bool = False, console: Console | None = None
) -> int:
    """Starts the stack and keeps it alive until a signal.

    Args:
        port: port of the gateway to insist on.
        show_off: runs beside the supervision as soon as everything serves.
        leave: stop when `show_off` has ended.
        console: who tells it; else standard output.

    Returns:
        Exit code: 0 after an orderly stop, 1 when it could not start, 130 when interrupted before it served.
    """
    console = console or Console()
    stack = Stack(data_folder(), console, gateway_port=port)
    served, background = False, None
    with Signals(stack.hurry) as signals:
        try:
            stack.start()
            served = True
            if show_off is None:
                show(console, data_folder())
                console.line(f"API and its documentation: {stack.gateway_url}/docs   (Ctrl-C stops everything)")
            else:
                background = Background(show_off(stack, console))
                stack.watch(until=background.finished)
                background.result()
            if not leave:
                stack.watch()
        except StopRequested:
            console.say("Stopping (once more: at once)")
            return 0 if served else INTERRUPTED
        except EXPECTED as problem:
            console.error(f"Could not go on: {problem}")
            return 1
        finally:
            signals.stopping()
            if background is not None:
                background.cancel()
            stack.stop()
    return 0


def run_detached(port: int | None = None) -> int:
    """Starts the stack in the background and waits until it serves.

    Returns:
        Exit code: 0 when it serves (also when it did already), 1 when it could not start, 130 when interrupted.
    """
    console, data = Console(), data_folder()
    if running_supervisor(data) is not None:
        console.say("The stack runs already")
        show(console, data)
        return 0
    log = log_folder(data) / "supervisor.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate(log)
    except OSError as problem:  # read-only, full, or a file in the way
        console.error(f"Could not go on: {problem}")
        return 1
    start = log.stat().st_size if log.exists() else 0
    with Signals(lambda: None) as signals:
        supervisor = _launch(log, port)
        try:
            serves = _wait(supervisor, data, console, log, start)
        except StopRequested:
            signals.stopping()
            supervisor.terminate()
            supervisor.wait()
            return INTERRUPTED
    if not serves:
        console.error(f"The stack did not start; see {log}")
        return 1
    show(console, data)
    console.line("Stop it with ./iacrm down")
    return 0


def _launch(log: Path, port: int | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "cli", "up", *(["--port", str(port)] if port else [])]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(supervisor: subprocess.Popen[bytes], data: Path, console: Console, log: Path, start: int) -> bool:
    """Passes on what the supervisor says until it serves (True) or ends (False)."""
    state = StateFile(data / "state.json")
    identity = Identity.of(supervisor.pid)
    deadline = time.monotonic() + START_SECONDS
    with log.open() as said:
        said.seek(start)
        while time.monotonic() < deadline:
            ended = supervisor.poll() is not None
            ready = state.field("ready") is True and running_supervisor(data) == identity
            for line in said.read().splitlines():
                if not ready:  # what follows is the table, which we show ourselves
                    console.say(line)
            if ended or ready:
                return ready and not ended
            time.sleep(0.1)
    supervisor.terminate()
    return False
