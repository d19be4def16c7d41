"""`./iacrm up` keeps the stack alive: each process is killed in turn, and afterwards nothing is lost or left behind."""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cli.embedded.infrastructure import Infrastructure
from cli.state import Entry, StateFile
from tests.stack import ROOT
from tests.support.api import Api
from tests.support.sales_stream import a_sale
from tests.support.waiting import until

pytestmark = pytest.mark.faults
KINDS = ("rfm_worker", "rfm_jobs", "importer", "api_gateway", "postgres", "kafka")
START_S = 90.0
HEAL_S = 45.0


class CommandLine:
    """`./iacrm` with a data folder of the test's own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.state = StateFile(data / "state.json")
        self._environment = {**os.environ, "IACRM_DATA_DIR": str(data), "NO_COLOR": "1"}
        self._up: subprocess.Popen[str] | None = None

    def up(self) -> subprocess.Popen[str]:
        """Starts `./iacrm up` in the foreground of a terminal that nobody sees."""
        self._up = subprocess.Popen(
            [str(ROOT / "iacrm"), "up"], env=self._environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return self._up

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command beside it, to its end."""
        return await asyncio.to_thread(
            subprocess.run, [str(ROOT / "iacrm"), *arguments], env=self._environment, text=True,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip

    def running(self) -> dict[str, Entry]:
        """The processes that serve, by name."""
        return {name: entry for name, entry in self.state.entries().items() if entry.state == "running"}

    async def serves(self) -> None:
        """Waits until the whole stack serves."""

        def ready() -> bool:
            assert self._up is not None
            assert self._up.poll() is None, self._up.communicate()[0]
            return self.state.field("ready") is True and self.running().keys() >= set(KINDS)

        await until(ready, seconds=START_S, what="the stack serves")

    def left_behind(self) -> list[str]:
        """Processes that work in the data folder."""
        return [
            f"{process.pid} {process.info['name']}"
            for process in psutil.process_iter(["name", "cmdline", "environ"])
            if str(self.data) in " ".join(process.info["cmdline"] or ())
            or str(self.data) in (process.info["environ"] or {}).values()
        ]

    def kill(self) -> None:
        """Ends everything, whatever state it is in."""
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._up.communicate(timeout=30)
            self._up.kill()
            self._up.wait()
        if self._up is not None and self._up.stdout is not None:
            self._up.stdout.close()


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    """One data folder for this module: the second start is quicker than the first."""
    (ROOT / ".data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="heal-", dir=ROOT / ".data") as folder:
        made = CommandLine(Path(folder).resolve())
        yield made
        made.kill()
        Infrastructure(made.data).end_leftovers()


@pytest.fixture
async def up(command_line: CommandLine) -> AsyncIterator[subprocess.Popen[str]]:
    """The stack, started; ended at the latest when the test ends."""
    yield command_line.up()
    await asyncio.to_thread(command_line.kill)


@pytest.mark.timeout(240)
async def test_the_stack_heals_after_the_death_of_each_process_and_ends_without_a_trace(
    command_line: CommandLine, up: subprocess.Popen[str]
) -> None:
    await command_line.serves()
    status = json.loads((await command_line.run("status", "--json")).stdout)
    assert {each["name"] for each in status["processes"]} >= set(KINDS)
    api = await Api.register(status["gateway_url"])
    await _sell_and_see(api, 1)
    for number, name in enumerate(KINDS, start=2):
        await _kill_and_heal(command_line, name)
        await _sell_and_see(api, number)
    verified = await command_line.run("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    await api.close()

    family = _family(command_line)
    down = await command_line.run("down")
    assert down.returncode == 0, down.stdout + down.stderr
    said, _ = await asyncio.to_thread(up.communicate)
    assert up.returncode == 0, said
    assert all(f"{name} is back" in said for name in KINDS), said
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    _assert_free(command_line)


@pytest.mark.parametrize("moment", ["kafka", "rfm_worker"])
async def test_ctrl_c_during_the_start_leaves_nothing(
    command_line: CommandLine, up: subprocess.Popen[str], moment: str
) -> None:
    await until(lambda: moment in command_line.state.entries(), seconds=START_S, what=f"{moment} is being started")
    up.send_signal(signal.SIGINT)
    said, _ = await asyncio.to_thread(up.communicate, timeout=60)
    assert up.returncode == 130, said
    assert "Traceback" not in said
    _assert_free(command_line)


async def _kill_and_heal(command_line: CommandLine, name: str) -> None:
    before = command_line.running()[name]
    os.kill(before.pid, signal.SIGKILL)

    def back() -> bool:
        running = command_line.running()
        return running.keys() >= set(KINDS) and running[name].pid != before.pid

    await until(back, seconds=HEAL_S, what=f"{name} is back")


async def _sell_and_see(api: Api, number: int) -> None:
    """A sale is accepted, and a read that carries its token shows it."""

    async def sold() -> bool:
        # While a server comes back the gateway may refuse; clients send again.
        answer = await api.ask("POST", "/sales", json=a_sale(f"S-{number}"))
        assert answer.status in {202, 503}, answer.body
        tokens["X-Consistency-Token"] = answer.headers.get("x-consistency-token", "")
        return answer.status == 202

    async def seen() -> bool:
        answer = await api.ask("GET", "/customers/C1", headers={**tokens, "Prefer": "wait=20"})
        assert answer.status in {200, 425, 503}, answer.body
        return answer.status == 200 and answer.body["rfm"]["frequency"] == number

    tokens: dict[str, str] = {}
    await until(sold, seconds=HEAL_S, what="a sale is accepted")
    await until(seen, seconds=HEAL_S, what="the sale is seen")


def _family(command_line: CommandLine) -> list[psutil.Process]:
    found = []
    for entry in command_line.state.entries().values():
        process = psutil.Process(entry.pid)
        found += [process, *process.children(recursive=True)]
    return found


def _assert_free(command_line: CommandLine) -> None:
    assert command_line.left_behind() == []
    servers = Infrastructure(command_line.data)
    servers.acquire()  # raises where a lock is left
    servers.stop()
    assert command_line.state.entries() == {}
