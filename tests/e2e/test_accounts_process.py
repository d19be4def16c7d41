"""The gateway as a process: it starts without its servers, finds them, finishes what it began, refuses weak secrets."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.ports import RANGE, is_free
from tests.stack import GATEWAY_PASSWORD, ROOT, Database, Stack
from tests.support.waiting import until

PASSWORD = "a long pass phrase"
USER = {"tenant_name": "A", "username": "ana", "email": "ana@example.org", "password": PASSWORD}


def _port() -> int:
    offset = os.getpid() % len(RANGE)
    return next(port for port in [*RANGE[offset:], *RANGE[:offset]] if is_free(port))


@asynccontextmanager
async def process(log: Path, **knobs: Any) -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient]]:
    """A gateway with these settings and a client of it; killed afterwards if it still runs."""
    port = _port()
    settings = {"PORT": port, "KAFKA_BOOTSTRAP": "127.0.0.1:1", "PASSWORD_TIME_COST": 1, "PASSWORD_MEMORY_KIB": 8192}
    environment = {"PATH": os.environ["PATH"]}
    environment |= {f"IACRM_{name}": str(value) for name, value in (settings | knobs).items()}
    with log.open("wb") as output:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.api_gateway", cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            yield running, http
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def alive(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health/live")).status_code == 200
    except httpx.TransportError:
        return False


async def stopped(running: asyncio.subprocess.Process, within_s: float = 10) -> int | None:
    running.send_signal(signal.SIGTERM)
    async with asyncio.timeout(within_s):
        return await running.wait()


async def test_it_starts_without_its_servers_says_so_and_stops_in_time(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://iacrm_gateway:x@127.0.0.1:1/nothing"
    async with process(tmp_path / "log", DATABASE_URL=url) as (running, http):
        await until(lambda: alive(http), seconds=20, what="the gateway listens")
        ready = await http.get("/health/ready")
        assert ready.status_code == 503
        assert {"database", "event log"} <= {name for name, said in ready.json()["checks"].items() if said != "ok"}
        began = time.monotonic()
        answer = await http.post("/v1/auth/token", data={"username": "ana", "password": PASSWORD})
        assert (answer.status_code, time.monotonic() - began < 5) == (503, True)
        assert answer.headers["retry-after"]
        assert await stopped(running) == 0


async def test_it_finds_a_database_that_comes_later_by_itself(tmp_path: Path, stack: Stack, database: Database) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        url = f"postgresql+asyncpg://iacrm_gateway:{GATEWAY_PASSWORD}@127.0.0.1:{door.getsockname()[1]}/{database.name}"
        async with process(tmp_path / "log", DATABASE_URL=url) as (running, http):
            await until(lambda: alive(http), seconds=20, what="the gateway listens")
            assert (await http.post("/v1/auth/register", json=USER)).status_code == 503
            async with _tunnel(door, stack):
                answer = await http.post("/v1/auth/register", json=USER)
                assert answer.status_code == 201, answer.text
            assert await stopped(running) == 0


@asynccontextmanager
async def _tunnel(door: socket.socket, stack: Stack) -> AsyncIterator[None]:
    """Lets connections through to the real database from now on."""
    from sqlalchemy.engine import make_url

    target = make_url(stack.url("postgres"))
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.host, target.port)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(pipe(source, sink))
            pipes.add(task)
            task.add_done_callback(pipes.discard)

    server = await asyncio.start_server(serve, sock=door)
    try:
        yield
    finally:
        server.close()
        for task in pipes:
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def test_a_request_that_runs_when_it_is_told_to_stop_gets_its_answer(tmp_path: Path, database: Database) -> None:
    slow = {"PASSWORD_TIME_COST": 4, "PASSWORD_MEMORY_KIB": 131_072}
    async with process(tmp_path / "log", DATABASE_URL=database.gateway_url, **slow) as (running, http):
        await until(lambda: alive(http), seconds=20, what="the gateway listens")
        request = asyncio.create_task(http.post("/v1/auth/register", json=USER))
        metrics = "iacrm_http_in_flight 2.0"  # this question and the registration

        async def busy() -> bool:
            return metrics in (await http.get("/metrics")).text

        await until(busy, seconds=10, what="the registration runs")
        code, answer = await asyncio.gather(stopped(running, 12), request)
        assert (answer.status_code, code) == (201, 0)
    log = (tmp_path / "log").read_text()
    assert PASSWORD not in log
    assert "ana@example.org" not in log


async def test_production_refuses_to_start_with_default_secrets_and_shows_none(tmp_path: Path) -> None:
    short = "tiny-secret"
    for secrets, named in (
        ({}, "IACRM_ERASURE_SECRET"),
        ({"ERASURE_SECRET": short}, "IACRM_ERASURE_SECRET"),
        ({"ERASURE_SECRET": "e" * 40}, "IACRM_JWT_SECRETS"),
        ({"ERASURE_SECRET": "e" * 40, "JWT_SECRETS": f'{{"development": "{short}"}}'}, "IACRM_JWT_SECRETS"),
    ):
        async with process(tmp_path / "log", ENV="production", **secrets) as (running, _):
            async with asyncio.timeout(20):
                assert await running.wait() not in (0, None)
        log = (tmp_path / "log").read_text()
        assert named in log
        assert short not in log


async def test_what_is_no_http_is_refused_with_a_problem_too(tmp_path: Path) -> None:
    async with process(tmp_path / "log") as (_, http):
        await until(lambda: alive(http), seconds=20, what="the gateway listens")
        host, port = http.base_url.host, http.base_url.port
        for sent in (
            b"FOO / HTTP/1.1\r\n\r\n",
            b"\x00\x01\r\n\r\n",
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /v1/sales HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(sent)
            head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
            writer.close()
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"content-type: application/problem+json" in head.lower()
            problem = json.loads(body)
            assert (problem["status"], problem["type"].rsplit("/", 1)[1]) == (400, "malformed")
            assert f"x-request-id: {problem['request_id']}".encode() in head
