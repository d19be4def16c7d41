"""A changed time zone dates a tenant anew in small steps, while its sales go on; the sums agree after every step."""

import asyncio
import random

import pytest

from services.api_gateway.repository.rfm import get_cutoffs
from services.api_gateway.views.rfm import recomputing_of
from services.rfm_worker.domain.facts import Item
from services.rfm_worker.repository import redating
from services.rfm_worker.repository.locks import lock_tables
from shared.db.engine import driver_connection, transaction
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.support import rfm_items as make

ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Auckland", "America/Sao_Paulo"]
_UNDER_THEIR_DAY = """
select coalesce(s.day, d.day) as day, s.orders, d.orders as kept, s.revenue, d.revenue as kept_revenue
from (
    select day, count(*) filter (where net > 0) as orders, sum(net) as revenue
    from rfm.sale where tenant_id = :tenant and recorded group by day
) s full join (select * from rfm.day where tenant_id = :tenant and (orders, units, revenue) <> (0, 0, 0)) d using (day)
where (s.orders, s.revenue) is distinct from (d.orders, d.revenue) and s.revenue <> 0
"""


def one_of(rfm: Rfm, chance: random.Random, n: int) -> Item:
    t, sale_id = rfm.tenant_id, f"s{chance.randrange(60)}"
    match chance.randrange(6):
        case 0:
            return make.returned(t, f"r{n}", sale_id, [("p", "0.5", "1")], minute=n)
        case 1:
            return make.cancelled(t, sale_id, minute=n)
        case _:
            line = ("p", "1", str(chance.randrange(1, 9)))
            return make.sale(t, sale_id, f"c{chance.randrange(7)}", [line], day=chance.random() * 9, minute=n)


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redating, "PART", 3)


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("seed", range(3))
async def test_sales_go_on_while_a_tenant_is_dated_anew(rfm: Rfm, seed: int) -> None:
    chance, over = random.Random(seed), asyncio.Event()

    async def sell() -> None:
        for n in range(60):
            await rfm.apply(*(one_of(rfm, chance, 10 * n + i) for i in range(chance.randrange(1, 4))))

    async def change() -> None:
        for version, zone in enumerate(chance.sample(ZONES, 4), 1):
            await asyncio.sleep(0.05)
            await rfm.apply(make.tenant(rfm.tenant_id, version, timezone=zone, reference_date="latest_sale"))

    async def score() -> None:
        while not over.is_set():
            await rfm.scorer.score(rfm.tenant_id)
            assert not await rfm.query(_UNDER_THEIR_DAY)
            await asyncio.sleep(0.01)

    scoring = asyncio.create_task(score())
    await asyncio.gather(sell(), change())
    over.set()
    await scoring
    report = await rfm.verified()
    assert report, report.lines()
    assert not await rfm.query("select 1 from rfm.recompute where tenant_id = :tenant")


@pytest.mark.usefixtures("_small_parts")
async def test_progress_can_be_read_and_a_second_change_starts_again(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n}", f"c{n}", [("p", "1", "2")], day=n + 0.45) for n in range(8)))
    await rfm.score()
    monkeypatch.setattr("services.rfm_worker.scoring_run.SLICE_S", 0.001)
    await rfm.apply(make.tenant(t, 1, timezone="Asia/Tokyo"))
    assert await rfm.scorer.score(t)
    (row,) = await rfm.query("select * from rfm.recompute_progress()")
    assert (row.cause, row.step, row.done, row.total) == ("settings", "days", 3, 8)
    async with transaction(rfm.engine) as connection:
        said = recomputing_of(await get_cutoffs(connection, t))
    assert said is not None
    assert (said.step, said.done, said.total) == ("days", 3, 8)
    await rfm.apply(make.tenant(t, 2, timezone="UTC"))
    (row,) = await rfm.query("select * from rfm.recompute_progress()")
    assert (row.step, row.done, row.total) == ("days", 0, 0)
    assert await rfm.verified()
    assert not await rfm.query("select * from rfm.recompute_progress()")


async def _tables_alone(rfm: Rfm) -> None:
    async with transaction(rfm.engine) as connection:
        await lock_tables(await driver_connection(connection))


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("other", ["erasure", "tables"])
async def test_who_needs_the_run_to_end_gets_his_turn(rfm: Rfm, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """A run holds its lock on one connection and works on another: the database would not see them wait in a ring."""
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n:03}", f"c{n % 9}", [("p", "1", "2")], day=n / 20) for n in range(200)))
    await rfm.score()
    monkeypatch.setattr("services.rfm_worker.scoring_run.SLICE_S", 60.0)
    monkeypatch.setattr("services.rfm_worker.scoring_run.BREATH_S", 0.05)
    await rfm.apply(make.tenant(t, 1, timezone="Asia/Tokyo"))
    run = asyncio.create_task(rfm.scorer.score(t))
    await asyncio.sleep(0.3)
    async with asyncio.timeout(30):
        await (rfm.apply(make.erased(SECRET, t, "c1", day=20)) if other == "erasure" else _tables_alone(rfm))
        assert await run, "the tenant is dated anew only in part"
    monkeypatch.setattr("services.rfm_worker.scoring_run.BREATH_S", 0.0)
    report = await rfm.verified()
    assert report, report.lines()
