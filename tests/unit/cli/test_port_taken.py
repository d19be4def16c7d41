"""`--port` of a port in use: said before anything is started, with an exit code of failure."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.paths import ROOT
from cli.ports import HOST, is_free
from cli.report import Silent
from cli.state import Entry, Identity, StateFile
from cli.supervisor.services import GATEWAY
from cli.supervisor.stack import Stack

LISTEN = (
    "import socket,sys,time; s=socket.socket(); s.bind(('127.0.0.1',int(sys.argv[1]))); s.listen(); time.sleep(600)"
)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        yield int(other.getsockname()[1])


@pytest.mark.parametrize("command", [["up"], ["up", "--detach"], ["demo", "--exit"]], ids=" ".join)
def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path, taken: int, command: list[str]) -> None:
    data = tmp_path / "data"
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "cli", *command, "--port", str(taken)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "IACRM_DATA_DIR": str(data)},
        text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"port {taken} for api_gateway is in use; choose another one" in ended.stdout + ended.stderr
    assert not (data / "postgres").exists()
    assert not (data / "kafka").exists()
    assert StateFile(data / "state.json").entries() == {}


def test_a_port_that_a_killed_stack_left_taken_is_freed_first(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    left = subprocess.Popen([sys.executable, "-c", LISTEN, str(port)])
    try:
        deadline = time.monotonic() + 10
        while is_free(port) and time.monotonic() < deadline:
            time.sleep(0.02)
        identity = Identity.of(left.pid)
        entry = Entry(left.pid, identity.created, port, str(tmp_path / "log"), "running")
        StateFile(tmp_path / "state.json").put(GATEWAY, entry)
        stack = Stack(tmp_path, Silent(), gateway_port=port)
        stack._reserve_port()
        assert is_free(port)
        assert stack.state.entries() == {}
    finally:
        left.kill()
        left.wait()
