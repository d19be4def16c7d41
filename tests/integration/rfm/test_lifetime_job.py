"""The jobs on a real database: what is due, what is stored, who runs, and that nobody's numbers outlive them."""

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.jobs import lifetime as job
from services.rfm_worker.jobs.job import Context, Job, Outcome
from services.rfm_worker.jobs.registry import jobs_of
from services.rfm_worker.jobs.runner import Runner
from services.rfm_worker.jobs.settings import RfmJobsSettings
from services.rfm_worker.lifetime.model import Model
from shared.db.engine import driver_connection, transaction
from shared.observability import metrics
from tests.integration.rfm.conftest import SECRET, Clock, Rfm
from tests.support import rfm_items as make
from tests.support.lifetime_people import people

DAYS = 400
END = make.START + timedelta(days=DAYS)
SETTINGS = RfmJobsSettings(lifetime_least_buyers=60, lifetime_pause_s=60, night_hour=3)


async def shop(rfm: Rfm, customers: int = 220, *, seed: int = 5) -> None:
    """A shop of some 2,000 sales within 400 days, whose reference date is their end."""
    await rfm.apply(make.tenant(rfm.tenant_id, 1, reference_date=END.date(), timezone="UTC"))
    items = []
    for number, one in enumerate(people(customers, seed, days=DAYS, arrive_within=120)):
        for n, (day, amount) in enumerate(zip(one.days, one.amounts, strict=True)):
            sale_id = f"s{number}-{n}"
            items.append(make.sale(rfm.tenant_id, sale_id, f"c{number}", [("p", "1", f"{amount:.2f}")], day=float(day)))
    for start in range(0, len(items), 500):
        await rfm.apply(*items[start : start + 500])


def runner(rfm: Rfm, *jobs: Job, settings: RfmJobsSettings = SETTINGS) -> Runner:
    """A runner of these jobs, or of the lifetime value alone."""
    return Runner(rfm.engine, settings, jobs or jobs_of(settings)[:1], rfm.clock)


async def model(rfm: Rfm) -> Any:
    """The tenant's row."""
    (row,) = await rfm.query("select * from rfm.lifetime_model where tenant_id = :tenant")
    return row


async def values(rfm: Rfm) -> dict[str, Any]:
    """The customers' rows."""
    rows = await rfm.query("select * from rfm.lifetime_value where tenant_id = :tenant")
    return {row.customer_code: row for row in rows}


async def test_a_shop_with_enough_history_gets_values_and_the_models_error(rfm: Rfm) -> None:
    await shop(rfm)
    await runner(rfm).look()
    row, found = await model(rfm), await values(rfm)
    customers = await rfm.query("select customer_code from rfm.customer where tenant_id = :tenant and frequency > 0")
    assert (row.status, row.reason, row.horizon_days) == ("ok", None, 365)
    assert row.reference_date == END.date()
    assert found.keys() == {each.customer_code for each in customers}
    assert row.customers == len(found)
    assert all(0 <= each.probability_alive <= 1 and 0 <= each.low <= each.high for each in found.values())
    assert float(row.expected_value) == pytest.approx(sum(float(each.expected_value) for each in found.values()), abs=2)
    assert row.holdout["days"] in range(190, 201)
    assert row.holdout["value"]["actual"] > 0
    assert row.parameters.keys() == {"r", "alpha", "a", "b", "p", "q", "gamma"}
    assert sum(group["customers"] for group in row.deciles) == len(found)


async def test_several_orders_of_a_day_count_once_and_what_was_returned_does_not_count(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.tenant(t, 1, reference_date=END.date(), timezone="UTC"))
    await rfm.apply(
        make.sale(t, "s1", "c", [("p", "1", "10")], day=0),
        make.sale(t, "s2", "c", [("p", "1", "5")], day=0.1),
        make.sale(t, "s3", "c", [("p", "1", "7")], day=300),
        make.sale(t, "void", "c", [("p", "1", "7")], day=350),
        make.cancelled(t, "void"),
        make.sale(t, "later", "c", [("p", "1", "7")], day=DAYS + 30),
        make.sale(t, "anonymous", None, [("p", "1", "7")], day=3),
    )
    async with transaction(rfm.engine) as connection:
        raw = await driver_connection(connection)
        seen = await job.repository.span(raw, t, END)
        assert seen is not None
        assert (seen.reference_date, seen.history_days) == (END.date(), DAYS)
        codes, figures = await job.repository.order_days(raw, t, seen, 150)
    assert codes == ["c"]
    assert tuple(map(float, figures[0])) == (2, 400, 300, 22, 1, 0, 15, 0, 0)


async def test_too_little_history_is_said_and_takes_old_values_away(rfm: Rfm) -> None:
    await shop(rfm, 200)
    await runner(rfm).look()
    assert await values(rfm)
    strict = RfmJobsSettings(lifetime_least_days=500)
    rfm.clock.at = datetime.now(UTC) + timedelta(days=2)
    await runner(rfm, settings=strict).look()
    row = await model(rfm)
    assert (row.status, row.reason, row.expected_value) == ("not_enough_data", "too_little_history", None)
    assert await values(rfm) == {}


async def test_a_tenant_without_orders_is_left_alone(rfm: Rfm) -> None:
    await rfm.apply(make.tenant(rfm.tenant_id, 1), make.person(rfm.tenant_id, "c", 1))
    await runner(rfm).look()
    assert not await rfm.query("select 1 from rfm.job_run where tenant_id = :tenant")


async def _runs(
    rfm: Rfm, *moments: datetime, settings: RfmJobsSettings = SETTINGS, growth: float | None = 0.2
) -> list[bool]:
    """Whether a job ran at each of these moments, one look after the other."""
    ran: list[UUID] = []

    async def run(_context: Context, tenant_id: UUID) -> Outcome:
        ran.append(tenant_id)
        return Outcome("ok")

    found = []
    for moment in moments:
        rfm.clock.at = moment
        before = len(ran)
        await runner(rfm, Job("a_job", settings.lifetime_every_days, growth, run), settings=settings).look()
        found.append(len(ran) > before)
    return found


async def test_a_job_runs_once_a_night_of_the_tenants_own_time(rfm: Rfm) -> None:
    await rfm.apply(make.tenant(rfm.tenant_id, 1, timezone="America/New_York"))
    await rfm.apply(make.sale(rfm.tenant_id, "s", "c", [("p", "1", "1")]))
    noon = datetime(2026, 11, 24, 17, tzinfo=UTC)  # 12:00 in New York, five hours behind
    found = await _runs(
        rfm, noon, noon + timedelta(hours=1), noon + timedelta(hours=14, minutes=59), noon + timedelta(hours=15),
        noon + timedelta(hours=16), noon + timedelta(days=3),
    )  # fmt: skip
    assert found == [True, False, False, True, False, True]


async def test_a_job_of_every_third_night_waits_for_it(rfm: Rfm) -> None:
    await rfm.apply(
        make.tenant(rfm.tenant_id, 1, timezone="UTC"), make.sale(rfm.tenant_id, "s", "c", [("p", "1", "1")])
    )
    start = datetime(2026, 11, 24, 12, tzinfo=UTC)
    found = await _runs(
        rfm, *(start + timedelta(days=days) for days in range(4)), settings=RfmJobsSettings(lifetime_every_days=3)
    )
    assert found == [True, False, False, True]


async def test_a_tenant_that_grew_does_not_wait_for_the_night(rfm: Rfm) -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n}", "c", [("p", "1", "1")]) for n in range(10)))
    assert await _runs(rfm, noon) == [True]
    await rfm.apply(*(make.sale(t, f"t{n}", "c", [("p", "1", "1")]) for n in range(2)))
    assert await _runs(rfm, noon + timedelta(hours=1)) == [False]
    await rfm.apply(make.sale(t, "u", "c", [("p", "1", "1")]))
    assert await _runs(rfm, noon + timedelta(seconds=59), noon + timedelta(hours=1)) == [False, True]
    await rfm.apply(*(make.sale(t, f"v{n}", "c", [("p", "1", "1")]) for n in range(50)))
    assert await _runs(rfm, noon + timedelta(hours=2), growth=None) == [False]


async def test_a_job_of_the_night_meets_a_new_tenant_in_its_first_night(rfm: Rfm) -> None:
    await rfm.apply(make.sale(rfm.tenant_id, "s", "c", [("p", "1", "1")]))
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    found = await _runs(rfm, noon, noon + timedelta(hours=1), noon + timedelta(days=1), growth=None)
    assert found == [False, False, True]


async def test_a_failed_job_is_remembered_shown_and_tried_again_later(rfm: Rfm) -> None:
    await rfm.apply(make.sale(rfm.tenant_id, "s", "c", [("p", "1", "1")]))
    tries = []

    async def fails(_context: Context, tenant_id: UUID) -> Outcome:
        tries.append(tenant_id)
        raise ZeroDivisionError

    one = runner(rfm, Job("a_job", 1, 0.2, fails))
    rfm.clock.at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    await one.look()
    await one.look()
    assert len(tries) == 1
    (row,) = await rfm.query("select outcome, figures from rfm.job_run where tenant_id = :tenant")
    assert tuple(row) == ("failed", {"error": "ZeroDivisionError"})
    assert metrics.JOB_TENANTS.labels("a_job", "failed")._value.get() == 1
    rfm.clock.at += timedelta(hours=1, seconds=1)
    await one.look()
    assert len(tries) == 2


async def test_two_processes_never_run_one_job_for_one_tenant_at_once(rfm: Rfm) -> None:
    await rfm.apply(make.sale(rfm.tenant_id, "s", "c", [("p", "1", "1")]))
    running, most, ran = 0, 0, 0

    async def run(_context: Context, _tenant_id: UUID) -> Outcome:
        nonlocal running, most, ran
        running, ran = running + 1, ran + 1
        most = max(most, running)
        await asyncio.sleep(0.2)
        running -= 1
        return Outcome("ok")

    one = Job("a_job", 1, 0.2, run)
    await asyncio.gather(*(runner(rfm, one).look() for _ in range(3)))
    assert (most, ran) == (1, 1)


async def test_an_erased_person_has_no_value_left(rfm: Rfm) -> None:
    await shop(rfm)
    await runner(rfm).look()
    assert "c7" in await values(rfm)
    await rfm.apply(make.erased(SECRET, rfm.tenant_id, "c7", day=DAYS + 1))
    assert "c7" not in await values(rfm)


async def _while_it_computes(rfm: Rfm, monkeypatch: pytest.MonkeyPatch, event: Callable[[], Awaitable[None]]) -> None:
    """Runs the job, with something happening between its reading and its storing, the first time."""
    reached, go_on = threading.Event(), threading.Event()
    fit = Model.fit

    def slow(*arguments: Any) -> Model:
        reached.set()
        go_on.wait(20)
        return fit(*arguments)

    monkeypatch.setattr(Model, "fit", slow)
    task = asyncio.create_task(runner(rfm).look())
    try:
        await asyncio.to_thread(reached.wait, 20)
        await event()
    finally:
        go_on.set()
        await task


async def test_who_is_erased_while_it_computes_gets_no_value(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when the code has ordered again since: that is another person, on whom nothing was computed."""
    await shop(rfm)
    often = "select min(customer_code) from rfm.customer where tenant_id = :tenant and frequency > 5"
    ((code,),) = await rfm.query(often)

    async def erase() -> None:
        await rfm.apply(
            make.erased(SECRET, rfm.tenant_id, code, day=DAYS - 20),
            make.sale(rfm.tenant_id, "again", code, [("p", "1", "1")], day=DAYS - 10),
        )

    await _while_it_computes(rfm, monkeypatch, erase)
    stored = (await values(rfm))[code]
    rfm.clock.at = datetime.now(UTC) + timedelta(days=1)
    await runner(rfm).look()
    assert tuple(stored)[:-1] == tuple((await values(rfm))[code])[:-1]
    assert (await model(rfm)).status == "ok"


async def test_a_tenant_erased_while_it_computes_leaves_nothing(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop(rfm)

    async def erase() -> None:
        await rfm.apply(make.tenant(rfm.tenant_id, 9, status="erased"))

    await _while_it_computes(rfm, monkeypatch, erase)
    for table in ("lifetime_value", "lifetime_model", "job_run"):
        assert not await rfm.query(f"select 1 from rfm.{table} where tenant_id = :tenant"), table


async def test_an_erased_tenant_has_nothing_left(rfm: Rfm) -> None:
    await shop(rfm)
    await runner(rfm).look()
    await rfm.apply(make.tenant(rfm.tenant_id, 9, status="erased"))
    for table in ("lifetime_value", "lifetime_model", "job_run"):
        assert not await rfm.query(f"select 1 from rfm.{table} where tenant_id = :tenant"), table


async def test_a_stop_ends_a_thread_that_computes(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop(rfm)
    reached = threading.Event()
    ended = threading.Event()
    fit = Model.fit

    def endless(histories: Any, check: Callable[[], None]) -> Model:
        reached.set()
        try:
            while True:
                fit(histories, check)
        finally:
            ended.set()

    monkeypatch.setattr(Model, "fit", endless)
    one = runner(rfm)
    one.start()
    await asyncio.to_thread(reached.wait, 20)
    await one.stop()
    assert await asyncio.to_thread(ended.wait, 20)
    assert not await rfm.query("select 1 from rfm.job_run where tenant_id = :tenant")


async def test_one_tenants_orders_are_not_anothers(rfm: Rfm) -> None:
    other = Rfm(rfm.engine, clock=Clock())
    await shop(rfm, seed=5)
    await shop(other, seed=6)
    await runner(rfm).look()
    mine = await model(rfm)
    async with transaction(rfm.engine) as connection:
        raw = await driver_connection(connection)
        await raw.execute("delete from sale where tenant_id = $1", other.tenant_id)
        await raw.execute("delete from job_run where tenant_id = $1", rfm.tenant_id)
    await runner(rfm).look()
    assert (await model(rfm)).parameters == mine.parameters


async def test_the_self_check_counts_differences_and_names_nobody(
    rfm: Rfm, monkeypatch: pytest.MonkeyPatch, database: Any
) -> None:
    monkeypatch.setenv("IACRM_DATABASE_URL", database.rfm_url)
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", "ana-code", [("p", "1", "3")], day=n) for n in range(3)))
    await rfm.score()
    check = runner(rfm, jobs_of(SETTINGS)[1])
    await check.look()
    assert [row.outcome for row in await rfm.query("select outcome from rfm.job_run")] == ["waiting"]
    rfm.clock.at = datetime.now(UTC) + timedelta(days=1)
    await check.look()
    (row,) = await rfm.query("select outcome, figures from rfm.job_run where tenant_id = :tenant")
    assert (row.outcome, row.figures["differences"]) == ("passed", 0)
    assert row.figures["rows"]["customer"] == 1
    async with transaction(rfm.engine) as connection:
        await (await driver_connection(connection)).execute("update customer set monetary = monetary + 1")
    rfm.clock.at += timedelta(days=1)
    await check.look()
    (row,) = await rfm.query("select outcome, figures from rfm.job_run where tenant_id = :tenant")
    assert row.outcome == "differences"
    assert row.figures["differences"] > 0
    assert "ana-code" not in str(row.figures)
    assert metrics.SELF_CHECK_DIFFERENCES._value.get() == row.figures["differences"]


async def test_a_self_check_that_cannot_be_made_failed_and_quotes_no_row(
    rfm: Rfm, monkeypatch: pytest.MonkeyPatch, database: Any
) -> None:
    monkeypatch.setenv("IACRM_DATABASE_URL", database.rfm_url.replace("iacrm_test", "no_such_database"))
    await rfm.apply(make.sale(rfm.tenant_id, "s", "c", [("p", "1", "3")]))
    check = runner(rfm, jobs_of(SETTINGS)[1])
    await check.look()
    rfm.clock.at = datetime.now(UTC) + timedelta(days=1)
    await check.look()
    (row,) = await rfm.query("select outcome, figures from rfm.job_run where tenant_id = :tenant")
    assert tuple(row) == ("failed", {"error": "CheckFailedError"})


async def test_a_job_under_way_holds_no_table(rfm: Rfm, admin_engine: AsyncEngine) -> None:
    await shop(rfm, seed=7)
    taken: list[bool] = []

    async def run(*_: Any) -> Outcome:
        async with admin_engine.begin() as connection:
            for table in ("tenant", "sale", "day", "customer", "job_run", "lifetime_model"):
                await connection.execute(text(f"lock table rfm.{table} in access exclusive mode nowait"))
        taken.append(True)
        return Outcome("ok", {})

    await runner(rfm, dataclasses.replace(jobs_of(SETTINGS)[0], run=run)).look()
    assert taken == [True]
