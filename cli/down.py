"""`./iacrm down`: an orderly stop from outside, and the end of what a killed supervisor left running."""

import signal
import time
from contextlib import suppress

import psutil

from cli.child import TICK_SECONDS
from cli.console import Console
from cli.embedded.infrastructure import AlreadyRunningError, Infrastructure
from cli.paths import data_folder
from cli.state import Identity
from cli.status import running_supervisor

PATIENCE_SECONDS = 90.0


def run() -> int:
    """Stops the stack. Exit code 0: nothing runs now; 1: it could not be stopped."""
    console, data = Console(), data_folder()
    supervisor = running_supervisor(data)
    if supervisor is not None:
        console.say("Stopping gateway, workers, Kafka and PostgreSQL")
        if not _stop(supervisor):
            console.error(f"Process {supervisor.pid} did not end within {PATIENCE_SECONDS:.0f} s")
            return 1
    elif not data.exists():
        console.line("Nothing was running.")
        return 0
    servers = Infrastructure(data, report=console)
    try:
        servers.acquire()
    except AlreadyRunningError as problem:
        console.error(f"{problem}, started by a program that is not the supervisor (a test?)")
        return 1
    leftovers = servers.state.entries()
    servers.end_leftovers()
    servers.stop()
    console.say("Stopped" if supervisor is not None or leftovers else "Nothing was running")
    return 0


def _stop(supervisor: Identity) -> bool:
    process = supervisor.process()
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    # Not psutil's wait: a process that ended counts there until its parent has taken notice, which may be never.
    while supervisor.process() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(TICK_SECONDS)
    return True
