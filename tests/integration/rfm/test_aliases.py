"""A key that stands for a product counts for it, from the first sale on, whenever that was said."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from services.rfm_worker.alias_mover import AliasMover
from services.rfm_worker.domain.facts import Item
from shared.db.engine import transaction
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.integration.rfm.stored import stored
from tests.support import rfm_items as make
from tests.support.rfm_recomputation import recompute


async def sold(rfm: Rfm) -> dict[str, tuple[Any, ...]]:
    """Per product with sales: orders, units and revenue."""
    rows = await rfm.query("select * from rfm.product where tenant_id = :tenant")
    return {row.product_key: (row.orders, row.units, row.revenue) for row in rows if row.orders or row.units}


async def keys(rfm: Rfm, sale_id: str) -> tuple[list[str], list[str] | None]:
    """As they were sent, and what they stand for."""
    query = "select product_keys, effective_keys from rfm.sale where tenant_id = :tenant and sale_id = :sale"
    (row,) = await rfm.query(query, sale=sale_id)
    return row.product_keys, row.effective_keys


async def exact(rfm: Rfm, items: list[Item]) -> None:
    """The rows are those of a recomputation, once the tenant's days follow its time zone."""
    await rfm.score()
    assert await stored(rfm) == recompute(items, SECRET)
    report = await rfm.verified()
    assert report, report.lines()


async def test_history_follows_an_alias_there_and_back(rfm: Rfm) -> None:
    t = rfm.tenant_id
    items: list[Item] = [make.sale(t, f"s{n}", "ada", [("T-9", "1", "5"), ("P-1", "1", "1")], day=n) for n in range(5)]
    await rfm.apply(*items)
    items.append(make.alias(t, "T-9", 1, "P-88"))
    await rfm.apply(items[-1])
    assert set(await sold(rfm)) == {"T-9", "P-1"}, "the batch only notes it"
    assert await rfm.verified(), "and the sums are those of the ledger meanwhile"
    assert await rfm.mover.step(t)
    assert {key: value[0] for key, value in (await sold(rfm)).items()} == {"T-9": 3, "P-88": 2, "P-1": 5}
    assert await rfm.verified()
    await rfm.move()
    assert await sold(rfm) == {"P-88": (5, 5, 25), "P-1": (5, 5, 5)}
    assert await keys(rfm, "s0") == (["T-9", "P-1"], ["P-88", "P-1"])
    await exact(rfm, items)
    items.append(make.no_alias(t, "T-9"))
    await rfm.apply(items[-1])
    await rfm.move()
    assert await sold(rfm) == {"T-9": (5, 5, 25), "P-1": (5, 5, 5)}
    assert await keys(rfm, "s0") == (["T-9", "P-1"], None)
    await exact(rfm, items)


async def test_new_sales_are_resolved_as_they_come_and_in_the_batch_of_the_alias(rfm: Rfm) -> None:
    t = rfm.tenant_id
    items: list[Item] = [make.sale(t, "s1", "ada", [("T-9", "1", "5")]), make.alias(t, "T-9", 1, "P-88")]
    await rfm.apply(*items)
    items.append(make.sale(t, "s2", None, [("T-9", "2", "5")]))
    await rfm.apply(items[-1])
    assert await sold(rfm) == {"P-88": (2, 3, 15)}
    await rfm.move()
    await exact(rfm, items)


async def test_an_order_with_a_key_and_its_product_counts_once(rfm: Rfm) -> None:
    t = rfm.tenant_id
    items: list[Item] = [
        make.sale(t, "s1", "ada", [("T-9", "1", "5"), ("P-88", "2", "4"), ("T-8", "1", "1")]),
        make.returned(t, "r1", "s1", [("P-88", "3", "6")]),
        make.returned(t, "r2", "s1", [("T-8", "1", "1")]),
    ]
    await rfm.apply(*items)
    items += [make.alias(t, "T-9", 1, "P-88"), make.alias(t, "T-8", 1, "P-88")]
    await rfm.apply(*items[-2:])
    await rfm.move()
    assert await sold(rfm) == {"P-88": (0, 0, 7)} or await sold(rfm) == {}
    await exact(rfm, items)
    (day,) = await rfm.query("select orders, units, revenue from rfm.day where tenant_id = :tenant")
    assert tuple(day) == (1, 0, 7), "what comes back of a product comes off all its lines"
    items.append(make.tenant(t, 1, timezone="Pacific/Auckland"))
    await rfm.apply(items[-1])
    await exact(rfm, items)


async def test_returns_name_keys_as_they_were_sent_and_later_versions_of_a_sale_are_resolved(rfm: Rfm) -> None:
    t = rfm.tenant_id
    items: list[Item] = [
        make.alias(t, "T-9", 1, "P-88"),
        make.returned(t, "r1", "s1", [("T-9", "1", "5")]),
        make.sale(t, "s1", "ada", [("T-9", "3", "5")], minute=5),
    ]
    for item in items:
        await rfm.apply(item)
    assert await sold(rfm) == {"P-88": (1, 2, 10)}
    items.append(make.sale(t, "s1", "bob", [("T-9", "1", "7"), ("T-9", "1", "7")], minute=1))
    await rfm.apply(items[-1])
    assert await sold(rfm) == {"P-88": (1, 1, 9)}
    assert await keys(rfm, "s1") == (["T-9", "T-9"], ["P-88", "P-88"])
    await exact(rfm, items)


async def test_an_older_version_of_an_alias_changes_nothing(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s1", "ada", [("T-9", "1", "5")]), make.alias(t, "T-9", 2, "P-88"))
    await rfm.move()
    await rfm.apply(make.alias(t, "T-9", 1, "P-1"), make.alias(t, "T-9", 2, "P-1"))
    assert not await rfm.query("select 1 from rfm.alias_move where tenant_id = :tenant")
    assert await sold(rfm) == {"P-88": (1, 1, 5)}


async def test_an_alias_changed_while_history_moves_starts_over(rfm: Rfm) -> None:
    t = rfm.tenant_id
    items: list[Item] = [make.sale(t, f"s{n}", "ada", [("T-9", "1", "5")], day=n) for n in range(7)]
    await rfm.apply(*items)
    items.append(make.alias(t, "T-9", 1, "P-88"))
    await rfm.apply(items[-1])
    assert await rfm.mover.step(t)
    assert await rfm.mover.step(t)
    items.append(make.alias(t, "T-9", 2, "P-1"))
    await rfm.apply(items[-1])
    await rfm.move()
    assert await sold(rfm) == {"P-1": (7, 7, 35)}
    await exact(rfm, items)


async def test_a_killed_run_goes_on_where_it_was_and_leaves_no_half_chunk(
    rfm: Rfm, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = rfm.tenant_id
    items: list[Item] = [make.sale(t, f"s{n}", "ada", [("T-9", "1", "5")], day=n) for n in range(5)]
    await rfm.apply(*items)
    items.append(make.alias(t, "T-9", 1, "P-88"))
    await rfm.apply(items[-1])
    assert await rfm.mover.step(t)

    async def dies(*_: object) -> None:
        raise ConnectionError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("services.rfm_worker.repository.aliases.add_the_rest", dies)
        with pytest.raises(ConnectionError):
            await rfm.mover.step(t)
    (position,) = await rfm.query("select position from rfm.alias_move where tenant_id = :tenant")
    assert position.position == "s1"
    assert {key: value[0] for key, value in (await sold(rfm)).items()} == {"T-9": 3, "P-88": 2}
    again = AliasMover(rfm.engine, SECRET, orders_at_once=2)
    while await again.step(t):
        pass
    assert await sold(rfm) == {"P-88": (5, 5, 25)}
    await exact(rfm, items)


async def test_only_one_process_moves_a_tenant_and_batches_go_on_beside_it(rfm: Rfm) -> None:
    t = rfm.tenant_id
    items: list[Item] = [
        make.sale(t, f"s{n:03}", f"c{n % 5}", [(f"T-{n % 3}", "1", "5"), ("P-88", "1", "1")], day=n % 9)
        for n in range(120)
    ]
    await rfm.apply(*items)
    more: list[Item] = [make.returned(t, f"r{n}", f"s{n:03}", [(f"T-{n % 3}", "1", "2")]) for n in range(0, 120, 4)]
    more += [make.sale(t, f"s{n:03}-b", "ada", [(f"T-{n % 3}", "1", "3")], day=n % 9) for n in range(0, 120, 5)]
    changes: list[Item] = [make.alias(t, f"T-{n}", 1, "P-88") for n in range(3)]
    await rfm.apply(*changes)
    others = [Rfm(rfm.engine, tenant_id=t) for _ in range(2)]

    async def batches() -> None:
        for start in range(0, len(more), 6):
            await rfm.apply(*more[start : start + 6])

    async def moves(one: Rfm) -> None:
        for _ in range(80):
            await one.mover.step(t)

    await asyncio.gather(batches(), *(moves(one) for one in others))
    await rfm.move()
    await exact(rfm, [*items, *more, *changes])


async def test_an_erased_tenant_keeps_no_alias(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.alias(t, "T-9", 1, "P-88"), make.tenant(t, 1, status="erased"))
    for table in ("product_alias", "alias_move"):
        assert not await rfm.query(f"select 1 from rfm.{table} where tenant_id = :tenant")


async def test_verification_notices_a_ledger_that_does_not_follow_its_aliases(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s1", "ada", [("T-9", "1", "5")]), make.alias(t, "T-9", 1, "P-88"))
    await rfm.move()
    async with transaction(rfm.engine) as connection:
        await connection.execute(
            text("update rfm.product_alias set product_key = 'P-1' where tenant_id = :t"), {"t": t}
        )
    report = await rfm.verified()
    assert any("effective_keys" in line for line in report.lines()), report.lines()
    async with transaction(rfm.engine) as connection:
        await connection.execute(text("update rfm.sale set effective_keys = null where tenant_id = :t"), {"t": t})
    report = await rfm.verified()
    assert {line.split(":")[0] for line in report.differences} >= {f"product {t}/T-9", f"sale {t}/s1"}


async def test_the_background_run_finds_what_is_noted(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s1", "ada", [("T-9", "1", "5")]))
    await rfm.apply(make.alias(t, "T-9", 1, "P-88"))
    await rfm.mover.look()
    assert await sold(rfm) == {"P-88": (1, 1, Decimal(5))}
    assert not await rfm.query("select 1 from rfm.alias_move where tenant_id = :tenant")
