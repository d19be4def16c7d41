"""Children of the supervisor, as real processes: ready, dead, restarted, stubborn."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from cli.child import Child, StartError
from cli.ports import Ports, is_free
from cli.state import StateFile
from cli.supervisor.watch import Watch

SERVE = """
import signal, socket, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "fails" in sys.argv:
    sys.exit("the reason why")
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen()
if "parent" in sys.argv:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
while True:
    time.sleep(600)
"""


class Server(Child):
    """A process that listens on its port."""

    start_seconds = 10.0
    stop_seconds = 0.5

    def __init__(self, folder: Path, behaviour: str = "") -> None:
        port = Ports(folder / "ports.json").choose("server")
        super().__init__("server", port=port, log=folder / "server.log", state=StateFile(folder / "state.json"))
        self.behaviour = behaviour

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", SERVE, str(self.port), self.behaviour]

    def environment(self) -> Mapping[str, str]:
        return {}

    def ready(self) -> bool:
        return self.alive() and not is_free(self.port)


class Heard:
    """Collects what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, label: str, done: int, total: int) -> None:
        raise AssertionError("nothing here takes long")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


def test_a_started_child_is_in_the_state_file_until_it_is_stopped(server: Server) -> None:
    server.start()
    entry = server._state.entries()["server"]
    assert (entry.pid, entry.port, entry.state) == (server.pid, server.port, "running")
    server.stop()
    assert server._state.entries() == {}
    assert server.pid is None


def test_a_child_that_fails_to_start_says_why(server: Server) -> None:
    server.behaviour = "fails"
    with pytest.raises(StartError, match="ended with code 1 while starting\nthe reason why"):
        server.start()


def test_a_child_that_ignores_the_polite_signal_is_killed(server: Server) -> None:
    server.behaviour = "stubborn"
    server.start()
    server.stop()
    assert is_free(server.port)


def test_in_a_hurry_nobody_is_waited_for(server: Server) -> None:
    server.behaviour = "stubborn"
    server.stop_seconds = 60.0
    server.start()
    server.hurry.set()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5.0


def test_grandchildren_go_with_their_parent(server: Server) -> None:
    server.behaviour = "parent"
    server.start()
    assert server.pid is not None
    family = psutil.Process(server.pid).children()
    server.stop()
    assert len(family) == 1
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_dead_child_is_started_again_after_its_wait_and_it_is_said(server: Server) -> None:
    server.start()
    heard = Heard()
    watch = Watch(server, heard)
    assert server._process is not None
    server._process.kill()
    server._process.wait()
    died = time.monotonic()
    watch.look(died)
    assert server._state.entries()["server"].state == "restarting"
    watch.look(died + 0.4)
    assert not server.alive()
    watch.look(died + 0.6)
    server.wait_ready()
    watch.look(time.monotonic())
    assert heard.lines[0] == "server was killed by SIGKILL; starting it again in 0.5 s"
    assert heard.lines[1].startswith(f"server is back (process {server.pid}")
    assert server._state.entries()["server"].restarts == 1


def test_every_further_death_waits_longer(server: Server) -> None:
    server.behaviour = "fails"
    heard = Heard()
    watch = Watch(server, heard)
    server.launch()
    for _ in range(3):
        assert server._process is not None
        server._process.wait()
        died = time.monotonic()
        watch.look(died)
        watch.look(died + 30.0)
    assert [line.rpartition("in ")[2] for line in heard.lines] == ["0.5 s", "1 s", "2 s"]
