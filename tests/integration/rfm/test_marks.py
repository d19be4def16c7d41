"""The scorer steps from mark to mark; whatever happened in between, its cut-offs are those of a full count."""

import random
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker import scoring_run
from services.rfm_worker.domain.facts import Item
from services.rfm_worker.domain.marks import KEYS
from services.rfm_worker.repository import cutoffs
from shared.db.engine import driver_connection, transaction
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.support import rfm_items as make

_MANY = """
insert into rfm.customer (tenant_id, customer_code, code_hash, frequency, monetary, last_order_day)
select :tenant, 'c' || n, ''::bytea, n % 40, n, date '2026-01-01' - n % 300 from generate_series(1, 20000) n returning 1
"""
PRICES = ["0.0001", "1", "2", "2", "9.99", "9.99", "9.99", "120.5"]
_MISPLACED = """
select m.axis, m.k, m.rank, count(c.*) as stand_before
from rfm.quantile_mark m left join lateral (
    select from rfm.customer c, lateral (values
        ('day', (c.last_order_day - date '1970-01-01')::numeric), ('frequency', c.frequency::numeric),
        ('monetary', c.monetary), ('basket', c.average_basket)
    ) as p(axis, value)
    where c.tenant_id = m.tenant_id and c.frequency > 0 and p.axis = m.axis
        and (p.value, c.customer_code) < (m.value, m.customer_code)
) c on true
where m.tenant_id = :tenant group by m.axis, m.k, m.rank having m.rank <> count(c.*)
"""


def some_items(rfm: Rfm, chance: random.Random, number: int) -> list[Item]:
    """Sales of few prices, so that many customers are equal, with returns, cancellations and erasures."""
    t, items = rfm.tenant_id, list[Item]()
    for n in range(chance.choice([1, 3, 40])):
        code, sale_id = f"c{chance.randrange(60)}", f"s{chance.randrange(400)}"
        match chance.randrange(12):
            case 0:
                items.append(make.cancelled(t, sale_id, minute=number))
            case 1:
                items.append(make.returned(t, f"r{number}-{n}", sale_id, [("p", "1", "1")], minute=number))
            case 2 if chance.random() < 0.2:
                items.append(make.erased(SECRET, t, code, day=chance.randrange(-5, 20)))
            case _:
                line = ("p", "1", chance.choice(PRICES))
                items.append(make.sale(t, sale_id, code, [line], day=chance.randrange(12), minute=number))
    return items


@pytest.mark.parametrize("seed", range(6))
async def test_marks_keep_their_rank_and_cutoffs_are_those_of_a_full_count(
    rfm: Rfm, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    await rfm.apply(make.tenant(rfm.tenant_id, 1, reference_date="latest_sale"))

    async def die(*_: object, **__: object) -> int:
        raise ConnectionResetError

    for number in range(30):
        await rfm.apply(*some_items(rfm, chance, number))
        if chance.random() < 0.3:
            with monkeypatch.context() as broken:
                broken.setattr(scoring_run, "move_part", die)
                try:
                    await rfm.score()
                except ConnectionResetError:
                    continue
        if chance.random() < 0.7:
            await rfm.score()
            assert not await rfm.query(_MISPLACED)
            assert not await rfm.query("select 1 from rfm.cutoffs where tenant_id = :tenant and moving_low is not null")
    report = await rfm.verified()
    assert report, report.lines()


async def test_a_run_looks_only_at_whom_it_concerns(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n}", f"c{n:03}", [("p", "1", str(n + 1))], day=n / 50) for n in range(200)))
    await rfm.score()
    locked: list[str] = []
    move = scoring_run.move_part

    async def watch(connection: Any, run: scoring_run.Run, part: list[str], now: Any, *, wait: bool) -> Sequence[str]:
        locked.extend(part)
        return await move(connection, run, part, now, wait=wait)

    monkeypatch.setattr(scoring_run, "move_part", watch)
    await rfm.apply(make.sale(t, "one more", "c000", [("p", "1", "500")], day=3))
    await rfm.score()
    assert len(locked) <= 4  # the four monetary bounds each pass one neighbour at most
    assert await rfm.verified()


async def test_whom_bounds_pass_is_found_through_indexes_however_many_customers_there_are(
    rfm: Rfm, admin_engine: AsyncEngine
) -> None:
    """A guess that bounds pass many would read everybody, and a run's cost would grow with the customers."""
    await rfm.query(_MANY)
    async with admin_engine.begin() as connection:
        await connection.execute(text("analyze rfm.customer"))
    async with transaction(rfm.engine) as connection:
        raw = await driver_connection(connection)
        ways = [[date(2026, 1, 1)], [date(2026, 1, 2)], [3], [4], [Decimal(5)], [Decimal(6)]]
        bounds = [Decimal(n) for n in range(1, 5)]
        planned = await raw.fetch(f"explain {cutoffs._SOME}", rfm.tenant_id, date(2026, 1, 9), *[bounds] * 3, *ways)
    plan = "\n".join(row[0] for row in planned)
    assert "Seq Scan on customer" not in plan, plan
    assert plan.count("on customer") >= 4


async def test_marks_that_are_lost_or_wrong_are_found_again(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(9)))
    await rfm.score()
    await rfm.query("delete from rfm.quantile_mark where tenant_id = :tenant and k = 2 returning 1")
    await rfm.apply(make.sale(t, "x", "c3", [("p", "1", "70")], day=4))
    await rfm.score()
    assert len(await rfm.query("select 1 from rfm.quantile_mark where tenant_id = :tenant")) == len(KEYS)
    await rfm.query("update rfm.quantile_mark set rank = -5000 where tenant_id = :tenant returning 1")
    await rfm.apply(make.sale(t, "y", "c4", [("p", "1", "80")], day=5))
    await rfm.score()
    assert not await rfm.query(_MISPLACED)
    assert await rfm.verified()


async def test_money_below_a_cent_has_its_place(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.person(t, "nobody yet", 1))
    await rfm.apply(*(make.sale(t, f"s{n}", "c", [("p", "1", "0.0001")], day=n) for n in range(3)))
    await rfm.score()
    (cutoffs,) = await rfm.query("select monetary, average_basket from rfm.cutoffs where tenant_id = :tenant")
    assert cutoffs.monetary == [Decimal("0.0003")] * 4
    assert cutoffs.average_basket == [Decimal("0.0001")] * 2
    assert await rfm.verified()
