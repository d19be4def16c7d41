"""The embedded stack for one measurement: a fresh database and topics, services as real processes."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import psutil

from benchmarks.baskets import data_folder
from cli.embedded.infrastructure import Infrastructure
from cli.paths import ROOT
from cli.paths import data_folder as stack_folder

TENANT = UUID(int=0x1AC2)
DEFAULT_YARDSTICK = ROOT.parent / "shared" / "yardstick" / "yardstick.py"
PASSWORD = "benchmark-password-of-this-run-alone"
POLL_S = 0.002
MODULES = {"importer": "services.api_gateway.importer"}


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant's owner, logged in."""

    tenant_id: str
    bearer: bytes


@dataclass
class Stack:
    """A running stack. `prefix` is empty: every stack has a broker of its own."""

    bootstrap: str
    admin_url: str
    folder: Path
    prefix: str = ""
    gateway_port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def launch(self, service: str) -> None:
        """Starts a service as its own process."""
        port = free_port()
        if service == "api_gateway":
            self.gateway_port = port
        log = (self.folder / f"{service}.log").open("ab")
        command = [sys.executable, "-m", MODULES.get(service, f"services.{service}")]
        self.processes[service] = subprocess.Popen(
            command, cwd=ROOT, env=self.environment(service, port), stdout=log, stderr=log,
        )  # fmt: skip

    def environment(self, service: str, port: int = 0) -> dict[str, str]:
        """Environment of a service's process."""
        role = "iacrm_rfm" if service == "rfm_worker" else "iacrm_gateway"
        server = self.admin_url.rpartition("@")[2].partition("/")[0]
        return {
            **os.environ,
            "IACRM_DATABASE_URL": f"postgresql+asyncpg://{role}:{PASSWORD}@{server}/iacrm",
            "IACRM_KAFKA_BOOTSTRAP": self.bootstrap,
            "IACRM_IMPORT_STORAGE": str(self.folder / "imports"),
            "IACRM_IMPORT_WORK": str(self.folder / "import-work"),
            "IACRM_PORT": str(port),
            "IACRM_LOG_LEVEL": "WARNING",
            "IACRM_RATE_LIMIT_PER_MINUTE": "100000000",
        }

    async def ready(self) -> None:
        """Waits until the gateway answers and every process lives."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self.processes.values()):
                raise RuntimeError(f"a service ended; see {self.folder}")
            if not self.gateway_port or await asyncio.to_thread(_answers, self.gateway_port):
                return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the gateway is not ready; see {self.folder}")

    def rss_mb(self, service: str) -> int:
        """Resident memory of a service, in MiB."""
        return round(psutil.Process(self.processes[service].pid).memory_info().rss / 2**20)

    def cpu_seconds(self, service: str) -> float:
        """Processor time that a service has used."""
        times = psutil.Process(self.processes[service].pid).cpu_times()
        return float(times.user + times.system)

    def end(self, service: str) -> None:
        """Orderly stop of a service."""
        process = self.processes.pop(service)
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextlib.asynccontextmanager
    async def applied(self, service: str) -> AsyncIterator["Commits"]:
        """Watches what a worker has committed."""
        schema = service.removesuffix("_worker")
        connection = await asyncpg.connect(self.admin_url)
        try:
            statement = f"select partition, next_offset from {schema}.applied_offset where topic = 'sales'"
            yield Commits(await connection.prepare(statement))
        finally:
            await connection.close()


class Commits:
    """What is committed when, seen from outside by asking the database every two milliseconds."""

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._seen: dict[int, tuple[list[int], list[float]]] = {}

    async def until(self, sales: int) -> tuple[int, float]:
        """Waits until at least `sales` are applied. Returns how many are, and when that was seen."""
        while True:
            rows = await self._statement.fetch()
            applied = sum(row["next_offset"] for row in rows)
            if applied >= sales:
                return applied, time.perf_counter()
            await asyncio.sleep(POLL_S)

    async def watch(self) -> None:
        """Notes every change until it is cancelled."""
        while True:
            rows = await self._statement.fetch()
            now = time.perf_counter()
            for row in rows:
                offsets, times = self._seen.setdefault(row["partition"], ([], []))
                if not offsets or offsets[-1] < row["next_offset"]:
                    offsets.append(row["next_offset"])
                    times.append(now)
            await asyncio.sleep(POLL_S)

    async def delays(self, positions: list[tuple[int, int]], began: list[float]) -> list[float]:
        """Seconds from each `began` until its position was seen committed; waits for the last (needs `watch`)."""
        deadline = time.monotonic() + 120
        while not all(self._committed(partition, offset) for partition, offset in positions[-500:]):
            if time.monotonic() > deadline:
                raise RuntimeError("the worker did not apply what was accepted")
            await asyncio.sleep(0.05)
        return [self._when(*position) - start for position, start in zip(positions, began, strict=True)]

    def _committed(self, partition: int, offset: int) -> bool:
        offsets, _ = self._seen.get(partition, ([], []))
        return bool(offsets) and offsets[-1] > offset

    def _when(self, partition: int, offset: int) -> float:
        offsets, times = self._seen[partition]
        return times[bisect_left(offsets, offset + 1)]


@contextlib.asynccontextmanager
async def stack(*services: str, shared_buffers: str | None = None) -> AsyncIterator[Stack]:
    """Postgres, Kafka, a migrated database and the named services; everything is stopped and removed at the end.

    Args:
        shared_buffers: PostgreSQL's, where those of the embedded stack are too few for what is measured.
    """
    data = stack_folder()
    data.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=data) as name,
        _infrastructure(Path(name), shared_buffers) as servers,
    ):
        admin = servers.postgres.admin_url
        running = Stack(servers.kafka.bootstrap, await _new_database(admin), Path(name))
        _prepare(running)
        try:
            for service in services:
                running.launch(service)
            await running.ready()
            yield running
        finally:
            for service in list(running.processes):
                running.end(service)


@contextlib.contextmanager
def _infrastructure(folder: Path, shared_buffers: str | None) -> Iterator[Infrastructure]:
    servers = Infrastructure(folder, shared_buffers=shared_buffers)
    servers.start()
    try:
        yield servers
    finally:
        servers.stop()


async def _new_database(admin_url: str) -> str:
    connection = await asyncpg.connect(admin_url)
    await connection.execute("create database iacrm")
    await connection.close()
    return admin_url.rpartition("/")[0] + "/iacrm"


def _prepare(running: Stack) -> None:
    environment = {
        **os.environ,
        "IACRM_ADMIN_DATABASE_URL": running.admin_url.replace("postgresql://", "postgresql+asyncpg://"),
        "IACRM_GATEWAY_DB_PASSWORD": PASSWORD,
        "IACRM_RFM_DB_PASSWORD": PASSWORD,
        "IACRM_KAFKA_BOOTSTRAP": running.bootstrap,
    }
    for module in ("migrations", "shared.messaging.topics"):
        subprocess.run([sys.executable, "-m", module], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


@contextlib.asynccontextmanager
async def noop() -> AsyncIterator[int]:
    """The baseline's server on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.noop_gateway", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        while not await asyncio.to_thread(_listens, port):
            await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


async def open_account(running: Stack) -> Account:
    """Registers a tenant and logs its owner in."""
    await running.ready()
    base = f"http://127.0.0.1:{running.gateway_port}/v1"
    person = {"tenant_name": "Benchmark", "username": "bench", "email": "bench@example.org", "password": PASSWORD}
    await asyncio.to_thread(_post, f"{base}/auth/register", json.dumps(person).encode(), "application/json")
    form = f"username=bench&password={PASSWORD}".encode()
    answer = await asyncio.to_thread(_post, f"{base}/auth/token", form, "application/x-www-form-urlencoded")
    token = json.loads(answer)["access_token"]
    return Account("", b"Authorization: Bearer " + token.encode() + b"\r\n")


async def yardstick(running: Stack, script: Path, *options: str) -> dict[str, Any]:
    """One run of the bare consumer on the same servers; its own figures."""
    if not script.exists():
        raise SystemExit(f"the bare consumer {script} is not there; name it with --yardstick")
    command = [sys.executable, str(script), "--kafka", running.bootstrap, "--dsn", running.admin_url]
    command += ["--data", str(data_folder()), "--repeat", "1", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the bare consumer ended with {process.returncode}")
    return dict(json.loads(output.splitlines()[0]))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _post(url: str, body: bytes, content_type: str) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return bytes(answer.read())


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
