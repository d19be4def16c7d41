"""What the refresher derives: search entries, rhythms, sums of periods; nobody forgotten or kept too long."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.repository.products import popularity
from services.rfm_worker.refresher import Refresher
from services.rfm_worker.repository import redating
from services.rfm_worker.verification import verify_sample
from shared.db.engine import transaction
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.support import rfm_items as make

TABLES = ("customer_search", "rhythm", "period", "product_period", "customer_queue", "segment_path")


async def refresh(rfm: Rfm) -> None:
    refresher = Refresher(rfm.engine, interval_s=1)
    await refresher.refresh_customers(rfm.tenant_id)
    await refresher.refresh_periods(rfm.tenant_id)


async def verified(rfm: Rfm) -> None:
    report = await rfm.verified()
    assert report, report.lines()


async def queued(rfm: Rfm) -> int:
    (row,) = await rfm.query("select count(*) as n from rfm.customer_queue where tenant_id = :tenant")
    return int(row.n)


async def busy(rfm: Rfm, chance: random.Random, part: str, sales: int = 60) -> None:
    """Batches with everything that changes a derived row."""
    t = rfm.tenant_id
    for n in range(0, sales, 10):
        items = [
            make.sale(
                t, f"s{chance.randrange(90)}", chance.choice([None, *(f"c{k}" for k in range(9))]),
                [(f"p{chance.randrange(7)}", "1", f"{chance.randrange(99)}")], day=chance.randrange(60), minute=n + k,
                event_id=f"{part}{n + k:03}",
            )
            for k in range(10)
        ]  # fmt: skip
        back = make.returned(t, f"{part}{n}", f"s{chance.randrange(90)}", [(f"p{chance.randrange(7)}", "1", "9")])
        void = make.cancelled(t, f"s{chance.randrange(90)}")
        person = make.person(t, f"c{n // 10}", n + ord(part), first_name=f"Name {n}", tags=[part])
        article = make.article(t, f"p{n // 10}", n + ord(part), chance.choice(["Shelves", "Chairs", None]))
        await rfm.apply(*items, back, void, person, article)


@pytest.mark.parametrize("seed", range(3))
async def test_derived_rows_are_those_of_the_ledger(rfm: Rfm, seed: int) -> None:
    chance = random.Random(seed)
    await busy(rfm, chance, "a")
    await verified(rfm)  # nothing is refreshed, everything queued or stale
    await refresh(rfm)
    assert await queued(rfm) == 0
    await verified(rfm)
    await busy(rfm, chance, "b", 10)
    await verified(rfm)
    await rfm.apply(make.erased(SECRET, rfm.tenant_id, "c1", day=30))
    await verified(rfm)
    await refresh(rfm)
    await verified(rfm)
    await rfm.apply(make.tenant(rfm.tenant_id, 1, timezone="Asia/Tokyo"))
    await verified(rfm)
    await refresh(rfm)
    await verified(rfm)
    held = await rfm.query("select grain, count(*) as n from rfm.period where tenant_id = :tenant group by 1")
    assert {row.grain for row in held} == {"day", "week", "month"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("update rfm.product set customers = customers + 1 where tenant_id = :tenant", "customers is"),
        (
            "update rfm.rhythm set next_order_expected_at = '2000-01-01' where tenant_id = :tenant",
            "next_order_expected_at is",
        ),
        ("update rfm.customer_search set families = '{x}' where tenant_id = :tenant", "families is x"),
        ("update rfm.customer_search set words = 'x' where tenant_id = :tenant", "copied is 0"),
        ("delete from rfm.customer_search where tenant_id = :tenant", "missing"),
        ("update rfm.period set customers = 9 where tenant_id = :tenant", "customers is 9"),
        ("update rfm.product_period set units = 9 where tenant_id = :tenant", "units is 9"),
        ("delete from rfm.product_period where tenant_id = :tenant", "missing"),
        ("update rfm.segment_path set known_at = now() where tenant_id = :tenant", "c: not the history's"),
        ("update rfm.segment_path set states = states || states where tenant_id = :tenant", "c: not the history's"),
        ("delete from rfm.segment_path where tenant_id = :tenant", "c: not the history's"),
    ],
)
async def test_verification_sees_every_kind_of_error(rfm: Rfm, change: str, told: str) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s", "c", [("p", "1", "2")]), make.sale(t, "u", "c", [("p", "1", "2")], day=3))
    await refresh(rfm)
    await verified(rfm)
    async with rfm.engine.begin() as connection:
        await connection.exec_driver_sql(change.replace(":tenant", f"'{t}'"))
    report = await rfm.verified()
    assert not report
    assert told in "\n".join(report.lines())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("update rhythm set usual_interval_days = 7", "usual_interval_days is 7.0, should be 3.0"),
        ("update customer_search set families = '{x}'", "families is x, should be unknown"),
        ("delete from rhythm", "missing"),
        ("update period set customers = 9", None),
        ("update product_period set units = 9", None),
        ("update segment_path set moments = moments || moments", "c: not the history's"),
    ],
)
async def test_a_sample_sees_what_is_derived_of_its_customers(rfm: Rfm, change: str, told: str | None) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s", "c", [("p", "1", "2")]), make.sale(t, "u", "c", [("p", "1", "2")], day=3))
    await rfm.score()
    await refresh(rfm)
    async with rfm.engine.begin() as connection:
        await connection.exec_driver_sql(change)
    report = await verify_sample(rfm.engine, 9, tenant_id=t)
    assert bool(report) is (told is None), report.lines()
    assert (told or "") in "\n".join(report.lines())
    assert report.compared["rhythm"] + report.compared["customer_search"] <= 2


async def test_only_who_is_queued_may_have_another_family(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s", "c", [("p", "1", "2")]), make.sale(t, "u", "other", [("q", "1", "2")]))
    await refresh(rfm)
    await rfm.apply(make.article(t, "p", 1, "Shelves"))
    await verified(rfm)
    async with rfm.engine.begin() as connection:
        await connection.exec_driver_sql("update customer_search set families = '{x}' where customer_code = 'c'")
    await verified(rfm)
    async with rfm.engine.begin() as connection:
        await connection.exec_driver_sql("update customer_search set families = '{x}' where customer_code = 'other'")
    report = await rfm.verified()
    assert report.lines()[:-1] == [f"customer_search {t}/other: families is x, should be unknown"]


async def test_a_period_that_changes_while_it_is_summed_does_not_hold(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s0", "c", [("p", "1", "2")]))

    async def sell() -> None:
        for n in range(1, 25):
            await rfm.apply(make.sale(t, f"s{n}", f"c{n}", [(f"p{n % 3}", "1", "2")], day=n % 4))

    async def sums() -> None:
        for _ in range(8):
            await refresh(rfm)

    await asyncio.gather(sell(), sums(), sums())
    await verified(rfm)
    await refresh(rfm)
    await verified(rfm)


async def test_a_period_is_summed_only_once_it_rests(rfm: Rfm) -> None:
    t = rfm.tenant_id
    refresher = Refresher(rfm.engine, interval_s=1)

    async def held() -> int:
        return len(await rfm.query("select 1 from rfm.period where tenant_id = :tenant"))

    await rfm.apply(make.sale(t, "s1", "c", [("p", "1", "2")]))
    await refresher.look()
    assert await held() == 0
    await rfm.apply(make.sale(t, "s2", "c", [("p", "1", "2")]))
    await refresher.look()
    assert await held() == 0
    await refresher.look()
    assert await held() == 3


async def test_a_product_counts_each_customer_once(rfm: Rfm) -> None:
    t = rfm.tenant_id

    async def customers() -> int:
        (row,) = await rfm.query("select customers from rfm.product where tenant_id = :tenant and product_key = 'p'")
        return int(row.customers)

    await rfm.apply(make.sale(t, "s1", "a", [("p", "1", "2")]), make.sale(t, "s2", "a", [("p", "1", "2")]))
    await rfm.apply(make.sale(t, "s3", "b", [("p", "1", "2")]), make.sale(t, "s4", None, [("p", "1", "2")]))
    assert await customers() == 2
    await rfm.apply(make.cancelled(t, "s1"))
    assert await customers() == 2
    await rfm.apply(make.returned(t, "r", "s2", [("p", "1", "2")]))
    assert await customers() == 1
    await rfm.apply(make.erased(SECRET, t, "b", day=9))
    assert await customers() == 0
    await rfm.apply(make.sale(t, "s5", "b", [("p", "1", "2")], day=10))
    assert await customers() == 1


async def test_who_leaves_is_found_no_more(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.person(t, "known", 1, first_name="Ana"), make.sale(t, "s", "bought", [("p", "1", "2")]))
    await rfm.apply(make.person(t, "stays", 1, first_name="Bo"))
    await refresh(rfm)
    await rfm.apply(make.gone(t, "known"), make.erased(SECRET, t, "bought", day=5))
    for table in TABLES:
        rows = await rfm.query(f"select to_jsonb(x)::text as row from rfm.{table} x where tenant_id = :tenant")
        assert not [row for row in rows if "known" in row.row or "bought" in row.row], table
    (row,) = await rfm.query("select words, tags, families from rfm.customer_search where tenant_id = :tenant")
    assert tuple(row) == ("stays bo", [], [])


async def test_an_erased_tenant_leaves_nothing(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "s", "c", [("p", "1", "2")]))
    await refresh(rfm)
    await rfm.apply(make.sale(t, "s2", "c", [("p", "1", "2")]))
    await rfm.apply(make.tenant(t, 1, status="erased"))
    for table in TABLES:
        assert await rfm.query(f"select 1 from rfm.{table} where tenant_id = :tenant") == [], table


async def test_the_expected_next_order_is_the_one_of_the_profile(rfm: Rfm) -> None:
    t = rfm.tenant_id
    for n, day in enumerate([0, 3, 10, 14]):
        await rfm.apply(make.sale(t, f"s{n}", "c", [("p", "1", "4")], day=day))
    await refresh(rfm)
    (row,) = await rfm.query("select * from rfm.rhythm where tenant_id = :tenant")
    (profile,) = await rfm.query("select * from rfm.customer_profiles(:tenant, array['c'])")
    assert (row.usual_interval_days, row.next_order_expected_at) == (Decimal("4.0"), date(2026, 1, 23))
    assert profile.next_order_expected_at == row.next_order_expected_at


async def test_sums_and_popularity_follow_an_alias(rfm: Rfm, gateway_engine: AsyncEngine) -> None:
    """A till's key counts for its product in every period, also where the day's own sums stay the same."""
    t = rfm.tenant_id
    await rfm.apply(
        *(make.sale(t, f"s{n}", f"c{n % 2}", [("T-9", "2", "5"), ("P-1", "1", "1")], day=n) for n in range(5)),
        make.sale(t, "own", "c0", [("P-88", "1", "3")]),
        make.returned(t, "r", "s1", [("T-9", "2", "10")]),
        make.article(t, "P-88", 1, "Shelves"),
    )
    await refresh(rfm)
    before = await popularities(rfm, gateway_engine, "T-9", "P-1")
    assert before["T-9"] > before["P-1"]
    await rfm.apply(make.alias(t, "T-9", 1, "P-88"))
    while await rfm.mover.step(t):
        await verified(rfm)
        await refresh(rfm)
        await verified(rfm)
    await verified(rfm)
    await refresh(rfm)
    await verified(rfm)
    months = await rfm.query(
        "select * from rfm.product_period where tenant_id = :tenant and grain = 'month' order by product_key"
    )
    assert [(row.product_key, row.orders, row.units, row.revenue) for row in months] == [
        ("P-1", 5, 5, 5), ("P-88", 5, 9, 43)
    ]  # fmt: skip
    days = await rfm.query("select distinct product_key from rfm.product_period where tenant_id = :tenant")
    assert {row.product_key for row in days} == {"P-1", "P-88"}
    after = await popularities(rfm, gateway_engine, "T-9", "P-88")
    assert after == {"T-9": 0, "P-88": 1}
    search = await rfm.query("select families from rfm.customer_search where tenant_id = :tenant")
    assert {tuple(row.families) for row in search} == {("Shelves", "unknown")}


async def popularities(rfm: Rfm, gateway_engine: AsyncEngine, *keys: str) -> dict[str, Decimal]:
    """As the gateway answers them."""
    async with transaction(gateway_engine, tenant_id=rfm.tenant_id) as connection:
        rows = [await popularity(connection, rfm.tenant_id, key) for key in keys]
    return {key: row.popularity if row is not None else Decimal(0) for key, row in zip(keys, rows, strict=True)}


async def test_sums_follow_a_time_zone_at_every_part(rfm: Rfm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days, weeks and months are those of the new zone, and no sum of the old one is believed on the way."""
    monkeypatch.setattr(redating, "PART", 3)
    t = rfm.tenant_id
    await rfm.apply(
        *(make.sale(t, f"s{n}", f"c{n % 3}", [(f"p{n % 2}", "1", "2")], day=n + 0.45) for n in range(-12, 28)),
    )
    await rfm.score()
    await refresh(rfm)
    popular = await rfm.query("select product_key, units_weight, customers from rfm.product where tenant_id = :tenant")
    old = await rfm.query("select * from rfm.period where tenant_id = :tenant order by grain, start")
    monkeypatch.setattr("services.rfm_worker.scoring_run.SLICE_S", 0.001)
    await rfm.apply(make.tenant(t, 1, timezone="Asia/Tokyo"))
    while await rfm.scorer.score(t):
        await refresh(rfm)
    await verified(rfm)
    await refresh(rfm)
    await verified(rfm)
    new = await rfm.query("select * from rfm.period where tenant_id = :tenant order by grain, start")
    assert {(row.grain, row.start) for row in old} != {(row.grain, row.start) for row in new}
    assert popular == await rfm.query(
        "select product_key, units_weight, customers from rfm.product where tenant_id = :tenant"
    ), "an instant does not depend on the zone"
    (row,) = await rfm.query(
        "select sum(b.orders) as orders, sum(b.revenue) as revenue from rfm.product_period b "
        "join rfm.period p using (tenant_id, grain, start) "
        "join rfm.day d on d.tenant_id = b.tenant_id and d.day = b.start and d.revision = p.revision "
        "where b.tenant_id = :tenant and b.grain = 'day'"
    )
    assert (row.orders, row.revenue) == (40, 80)


async def test_the_largest_popularity_is_found_in_the_highest_class(rfm: Rfm, admin_engine: AsyncEngine) -> None:
    chance = random.Random(5)
    sales = [
        make.sale(
            rfm.tenant_id, f"s{n}", None, [(f"p{n % 40}", str(chance.randrange(1, 50)), "1")],
            day=chance.randrange(-3000, 400),
        )
        for n in range(200)
    ]  # fmt: skip
    await rfm.apply(*sales)
    (row,) = await rfm.query(
        "select max(units_weight) as most, max(units_weight) filter (where popularity_class = best) as found, "
        "count(distinct popularity_class) as classes from rfm.product, "
        "(select max(popularity_class) as best from rfm.product where tenant_id = :tenant) b where tenant_id = :tenant"
    )
    assert row.most == row.found
    assert row.classes > 5


async def sold(rfm: Rfm, first: date, last: date) -> tuple[list[Any], list[Any]]:
    """What was sold between two days, as figures read it and from the ledger."""
    found, right = [
        await rfm.query(
            f"select product_key, orders, units, revenue from {function} order by product_key", first=first, last=last
        )
        for function in (
            "rfm.products_sold(:tenant, cast(:first as date), cast(:last as date))",
            "rfm.product_sales(:tenant, array(select day from rfm.day where tenant_id = :tenant and day between "
            "cast(:first as date) and cast(:last as date)))",
        )
    ]
    return [row for row in found if any(row[1:])], [row for row in right if any(row[1:])]


async def test_what_was_sold_is_added_up_from_the_longest_sums_that_hold(rfm: Rfm) -> None:
    """Quarters, months, weeks and days, and the ledger where one of their days has changed since."""
    t, chance = rfm.tenant_id, random.Random(7)
    days = [date(2026, 1, 5) + timedelta(days=n) for n in range(240)]
    await rfm.apply(
        *(
            make.sale(
                t, f"s{n}", None, [(f"p{chance.randrange(5)}", "1", str(chance.randrange(1, 50)))], day=n
            )
            for n in range(240) if n % 17
        )
    )  # fmt: skip
    await refresh(rfm)
    grains = await rfm.query(
        "select grain, count(distinct start) as n from rfm.product_period where tenant_id = :tenant group by 1"
    )
    # The quarter that is being sold into is not summed.
    assert {row.grain: row.n for row in grains} == {"day": 225, "week": 35, "month": 9, "quarter": 2}
    for change in ([], [make.sale(t, "late", None, [("p0", "3", "7")], day=40)], [make.cancelled(t, "s100")]):
        if change:
            await rfm.apply(*change)
        for _ in range(12):
            first, last = sorted(chance.sample(days, 2))
            found, right = await sold(rfm, first, last)
            assert found == right
        found, right = await sold(rfm, days[0], days[-1])
        assert found == right
    async with rfm.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"update rfm.product_period set orders = orders + 1000 where tenant_id = '{t}' and grain <> 'quarter'"
        )
    await refresh(rfm)
    found, _ = await sold(rfm, date(2026, 4, 1), date(2026, 6, 30))
    assert sum(row.orders for row in found) > 1000, "a quarter with a changed day is added up from the others"


async def path(rfm: Rfm, code: str) -> Any:
    rows = await rfm.query("select * from rfm.segment_path where tenant_id = :tenant and customer_code = :c", c=code)
    return rows[0] if rows else None


async def test_a_path_is_the_history_whatever_happens(rfm: Rfm) -> None:
    """Moves, a clock that is set back, master data that come, change and go."""
    t, rfm.clock.at = rfm.tenant_id, datetime(2026, 2, 1, 12, tzinfo=UTC)
    await rfm.apply(
        make.tenant(t, 1, reference_date=date(2026, 2, 1)),
        *(make.sale(t, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(5)),
    )
    await rfm.score()
    assert await path(rfm, "nobody") is None
    for n, hours in enumerate((1, -5, 2, -1)):
        rfm.clock.at += timedelta(hours=hours)
        await rfm.apply(make.sale(t, f"x{n}", "c0", [("p", "1", "100")], day=9))
        await rfm.apply(make.cancelled(t, f"x{n}"))
    found = await path(rfm, "c0")
    kept = await rfm.query("select * from rfm.segment_change where tenant_id = :tenant and customer_code = 'c0'")
    assert len(found.moments) == len(kept) == len(found.states) - 1 >= 9
    assert found.moments == sorted(found.moments)
    assert found.moments[-1] == datetime(2026, 2, 1, 13, tzinfo=UTC).timestamp() * 1_000_000
    assert (found.known_at, found.states[0]) == (None, 0)
    await verified(rfm)
    for version, day in ((1, 20), (2, 30)):
        await rfm.apply(make.person(t, "c0", version, day=day))
        assert (await path(rfm, "c0")).known_at == make.START + timedelta(days=day)
        await verified(rfm)
    await rfm.apply(make.gone(t, "c0"))
    assert (await path(rfm, "c0")).known_at is None
    await verified(rfm)
    await rfm.apply(make.erased(SECRET, t, "c0", day=60))
    assert await path(rfm, "c0") is None
    await verified(rfm)
