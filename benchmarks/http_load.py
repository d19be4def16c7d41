"""A lean HTTP/1.1 load generator: the generator shares two cores with what it measures, so it must cost little."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: status, headers in lower case, body, and its begin and end on the monotonic clock in seconds."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    began: float
    ended: float


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, headers: bytes) -> Answer:
        """Sends one POST and reads the whole answer."""
        return await self._send(
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n", headers, body
        )

    async def get(self, path: str, headers: bytes) -> Answer:
        """Sends one GET and reads the whole answer."""
        return await self._send(f"GET {path} HTTP/1.1\r\nHost: bench\r\n", headers, b"")

    async def _send(self, head: str, headers: bytes, body: bytes) -> Answer:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        began = time.perf_counter()
        self._writer.write(head.encode() + headers + b"\r\n" + body)
        status, found = _head(await self._reader.readuntil(b"\r\n\r\n"))
        answer = await self._reader.readexactly(int(found.get(b"content-length", b"0")))
        return Answer(status, found, answer, began, time.perf_counter())

    async def close(self) -> None:
        """Closes the connection, if it was opened."""
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()


def _head(raw: bytes) -> tuple[int, dict[bytes, bytes]]:
    status, *lines = raw[:-4].split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    return int(status.split(b" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def saturate(
    port: int, path: str, bodies: Sequence[bytes], headers: bytes, *, connections: int
) -> tuple[float, list[Answer]]:
    """Sends all bodies as fast as `connections` connections allow. Returns seconds and answers."""
    queue = iter(bodies)
    answers: list[Answer] = []

    async def work() -> None:
        connection = Connection("127.0.0.1", port)
        for body in queue:
            answers.append(await connection.post(path, body, headers))
        await connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return time.perf_counter() - began, answers


async def pace(
    port: int, path: str, bodies: Sequence[bytes], headers: bytes, *, per_second: int, connections: int = 64
) -> list[Answer]:
    """Sends bodies at a steady rate, however long the answers take (as far as the connections allow).

    An answer's `began` is when it was due, so that a queue at the sender counts as delay too.
    """
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(connections):
        idle.put_nowait(Connection("127.0.0.1", port))
    answers: list[Answer] = []

    async def send(connection: Connection, body: bytes, due: float) -> None:
        answer = await connection.post(path, body, headers)
        answers.append(Answer(answer.status, answer.headers, answer.body, due, answer.ended))
        idle.put_nowait(connection)

    start, tasks = time.perf_counter(), set()
    for number, body in enumerate(bodies):
        due = start + number / per_second
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(send(await idle.get(), body, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not idle.empty():
        await idle.get_nowait().close()
    return answers
