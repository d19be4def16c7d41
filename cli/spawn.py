"""Starting children so that they die with their parent, even when that is killed with SIGKILL (Linux)."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cli.paths import ROOT

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

# Linux sends the parent-death signal when the *thread* that forked ends. One thread that lives as long as this
# process forks all children. It also registers them: a signal that interrupts the main thread between the fork
# and the entry in the state file can then lose nothing.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")


@dataclass(frozen=True)
class Plan:
    """What to start."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    """Receives standard output and error, appended."""
    death_signal: signal.Signals = signal.SIGTERM
    """Sent to the child when this process dies without having stopped it (Linux)."""
    user: str | None = None
    """Account to run as; only root can name another than its own."""
    folder: Path = ROOT


def spawn(plan: Plan, register: Callable[[subprocess.Popen[bytes]], None]) -> subprocess.Popen[bytes]:
    """Starts a child in a session of its own, so that Ctrl-C in the terminal reaches only us.

    Args:
        register: called with the new child before anything can interrupt.

    Raises:
        OSError: the program cannot be started.
    """
    return _forker.submit(_fork, plan, register).result()


def settle() -> None:
    """Waits until every start under way has registered its child.

    A signal may have interrupted whoever waited in `spawn`; the start itself goes on. Call it before stopping
    children, or the newest one is missed.
    """
    _forker.submit(lambda: None).result()


def _fork(plan: Plan, register: Callable[[subprocess.Popen[bytes]], None]) -> subprocess.Popen[bytes]:
    plan.log.parent.mkdir(parents=True, exist_ok=True)
    group: dict[str, object] = {}
    if plan.user is not None:
        group = {"user": plan.user, "group": _group_of(plan.user), "extra_groups": []}
    with plan.log.open("ab") as log:
        child = subprocess.Popen(  # type: ignore[call-overload]  # the optional account confuses the overloads
            list(plan.command),
            env=dict(plan.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=plan.folder,
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid(), plan.death_signal),  # noqa: PLW1509 - two system calls, no lock
            **group,
        )
    register(child)
    return child  # type: ignore[no-any-return]


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _dies_with(parent: int, signum: signal.Signals) -> Callable[[], None] | None:
    if _libc is None:
        return None
    prctl = _libc.prctl

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_kernel
