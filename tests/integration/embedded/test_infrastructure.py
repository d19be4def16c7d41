"""Real PostgreSQL and Kafka in a data folder: what survives, and that nothing is left behind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cli.embedded.infrastructure import AlreadyRunningError, Infrastructure
from cli.paths import ROOT
from cli.state import StateFile

OWNER = """
import sys, time
from pathlib import Path
from cli.embedded.infrastructure import Infrastructure
Infrastructure(Path(sys.argv[1]), fsync=False).start()
print("serving", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infrastructure]:
    """Servers of these tests' own, since they are killed and stopped."""
    with Infrastructure(tmp_path_factory.mktemp("data"), fsync=False) as running:
        yield running


def _pids(state: StateFile) -> list[int]:
    return [entry.pid for entry in state.entries().values()]


async def _append(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


def test_rows_survive_a_kill_and_a_stop(servers: Infrastructure) -> None:
    postgres = servers.postgres
    postgres.psql("create table kept (n int); insert into kept values (1)")
    postgres.kill()
    postgres.start()
    postgres.psql("insert into kept values (2)")
    postgres.restart()
    assert postgres.psql("select string_agg(n::text, ',' order by n) from kept") == "1,2"


def test_only_the_password_opens_the_database(servers: Infrastructure) -> None:
    assert servers.postgres.psql("show password_encryption") == "scram-sha-256"
    assert servers.postgres.psql("select bool_and(auth_method = 'scram-sha-256') from pg_hba_file_rules") == "t"
    assert servers.postgres.psql("show synchronous_commit") == "on"


async def test_records_survive_a_kill_and_a_stop_and_the_broker_is_back_soon(
    servers: Infrastructure,
) -> None:
    kafka = servers.kafka
    bootstrap = kafka.bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    await _append(bootstrap, "kept", b"one")
    kafka.kill()
    began = time.monotonic()
    kafka.start()
    assert time.monotonic() - began < 10.0  # 5 s on an idle machine; 12 with the default session timeout
    await _append(bootstrap, "kept", b"two")
    kafka.restart()
    assert kafka.bootstrap == bootstrap
    assert await _read(bootstrap, "kept", 2) == [b"one", b"two"]


def test_one_data_folder_has_one_owner(servers: Infrastructure) -> None:
    with pytest.raises(AlreadyRunningError):
        Infrastructure(servers.data).start()
    assert servers.postgres.alive()


def test_a_stop_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    with Infrastructure(tmp_path, fsync=False) as servers:
        pids = _pids(servers.state)
        assert len(pids) == 2
        ports = (servers.postgres.port, servers.kafka.port)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not (tmp_path / "lock").exists()
    assert not (tmp_path / "state.json").exists()
    again = Infrastructure(tmp_path)
    assert (again.postgres.port, again.kafka.port) == ports


def test_what_a_killed_owner_left_is_found_and_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=environment) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"serving\n"
            left = [psutil.Process(pid) for pid in _pids(StateFile(tmp_path / "state.json"))]
        finally:
            owner.kill()
    assert len(left) == 2
    with Infrastructure(tmp_path, fsync=False) as servers:
        assert not [process for process in left if process.is_running()]
        assert servers.postgres.psql("select 1") == "1"
