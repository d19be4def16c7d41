"""`python -m services.rfm_worker.jobs` as a real process: it starts, works, tells, stops, and survives a kill."""

import os
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from cli.ports import RANGE, is_free
from services.rfm_worker.repository import jobs as repository
from shared.db.engine import driver_connection, transaction
from tests.integration.rfm.conftest import Rfm
from tests.integration.rfm.test_lifetime_job import shop
from tests.stack import ROOT, Database
from tests.support.processes import Process
from tests.support.waiting import until

MOST_MB = 250
Start = Callable[..., Process]


@pytest.fixture
async def start(database: Database, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the process with settings, given without their prefix; kills what is left of it afterwards."""
    started: list[Process] = []

    def begin(**settings: str) -> Process:
        port = next(port for port in random.sample(RANGE, 500) if is_free(port))
        environment = {
            "PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "IACRM_DATABASE_URL": database.rfm_url,
            "IACRM_PORT": str(port), "IACRM_JOBS_LOOK_S": "0.2", "IACRM_LIFETIME_LEAST_BUYERS": "60",
            **{f"IACRM_{name.upper()}": value for name, value in settings.items()},
        }  # fmt: skip
        process = Process("rfm_worker.jobs", environment, tmp_path / f"jobs{len(started)}.log", port)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


async def _due_shop(rfm: Rfm) -> None:
    """A shop for which every job is due: the self-check has waited for its night, which is over."""
    await shop(rfm)
    await rfm.score()
    async with transaction(rfm.engine) as connection:
        raw = await driver_connection(connection)
        await repository.await_night(raw, "self_check", datetime.now(UTC) - timedelta(days=2))


async def _ran(rfm: Rfm, count: int = 2) -> None:
    async def enough() -> bool:
        done = "select 1 from rfm.job_run where tenant_id = :tenant and outcome <> 'waiting'"
        return len(await rfm.query(done)) >= count

    await until(enough, seconds=60, what=f"{count} jobs have run")


async def test_it_runs_what_is_due_shows_it_and_stops_when_asked(rfm: Rfm, start: Start) -> None:
    await _due_shop(rfm)
    process = start()
    await process.ready()
    await process.answers("/health/live", 200)
    await _ran(rfm)
    outcomes = dict(await rfm.query("select job, outcome from rfm.job_run where tenant_id = :tenant"))
    assert outcomes == {"lifetime_value": "ok", "self_check": "passed"}

    async def shown() -> bool:
        return await process.metric("iacrm_job_tenants", job="self_check", outcome="passed") == 1

    await until(shown, seconds=20, what="the metrics show the runs")
    assert await process.metric("iacrm_job_runs_total", job="lifetime_value", outcome="ok") == 1
    assert await process.metric("iacrm_job_last_run_timestamp_seconds", job="self_check") > 0
    assert psutil.Process(process.pid).memory_info().rss < MOST_MB * 2**20
    await process.stop()
    assert "c7" not in process.log.read_text().split()


async def test_a_killed_run_is_done_by_the_next_process_and_a_finished_one_is_not_repeated(
    rfm: Rfm, start: Start
) -> None:
    await _due_shop(rfm)
    first = start()
    await first.ready()
    first.kill()
    second = start()
    await second.ready()
    await _ran(rfm)
    runs = await rfm.query("select job, finished_at from rfm.job_run where tenant_id = :tenant")
    await second.stop()
    third = start()
    await third.ready()

    async def shown() -> bool:
        return await third.metric("iacrm_job_tenants", job="lifetime_value", outcome="ok") == 1

    await until(shown, seconds=20, what="the third process has looked")
    assert await third.metric("iacrm_job_runs_total") == 0
    await third.stop()
    assert await rfm.query("select job, finished_at from rfm.job_run where tenant_id = :tenant") == runs


async def test_without_a_database_it_lives_and_says_that_it_is_not_ready(start: Start) -> None:
    process = start(database_url="postgresql+asyncpg://iacrm_rfm:secret-word@127.0.0.1:9/none")
    await process.answers("/health/live", 200)
    assert await process.status("/health/ready") == 503
    await process.stop()
    assert "secret-word" not in process.log.read_text()


@pytest.mark.parametrize(
    ("setting", "value"), [("night_hour", "24"), ("lifetime_horizon_days", "7"), ("lifetime_growth", "much")]
)
async def test_a_bad_setting_ends_it_at_once_and_is_named(start: Start, setting: str, value: str) -> None:
    process = start(**{setting: value})
    assert await process.ended(30) != 0
    assert setting in process.log.read_text().lower()
