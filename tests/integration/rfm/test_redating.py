"""A changed time zone dates a tenant anew in small steps, while its sales go on; the sums agree after every step."""

import asyncio
import random

import pytest

from services.api_gateway.repository.rfm import get_cutoffs
from services.api_gateway.views.rfm import recomputing_of
from services.rfm_worker.domain.facts import Item
from services.rfm_worker.repository import redating
from shared.db.engine import transaction
from tests.integration.rfm.conftest import Rfm
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
