"""Ports, secrets, state, files and back-off: what the supervisor trusts."""

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cli import up
from cli.backoff import LONGEST_SECONDS, STABLE_SECONDS, Backoff
from cli.credentials import Credentials
from cli.files import FileLock, rotate, write_atomically
from cli.ports import HOST, RANGE, Ports, PortTakenError, is_free
from cli.state import Entry, Identity, StateFile


def _listening() -> socket.socket:
    server = socket.socket()
    server.bind((HOST, 0))
    server.listen()
    return server


def test_a_port_is_remembered_while_it_is_free(tmp_path: Path) -> None:
    first = Ports(tmp_path / "ports.json").choose("kafka")
    assert Ports(tmp_path / "ports.json").choose("kafka") == first
    assert first in RANGE


def test_a_remembered_port_that_somebody_took_is_replaced(tmp_path: Path) -> None:
    with _listening() as server:
        taken = server.getsockname()[1]
        write_atomically(tmp_path / "ports.json", json.dumps({"kafka": taken}))
        assert Ports(tmp_path / "ports.json").choose("kafka") != taken


def test_two_processes_of_a_stack_never_get_the_same_port(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    preferred = next(port for port in RANGE if is_free(port))
    assert ports.choose("one", prefer=preferred) == preferred
    assert ports.choose("two", prefer=preferred) != preferred


def test_a_port_that_was_asked_for_and_is_taken_is_refused(tmp_path: Path) -> None:
    with _listening() as server, pytest.raises(PortTakenError, match="in use"):
        Ports(tmp_path / "ports.json").choose("gateway", given=server.getsockname()[1])


def test_a_damaged_memory_of_ports_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("[oops")
    assert Ports(tmp_path / "ports.json").choose("kafka") in RANGE


def test_secrets_are_long_stable_and_private(tmp_path: Path) -> None:
    secret = Credentials(tmp_path).get("jwt_secret")
    assert len(secret) >= 32
    assert Credentials(tmp_path).get("jwt_secret") == secret
    assert Credentials(tmp_path).get("other") != secret
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_written_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "old")
    write_atomically(tmp_path / "file", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_only_a_large_log_is_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("x" * 10)
    rotate(log, largest=10)
    assert log.exists()
    rotate(log, largest=9)
    assert not log.exists()
    assert (tmp_path / "kafka.log.1").exists()


def test_a_lock_has_one_holder_and_is_gone_afterwards(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert not (tmp_path / "lock").exists()
    assert second.acquire()
    second.release()


def test_waits_double_up_to_the_longest() -> None:
    backoff, waits = Backoff(), []
    for _ in range(9):
        wait, backoff = backoff.after_death(ran_for=1.0)
        waits.append(wait)
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_SECONDS


def test_a_child_that_ran_long_starts_from_the_shortest_wait_again() -> None:
    assert Backoff(seconds=16.0).after_death(ran_for=STABLE_SECONDS)[0] == 0.5


def test_a_reused_process_id_is_not_taken_for_the_process() -> None:
    us = Identity.of(os.getpid())
    assert us.process() is not None
    assert Identity(us.pid, us.created - 3600).process() is None
    assert Identity(max(psutil.pids()) + 100_000, us.created).process() is None


def test_the_state_file_keeps_processes_and_fields(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state.json")
    state.set(gateway_url="http://127.0.0.1:8000")
    entry = Entry(pid=1, created=2.0, port=3, log="x.log", state="running")
    state.put("kafka", entry)
    assert StateFile(state.path).entries() == {"kafka": entry}
    state.drop("kafka")
    assert state.entries() == {}
    assert state.field("gateway_url") == "http://127.0.0.1:8000"


def test_an_unreadable_state_file_means_nothing_runs(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    assert StateFile(tmp_path / "state.json").entries() == {}


@pytest.mark.parametrize("start", [up.run, up.run_detached])
def test_a_data_folder_that_cannot_be_made_is_explained_without_a_trace(
    start: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("IACRM_DATA_DIR", str(tmp_path / "file" / "data"))
    assert start() == 1
    assert "Could not go on" in capsys.readouterr().err
