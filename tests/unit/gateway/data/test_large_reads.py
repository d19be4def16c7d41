"""Answers over all customers take turns, and one tenant cannot fill the queue of all."""

import asyncio
import contextlib
from uuid import uuid4

import pytest

from services.api_gateway.errors import Problem
from services.api_gateway.large_reads import LargeReads


async def test_so_many_run_at_once_and_one_tenant_keeps_no_other_out() -> None:
    reads, busy, other = LargeReads(1, 1), uuid4(), uuid4()
    order: list[str] = []
    first_may_end = asyncio.Event()

    async def read(name: str, until: asyncio.Event | None = None) -> None:
        async with reads.turn(other if name == "other" else busy):
            order.append(name)
            if until is not None:
                await until.wait()

    tasks = [asyncio.create_task(read("first", first_may_end)), asyncio.create_task(read("second"))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(read("other")))
    await asyncio.sleep(0)
    assert order == ["first"]
    with pytest.raises(Problem) as refused:
        await read("third")
    assert (refused.value.status_code, (refused.value.headers or {})["Retry-After"]) == (503, "2")
    first_may_end.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "second", "other"]
    await read("fourth")


async def test_a_read_that_fails_or_is_given_up_gives_its_turn_back() -> None:
    reads, tenant = LargeReads(1, 0), uuid4()
    with contextlib.suppress(ValueError):
        async with reads.turn(tenant):
            raise ValueError

    async def waiting() -> None:
        async with reads.turn(tenant):
            await asyncio.sleep(60)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with reads.turn(tenant):
        pass
