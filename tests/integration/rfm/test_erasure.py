"""An erased person leaves a pseudonym in the ledger and nothing else, in whatever order events come."""

from itertools import permutations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import transaction
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.support import rfm_items as make

CODE = "ada-lovelace-1815"


async def everything(engine: AsyncEngine) -> str:
    """Every value of every table, as text."""
    found = []
    async with transaction(engine) as connection:
        tables = await connection.execute(
            text("select table_name from information_schema.tables where table_schema = 'rfm'")
        )
        for (table,) in tables.all():
            rows = await connection.execute(text(f"select t::text from rfm.{table} t"))
            found += [row[0] for row in rows]
        bodies = await connection.execute(
            text("select convert_from(value, 'UTF8') from rfm.outbox where value is not null")
        )
        found += [row[0] for row in bodies]
    return "\n".join(found)


@pytest.mark.parametrize("order", list(permutations(range(4)))[::3])
async def test_nothing_of_the_person_stays(rfm: Rfm, order: tuple[int, ...]) -> None:
    t = rfm.tenant_id
    events = [
        make.sale(t, "s1", CODE, [("p", "2", "5")], day=1),
        make.sale(t, "s2", CODE, [("p", "1", "7")], day=2),
        make.person(t, CODE, 3, first_name="Augusta", email="ada@example.org"),
        make.erased(SECRET, t, CODE, day=3),
    ]
    await rfm.apply(make.sale(t, "other", "bob", [("p", "1", "1")]))
    for index in order:
        await rfm.apply(events[index])
        await rfm.score()
    seen = await everything(rfm.engine)
    for trace in (CODE, "Augusta", "ada@example.org"):
        assert trace not in seen
    names = {
        row.customer_code for row in await rfm.query("select customer_code from rfm.sale where tenant_id = :tenant")
    }
    (pseudonym,) = names - {"bob"}
    assert pseudonym.startswith("erased-")
    assert len(pseudonym) == 39
    (product,) = await rfm.query("select * from rfm.product where tenant_id = :tenant")
    assert (product.orders, product.revenue) == (3, 18)
    report = await rfm.verified()
    assert report, report.lines()


async def test_what_the_code_does_later_belongs_to_a_new_customer(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(
        make.sale(t, "s1", CODE, [("p", "2", "5")], day=1),
        make.sale(t, "s2", CODE, [("p", "1", "7")], day=5),
        make.person(t, CODE, 3, first_name="Augusta"),
    )
    await rfm.score()
    await rfm.apply(make.erased(SECRET, t, CODE, day=3), make.person(t, CODE, 1, day=4, first_name="Byron"))
    row = await rfm.customer(CODE)
    assert (row.first_name, row.frequency, row.monetary) == ("Byron", 1, 7)
    bought = await rfm.query("select orders, amount from rfm.customer_product where tenant_id = :tenant")
    assert [tuple(r) for r in bought] == [(1, 7)]
    changes = await rfm.query("select previous, cause from rfm.segment_change where tenant_id = :tenant")
    assert all(change.cause != "cutoff_shift" or change.previous is not None for change in changes)
    assert await rfm.verified()


async def test_each_erasure_has_its_own_pseudonym_whichever_comes_first(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(*(make.sale(t, f"s{n}", CODE, [("p", "1", "1")], day=n) for n in range(6)))
    await rfm.apply(make.erased(SECRET, t, CODE, day=3.5))
    await rfm.apply(make.erased(SECRET, t, CODE, day=1.5))
    await rfm.apply(make.sale(t, "late", CODE, [("p", "1", "1")], day=1))
    rows = await rfm.query("select sale_id, customer_code from rfm.sale where tenant_id = :tenant order by sale_id")
    names = {row.sale_id: row.customer_code for row in rows}
    assert names["late"] == names["s0"] == names["s1"]
    assert names["s2"] == names["s3"] != names["s1"]
    assert names["s4"] == names["s5"] == CODE
    assert (await rfm.customer(CODE)).frequency == 2
    assert await rfm.verified()


async def test_returns_and_cancellations_of_erased_sales_still_count(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s1", CODE, [("p", "2", "5")], day=1), make.erased(SECRET, t, CODE, day=3))
    await rfm.apply(make.returned(t, "r1", "s1", [("p", "1", "5")]))
    (product,) = await rfm.query("select units, revenue from rfm.product where tenant_id = :tenant")
    assert tuple(product) == (1, 5)
    await rfm.apply(make.cancelled(t, "s1"))
    assert await rfm.customer(CODE) is None
    assert await rfm.verified()


async def test_a_second_delivery_of_an_erasure_changes_nothing(rfm: Rfm) -> None:
    t = rfm.tenant_id
    erasure = make.erased(SECRET, t, CODE, day=3)
    await rfm.apply(make.sale(t, "s1", CODE, [("p", "2", "5")], day=1), erasure)
    first = await rfm.query("select * from rfm.erasure where tenant_id = :tenant")
    await rfm.apply(make.person(t, CODE, 1, day=4), make.sale(t, "s2", CODE, [("p", "1", "5")], day=4), erasure)
    await rfm.apply(erasure)
    assert await rfm.query("select * from rfm.erasure where tenant_id = :tenant") == first
    assert (await rfm.customer(CODE)).frequency == 1
