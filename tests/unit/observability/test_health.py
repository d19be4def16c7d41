"""Health looks at progress, not at pings."""

import asyncio
import json

from shared.observability.health import Health, Progress


async def well() -> str | None:
    return None


async def ill() -> str | None:
    return "the broker is away"


async def broken() -> str | None:
    raise ValueError("postgresql://user:secret@host")


async def ask(app) -> tuple[int, dict]:
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http"}, None, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_all_well_is_200():
    health = Health()
    health.add_live("relay", well)
    assert await ask(health.asgi_live()) == (200, {"status": "ok", "checks": {"relay": "ok"}})


async def test_one_failing_check_is_503_and_says_which():
    health = Health()
    health.add_live("relay", well)
    health.add_ready("broker", ill)
    assert await ask(health.asgi_live()) == (200, {"status": "ok", "checks": {"relay": "ok"}})
    assert await ask(health.asgi_ready()) == (
        503,
        {"status": "failing", "checks": {"relay": "ok", "broker": "the broker is away"}},
    )


async def test_a_check_that_breaks_fails_without_saying_more_than_its_type():
    health = Health()
    health.add_ready("database", broken)
    report = await health.ready()
    assert report.checks == {"database": "check failed: ValueError"}
    assert not report.ok


async def test_a_check_that_hangs_fails():
    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    health = Health(check_timeout_s=0.01)
    health.add_ready("database", hangs)
    assert (await health.ready()).checks == {"database": "no answer within 0.01 s"}


async def test_progress_is_stuck_only_while_something_is_expected():
    now = [0.0]
    progress = Progress(lambda: now[0])
    check = progress.stuck(60, "poll loop")
    assert await check() is None
    progress.beat()
    now[0] = 61
    assert await check() == "poll loop: no progress for 61 s"
    progress.beat()
    assert await check() is None
    progress.rest()
    now[0] = 1000
    assert await check() is None
