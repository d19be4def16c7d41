"""Two workers at once on the same orders, customers and products: no deadlock, and the exact answer."""

import asyncio
import random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.domain.facts import Item
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.integration.rfm.stored import stored
from tests.support import rfm_items as make
from tests.support.rfm_recomputation import recompute


def stream(rfm: Rfm, chance: random.Random) -> list[Item]:
    """Sales that meet each other everywhere, with duplicates of other content, returns and cancellations."""
    t = rfm.tenant_id
    items: list[Item] = []
    for n in range(240):
        lines = [(f"p{chance.randrange(12)}", "1", f"{chance.randrange(1, 900) / 100}") for _ in range(4)]
        customer = chance.choice(["walk-in", "walk-in", f"c{chance.randrange(8)}", None])
        sale_id = f"s{chance.randrange(150)}"
        items.append(make.sale(t, sale_id, customer, lines, day=chance.randrange(30), minute=n, event_id=f"a{n:03}"))
        if n % 5 == 0:
            back = [(lines[0][0], "1", "0.50")]
            items.append(make.returned(t, f"r{n % 40}", sale_id, back, minute=n, event_id=f"b{n:03}"))
        if n % 17 == 0:
            items.append(make.cancelled(t, sale_id, minute=n, event_id=f"c{n:03}"))
        if n % 30 == 0:
            items.append(make.article(t, f"p{n % 12}", n + 1, f"family {n}"))
            items.append(make.person(t, f"c{n % 8}", n + 1, first_name=f"name {n}"))
    return items


@pytest.mark.parametrize("seed", range(4))
async def test_overlapping_batches_are_exact_and_never_deadlock(rfm_engine: AsyncEngine, seed: int) -> None:
    chance = random.Random(seed)
    rfm = Rfm(rfm_engine)
    items = stream(rfm, chance)
    master = [one for one in items if type(one).__name__ in ("ProductChange", "CustomerChange")]

    async def work(batches: list[list[Item]]) -> None:
        for batch in batches:
            await rfm.apply(*batch)

    def share() -> list[list[Item]]:
        facts = [one for one in items if one not in master]
        chance.shuffle(facts)
        everything = [*facts, *master]
        return [everything[start : start + 40] for start in range(0, len(everything), 40)]

    async def scores() -> None:
        for _ in range(10):
            await rfm.score()

    await asyncio.gather(work(share()), work(share()), work(share()), scores())
    assert await stored(rfm) == recompute(items, SECRET)
    report = await rfm.verified()
    assert report, report.lines()


async def test_batches_of_many_tenants_run_beside_a_change_of_settings(rfm_engine: AsyncEngine) -> None:
    shops = [Rfm(rfm_engine) for _ in range(3)]

    async def sell(worker: int) -> None:
        for n in range(12):
            sales = [
                make.sale(shop.tenant_id, f"{worker}-{n}", f"c{n % 4}", [("p", "1", "2")], day=n * 0.5)
                for shop in (shops if worker else reversed(shops))
            ]
            await shops[0].apply(*sales)

    async def settle() -> None:
        for version, zone in enumerate(["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Auckland"], 1):
            await shops[0].apply(*(make.tenant(shop.tenant_id, version, timezone=zone) for shop in shops))

    async def forget() -> None:
        for n in range(4):
            await shops[0].apply(*(make.erased(SECRET, shop.tenant_id, f"c{n}", day=1) for shop in shops))

    await asyncio.gather(sell(0), sell(1), settle(), forget(), *(shop.score() for shop in shops))
    for shop in shops:
        report = await shop.verified()
        assert report, report.lines()
