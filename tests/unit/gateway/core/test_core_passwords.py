"""Passwords: the same work for everybody, and no more of it at once than the process can bear."""

import asyncio
import threading
from typing import Any

import pytest

from services.api_gateway.errors import Problem
from services.api_gateway.security.passwords import Passwords
from services.api_gateway.settings import GatewaySettings

FAST = {"password_time_cost": 1, "password_memory_kib": 8192}


def passwords(**knobs: Any) -> Passwords:
    return Passwords(GatewaySettings(**(FAST | knobs)))


async def test_a_hash_is_salted_argon2id_and_fits_its_password_only() -> None:
    made = passwords()
    first, second = await made.hash("a long pass phrase"), await made.hash("a long pass phrase")
    assert first.startswith("$argon2id$")
    assert first != second
    assert await made.verify("a long pass phrase", first) == (True, None)
    assert (await made.verify("another pass phrase", first))[0] is False


async def test_an_unknown_account_costs_the_same_work_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    made = passwords()
    stored = await made.hash("a long pass phrase")
    await made.warm_up()
    calls: list[str] = []
    verify = made._hasher.verify_and_update

    def watched(password: str, against: str) -> tuple[bool, str | None]:
        calls.append(against)
        return verify(password, against)

    monkeypatch.setattr(made._hasher, "verify_and_update", watched)
    assert (await made.verify("wrong", stored))[0] is False
    assert (await made.verify("wrong", None))[0] is False
    known, unknown = calls
    assert known.split("$")[:4] == unknown.split("$")[:4]  # one verification each, with the same parameters


async def test_nobody_logs_in_with_the_stand_in_of_unknown_accounts() -> None:
    assert await passwords().verify("an account that does not exist", None) == (False, None)


async def test_a_hash_with_old_parameters_is_renewed() -> None:
    old = await passwords().hash("a long pass phrase")
    fits, renewed = await passwords(password_time_cost=2).verify("a long pass phrase", old)
    assert fits
    assert renewed is not None
    assert "t=2" in renewed


async def test_no_more_hashes_run_at_once_than_allowed_and_the_queue_has_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = passwords(password_concurrency=2, password_queue=3)
    running, most, gate = 0, 0, threading.Event()
    lock, entered = threading.Lock(), threading.Semaphore(0)

    def slow(_password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        entered.release()
        gate.wait(10)
        with lock:
            running -= 1
        return "hash"

    monkeypatch.setattr(made._hasher, "hash", slow)
    tasks = [asyncio.create_task(made.hash("x")) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await made.hash("one too many")
    for _ in range(2):
        assert await asyncio.to_thread(entered.acquire, timeout=10)
    gate.set()
    assert await asyncio.gather(*tasks) == ["hash"] * 5
    assert (most, refused.value.status_code) == (2, 503)
    assert refused.value.headers
    assert "Retry-After" in refused.value.headers
