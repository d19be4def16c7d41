"""Cut-offs, segments and their history."""

import asyncio
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker import scoring_run
from shared.db.engine import transaction
from tests.integration.rfm.conftest import Rfm
from tests.support import rfm_items as make
from tests.support.waiting import until


async def history(rfm: Rfm, code: str) -> list[tuple[str | None, str, str, str | None]]:
    rows = await rfm.query(
        "select previous, segment, cause, cause_id from rfm.segment_change "
        "where tenant_id = :tenant and customer_code = :c order by id",
        c=code,
    )
    return [tuple(row) for row in rows]


async def test_the_first_sales_wait_for_cutoffs_and_then_have_a_segment(rfm: Rfm) -> None:
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(5)))
    assert (await rfm.customer("c4")).r is None
    await rfm.score()
    best, worst = await rfm.customer("c4"), await rfm.customer("c0")
    assert (best.r, best.f, best.m, best.segment) == (5, 1, 5, "promising")
    assert (worst.r, worst.f, worst.m) == (1, 1, 1)
    assert await history(rfm, "c4") == [(None, "promising", "cutoff_shift", None)]


async def test_a_sale_shows_in_the_segment_within_its_own_transaction(rfm: Rfm) -> None:
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(5)))
    await rfm.score()
    await rfm.apply(make.sale(rfm.tenant_id, "new", "c0", [("p", "1", "100")], day=9))
    row = await rfm.customer("c0")
    assert (row.r, row.f, row.m) == (5, 5, 5)
    assert (await history(rfm, "c0"))[-1] == ("lost", "champions", "sale", "new")
    await rfm.apply(make.returned(rfm.tenant_id, "r1", "new", [("p", "1", "100")]))
    assert (await history(rfm, "c0"))[-1][2:] == ("return", "r1")
    await rfm.apply(make.cancelled(rfm.tenant_id, "s0"))
    assert (await history(rfm, "c0"))[-1][1:] == ("prospect", "cancellation", "s0")
    assert (await rfm.customer("c0")).r is None


async def test_every_change_of_segment_is_in_the_outbox_once(rfm: Rfm) -> None:
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(7)))
    await rfm.score()
    await rfm.apply(make.sale(rfm.tenant_id, "x", "c1", [("p", "1", "50")], day=8))
    told = await rfm.query(
        "select convert_from(value, 'UTF8')::jsonb as event from rfm.outbox where key like :key order by id",
        key=f"{rfm.tenant_id}:%",
    )
    kept = await rfm.query("select * from rfm.segment_change where tenant_id = :tenant order by id")
    assert [(r.event["customer_code"], r.event["previous"], r.event["segment"]) for r in told] == [
        (r.customer_code, r.previous, r.segment) for r in kept
    ]


async def test_midnight_moves_recency_and_says_so(rfm: Rfm) -> None:
    rfm.clock.at = datetime(2026, 1, 10, 12, tzinfo=UTC)
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", "1")], day=n) for n in range(3)))
    fixed = {
        "method": "fixed",
        "bounds": {"recency_days": [1, 4, 6, 8], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"]},
    }
    await rfm.apply(make.tenant(rfm.tenant_id, 1, timezone="Asia/Tokyo", rfm=fixed))
    await rfm.score()
    before = (await rfm.customer("c0")).r
    rfm.clock.at = datetime(2026, 1, 10, 15, 1, tzinfo=UTC)
    await rfm.scorer.look()
    row = await rfm.customer("c0")
    assert (before, row.r) == (3, 3)
    rfm.clock.at = datetime(2026, 1, 12, 15, 1, tzinfo=UTC)
    await asyncio.sleep(0.06)
    await rfm.scorer.look()
    assert (await rfm.customer("c0")).r == 2
    (cutoffs,) = await rfm.query("select * from rfm.cutoffs where tenant_id = :tenant")
    assert cutoffs.reference_date == date(2026, 1, 13)
    assert {row[2] for row in (await history(rfm, "c0"))[1:]} <= {"time"}
    assert (await history(rfm, "c1"))[-1] == ("new", "hibernating", "time", None)


async def test_a_run_at_midnight_that_dies_half_way_is_done_by_the_next_one(
    rfm: Rfm, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = rfm.tenant_id
    bounds = {"recency_days": [5, 6, 7, 8], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"]}
    rfm.clock.at = datetime(2026, 1, 12, 12, tzinfo=UTC)
    await rfm.apply(make.tenant(t, 1, rfm={"method": "fixed", "bounds": bounds}))
    await rfm.apply(make.sale(t, "s", "c", [("p", "1", "1")], day=1))
    await rfm.score()
    assert (await rfm.customer("c")).r == 4
    rfm.clock.at = datetime(2026, 1, 14, 12, tzinfo=UTC)

    async def die(*_: object, **__: object) -> int:
        raise ConnectionResetError

    with monkeypatch.context() as broken:
        broken.setattr(scoring_run, "move_part", die)
        with pytest.raises(ConnectionResetError):
            await rfm.score()
    await Rfm(rfm.engine, t, rfm.clock).scorer.look()
    assert (await rfm.customer("c")).r == 2
    assert not await rfm.query("select id from rfm.score_request where tenant_id = :tenant")


async def test_a_tenant_whose_run_fails_keeps_no_other_waiting(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    shops = sorted((Rfm(rfm.engine) for _ in range(3)), key=lambda shop: shop.tenant_id)
    for shop in shops:
        await shop.apply(make.sale(shop.tenant_id, "s", "c", [("p", "1", "1")]))
    score, failing = rfm.scorer.score, {shops[0].tenant_id, shops[1].tenant_id}

    async def fail(tenant_id: UUID) -> bool:
        if tenant_id in failing:
            raise TimeoutError
        return await score(tenant_id)

    monkeypatch.setattr(rfm.scorer, "score", fail)
    await rfm.scorer.look()
    assert (await shops[2].customer("c")).r == 5


async def test_a_tenant_that_lost_all_its_orders_has_empty_cutoffs_and_prospects(rfm: Rfm) -> None:
    await rfm.apply(make.sale(rfm.tenant_id, "s1", "c1", [("p", "1", "5")]))
    await rfm.score()
    await rfm.apply(make.cancelled(rfm.tenant_id, "s1"))
    await rfm.score()
    (cutoffs,) = await rfm.query("select * from rfm.cutoffs where tenant_id = :tenant")
    assert (cutoffs.customers, cutoffs.recency_days, cutoffs.average_basket) == (0, [], [])
    assert (await rfm.customer("c1")).segment == "prospect"
    assert await rfm.verified()


async def test_the_running_scorer_serves_requests_and_removes_them(rfm: Rfm) -> None:
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", str(n + 1))]) for n in range(4)))
    rfm.scorer.start()
    try:
        for n in range(10):
            await rfm.apply(make.sale(rfm.tenant_id, f"t{n}", f"c{n % 6}", [("p", "1", "3")], day=n))
            rfm.scorer.wake()

        async def served() -> bool:
            return not await rfm.query("select 1 from rfm.score_request where tenant_id = :tenant")

        await until(served, seconds=10, what="requests are served")
    finally:
        await rfm.scorer.stop()
    assert await rfm.verified()


async def test_one_scorer_per_tenant_at_a_time(rfm_engine: AsyncEngine) -> None:
    rfm = Rfm(rfm_engine)
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", str(n + 1))]) for n in range(6)))
    await asyncio.gather(*(rfm.score() for _ in range(3)))
    rows = await rfm.query(
        "select customer_code, count(*) as n from rfm.segment_change where tenant_id = :tenant group by 1"
    )
    assert {row.n for row in rows} == {1}


async def test_a_run_leaves_whom_a_batch_has_locked_for_later_and_waits_for_him_at_last(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(9)))
    await rfm.score()
    bounds = {"recency_days": [5, 6, 7, 8], "frequency": [1, 2, 3, 4], "monetary": ["90", "91", "92", "93"]}
    await rfm.apply(make.tenant(t, 1, rfm={"method": "fixed", "bounds": bounds}, reference_date="latest_sale"))
    async with transaction(rfm.engine) as batch:
        held = text("select 1 from rfm.customer where tenant_id = :t and customer_code = 'c8' for update")
        await batch.execute(held, {"t": t})
        run = asyncio.create_task(rfm.score())

        async def others_are_scored() -> bool:
            rows = await rfm.query("select m from rfm.customer where tenant_id = :tenant and customer_code <> 'c8'")
            return {row.m for row in rows} == {1}

        await until(others_are_scored, seconds=10, what="everybody but the one who is locked is scored")
        await asyncio.sleep(1)
        assert not run.done()
        assert (await rfm.customer("c8")).m == 5
        # What it waits for it may not keep others from.
        assert await rfm.query("select 1 from rfm.customer where customer_code = 'c7' for update skip locked")
    async with asyncio.timeout(10):
        await run
    assert (await rfm.customer("c8")).m == 1
    assert await rfm.verified()
