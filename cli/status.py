"""`./iacrm status`: what runs, where, and how much memory it takes."""

from pathlib import Path
from typing import Any

import psutil

from cli.console import Console
from cli.paths import data_folder
from cli.state import Entry, Identity, StateFile

NOT_RUNNING = 3
COLUMNS = ("process", "state", "pid", "port", "memory", "log")


def run(*, as_json: bool) -> int:
    """Shows the stack of this checkout. Exit code 0: running, 3: not running."""
    console, data = Console(), data_folder()
    found = describe(data)
    if as_json:
        console.json(found)
    elif found["state"] == "not running":
        console.line("Not running. Start it with ./iacrm up")
    else:
        show(console, data)
    return NOT_RUNNING if found["state"] == "not running" else 0


def show(console: Console, data: Path) -> None:
    """One table of processes."""
    found = describe(data)
    rows = [
        (
            each["name"],
            each["state"] + (f" ({each['restarts']} restarts)" if each["restarts"] else ""),
            str(each["pid"] or "-"),
            str(each["port"]),
            f"{each['rss_mb']} MB",
            each["log"],
        )
        for each in found["processes"]
    ]
    console.table(COLUMNS, rows)


def describe(data: Path) -> dict[str, Any]:
    """The stack as data; `state` is `running`, `starting` or `not running`."""
    state = StateFile(data / "state.json")
    supervisor = running_supervisor(data)
    entries = state.entries()
    ready = state.field("ready") is True
    return {
        "state": "not running" if supervisor is None else "running" if ready else "starting",
        "gateway_url": state.field("gateway_url") if supervisor is not None else None,
        "kafka_bootstrap": f"127.0.0.1:{entries['kafka'].port}" if supervisor and "kafka" in entries else None,
        "supervisor_pid": supervisor.pid if supervisor is not None else None,
        "data": str(data),
        "processes": [_describe_process(name, entry) for name, entry in entries.items()],
    }


def running_supervisor(data: Path) -> Identity | None:
    """The process that looks after the stack of that data folder, if it runs."""
    written = StateFile(data / "state.json").field("supervisor")
    if not isinstance(written, dict):
        return None
    identity = Identity(int(written["pid"]), float(written["created"]))
    return identity if identity.process() is not None else None


def _describe_process(name: str, entry: Entry) -> dict[str, Any]:
    process = entry.identity.process()
    # Without its supervisor a dead child is only dead; with it, it is about to come back.
    state = entry.state if process is not None or entry.state == "restarting" else "died"
    return {
        "name": name,
        "pid": process.pid if process is not None else None,
        "port": entry.port,
        "state": state,
        "rss_mb": round(memory(process) / 2**20) if process is not None else 0,
        "restarts": entry.restarts,
        "log": entry.log,
    }


def memory(process: psutil.Process) -> int:
    """Bytes a process and its descendants hold; memory they share counts once where the system can tell (Linux)."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            try:
                full = each.memory_full_info()
                total += getattr(full, "pss", full.rss)
            except psutil.AccessDenied:
                total += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total
