"""The background loop: steps, pauses, failures in a row, waking and stopping."""

import asyncio
from typing import Any

import pytest

from shared.background import BackgroundLoop, Backoff
from shared.messaging.errors import Transient
from tests.support.waiting import until

LONG_S = 60.0


class Log:
    """Remembers level, event and fields of what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))


class Work:
    """Steps whose outcomes are given in advance: an exception, seconds, or None; then None for ever."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.steps = list(outcomes), 0

    async def step(self) -> float | None:
        self.steps += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def reached(self, steps: int) -> None:
        async def there() -> bool:
            return self.steps >= steps

        await until(there, seconds=5, what=f"{steps} steps")


def backoff(log: Any = None, **knobs: float) -> Backoff:
    return Backoff(
        log or Log(), waits="work waits", failed="work failed", **{"first_s": 0.001, "longest_s": 0.01, **knobs}
    )


def test_the_pause_doubles_with_each_failure_in_a_row_up_to_the_longest_and_never_overflows() -> None:
    waiting = backoff(first_s=0.5, longest_s=5.0)
    assert [waiting.failed(Transient()) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert {waiting.failed(Transient()) for _ in range(2000)} == {5.0}, "an outage of hours"
    waiting.succeeded()
    assert waiting.failed(Transient()) == 1.0


def test_what_is_away_is_a_warning_and_what_nobody_expected_an_error_with_its_trace() -> None:
    log = Log()
    waiting = Backoff(log, waits="work waits", failed="work failed", first_s=1, longest_s=2, tenant_id=7)  # type: ignore[arg-type]
    defect = KeyError("x")
    for error in (ConnectionError("away"), defect):
        waiting.failed(error)
    assert log.lines == [
        ("warning", "work waits", {"cause": "ConnectionError", "tenant_id": 7}),
        ("error", "work failed", {"error": "KeyError", "exc_info": defect, "tenant_id": 7}),
    ]


async def test_no_failure_ends_it_and_a_good_step_ends_the_row() -> None:
    log, work = Log(), Work(Transient(), KeyError("x"), None, Transient())
    waiting = backoff(log)
    loop = BackgroundLoop("work", work.step, waiting, pause_s=0.001)
    loop.start()
    await work.reached(6)
    await loop.stop()
    assert [line[:2] for line in log.lines] == [
        ("warning", "work waits"), ("error", "work failed"), ("warning", "work waits"),
    ]  # fmt: skip
    assert waiting.failed(Transient()) == 0.002, "the row has ended"


async def test_a_step_may_say_when_the_next_one_is_due() -> None:
    work = Work(0.0, 0.0, 0.001, LONG_S)
    loop = BackgroundLoop("work", work.step, backoff(), pause_s=LONG_S)
    loop.start()
    await work.reached(4)
    await asyncio.sleep(0.05)
    assert work.steps == 4
    await loop.stop()


async def test_a_wake_ends_the_pause_but_not_the_least_one() -> None:
    work = Work()
    loop = BackgroundLoop("work", work.step, backoff(), pause_s=LONG_S, least_pause_s=0.2)
    loop.start()
    await work.reached(1)
    began = asyncio.get_running_loop().time()
    for _ in range(20):
        loop.wake()
        await asyncio.sleep(0.002)
    assert work.steps == 1, "whoever wakes often does not keep it busy"
    await work.reached(2)
    assert asyncio.get_running_loop().time() - began >= 0.15
    await asyncio.sleep(0.25)
    assert work.steps == 2, "twenty wakes are one"
    await loop.stop()


async def test_a_wake_during_a_step_lets_no_pause_follow() -> None:
    steps = 0

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            loop.wake()

    loop = BackgroundLoop("work", step, backoff(), pause_s=LONG_S)
    loop.start()
    await asyncio.sleep(0.05)
    assert steps == 2
    await loop.stop()


async def test_a_stop_ends_a_step_under_way_and_nothing_is_expected_afterwards() -> None:
    ended: list[str] = []

    async def step() -> None:
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    loop = BackgroundLoop("work", step, backoff(), pause_s=LONG_S)
    await loop.stop()
    assert loop.progress.idle_for is None, "a stop before the start is harmless"
    loop.start()
    assert "work" in {task.get_name() for task in asyncio.all_tasks()}
    await asyncio.sleep(0.05)
    await asyncio.wait_for(loop.stop(), 1)
    await loop.stop()
    assert ended == ["cancelled"]
    assert loop.progress.idle_for is None


async def test_a_step_that_hangs_shows_as_stuck_and_one_that_returns_does_not() -> None:
    hangs = asyncio.Event()

    async def step() -> None:
        if hangs.is_set():
            await asyncio.sleep(LONG_S)

    loop = BackgroundLoop("work", step, backoff(), pause_s=0.01)
    check = loop.progress.stuck(0.1, "work")
    loop.start()
    await asyncio.sleep(0.3)
    assert await check() is None
    hangs.set()
    await asyncio.sleep(0.3)
    assert "no progress" in (await check() or "")
    await loop.stop()


@pytest.mark.parametrize("outcome", [None, 0.0])
async def test_a_loop_without_a_pause_lets_others_work(outcome: float | None) -> None:
    work = Work(*[outcome] * 10_000)
    loop = BackgroundLoop("work", work.step, backoff(), pause_s=0.0)
    loop.start()
    await asyncio.wait_for(asyncio.sleep(0.01), 1)
    await loop.stop()
    assert work.steps > 1
