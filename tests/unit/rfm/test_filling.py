"""The ledger's facts come to the shadow in lanes: beside each other, but all sales of a customer one after another."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from services.rfm_worker.domain.facts import Item
from services.rfm_worker.rebuild.filling import LANES, Filling
from services.rfm_worker.repository.erasures import Pseudonyms
from tests.support import rfm_items as make

TENANT = uuid4()


class Watched(Filling):
    """Keeps what it would apply, by the lane that brought it."""

    def __init__(self, fails: bool = False) -> None:
        engine: Any = None
        super().__init__(engine, "secret", pseudonyms=Pseudonyms(), tenant_id=None, now=lambda: datetime.now(UTC))
        self.lanes: dict[str, list[Item]] = defaultdict(list)
        self.under_way = self.most_under_way = 0
        self._fails = fails

    async def _apply(self, items: Sequence[Item], following: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.lanes[str(id(task))] += items
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0.001)
        if self._fails:
            raise ValueError("this one")
        self.under_way -= 1


async def facts(*parts: Sequence[Item]) -> AsyncIterator[Sequence[Item]]:
    for part in parts:
        yield part


def sales(part: int, customers: int = 20) -> list[Item]:
    return [
        make.sale(TENANT, f"s{part}-{n}", f"c{n}" if n else None, [("p", "1", "4")], day=part) for n in range(customers)
    ]


async def test_lanes_are_under_way_at_a_time_and_a_customers_sales_are_in_one_of_them() -> None:
    filling, told, parts = Watched(), [], [sales(n) for n in range(5)]
    await filling.add(facts(*parts), told.append)
    assert filling.most_under_way == len(filling.lanes) == LANES
    lane_of: dict[str, str] = {}
    for lane, items in filling.lanes.items():
        for item in items:
            if code := item.body.customer_code:
                assert lane_of.setdefault(code, lane) == lane
        positions = [item.body.sale_id for item in items]
        assert positions == [x.body.sale_id for part in parts for x in part if x.body.sale_id in positions]
    assert sorted(i.body.sale_id for items in filling.lanes.values() for i in items) == sorted(
        x.body.sale_id for part in parts for x in part
    )
    assert filling.records == sum(told) == 100


async def test_what_takes_something_off_sales_stays_in_its_order() -> None:
    filling = Watched()
    gone = [make.cancelled(TENANT, f"s{n}") for n in range(30)]
    await filling.add(facts(gone[:20], gone[20:]), lambda _: None)
    assert list(filling.lanes.values()) == [gone]


async def test_the_first_failure_of_a_lane_ends_the_others_and_is_the_error() -> None:
    with pytest.raises(ValueError, match="this one"):
        await asyncio.wait_for(Watched(fails=True).add(facts(*(sales(n) for n in range(9))), lambda _: None), 5)
