"""A rebuild: the same rows, nothing told twice, whatever was wrong is right, and nothing else has moved."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.domain.facts import Item
from services.rfm_worker.handlers import decode
from services.rfm_worker.rebuild import NoSuchTenantError, RebuildError, Rebuilt, rebuild, swap
from services.rfm_worker.rebuild.connections import REBUILDER
from services.rfm_worker.refresher import Refresher
from services.rfm_worker.tables import EMPTIED_TABLES, KEPT_TABLES, REBUILT_TABLES, metadata
from shared.db.engine import transaction
from shared.messaging.record import next_offsets
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.integration.rfm.stored import stored
from tests.integration.rfm.test_two_workers import stream
from tests.stack import Database
from tests.support import rfm_items as make
from tests.support.rfm_log import Shelf

CATALOGUE = """
select 'column', table_name, column_name, concat(data_type, ' ', is_nullable, ' ', column_default, ' ',
    collation_name, ' ', numeric_precision, ' ', numeric_scale)
from information_schema.columns where table_schema = 'rfm'
union all select 'index', tablename, indexname, indexdef from pg_indexes where schemaname = 'rfm'
union all select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
from pg_constraint where connamespace = 'rfm'::regnamespace
union all select 'policy', tablename, policyname, concat(permissive, roles, cmd, qual, with_check)
from pg_policies where schemaname = 'rfm'
union all select 'table', relname, relowner::regrole::text, concat(
    (select string_agg(a::text, ',' order by a::text) from unnest(relacl) a), relrowsecurity, reloptions,
    obj_description(oid, 'pg_class'))
from pg_class where relnamespace = 'rfm'::regnamespace and relkind in ('r', 'v')
union all select 'view', viewname, viewowner, definition from pg_views where schemaname = 'rfm'
order by 1, 2, 3
"""


@dataclass
class Shop:
    """A worker whose records stay on a shelf, and its database's administrator."""

    rfm: Rfm
    shelf: Shelf
    admin_url: str

    async def deliver(self, *items: Item, size: int = 40) -> None:
        """Puts records on the shelf and applies them in batches, as the consumer does."""
        records = self.shelf.put(items)
        for start in range(0, len(records), size):
            batch = records[start : start + size]
            await self.rfm.applier.apply([decode(record) for record in batch], next_offsets(batch))

    async def rebuild(self, **choices: Any) -> Rebuilt:
        """A rebuild from the shelf or the ledger."""
        return await rebuild(self.admin_url, SECRET, self.shelf, now=self.rfm.clock, **choices)

    async def told(self) -> tuple[Sequence[Any], Sequence[Any]]:
        """The history and the outbox."""
        history = await self.rfm.query("select * from rfm.segment_change order by id")
        return history, await self.rfm.query("select id, key, value from rfm.outbox order by id")


@pytest.fixture
async def shop(rfm: Rfm, database: Database) -> Shop:
    """A busy shop with its scores up to date."""
    made = Shop(rfm, Shelf(), database.admin_url)
    t = rfm.tenant_id
    await made.deliver(
        make.tenant(t, 1, timezone="Asia/Tokyo"), *stream(rfm, random.Random(5)),
        make.erased(SECRET, t, "c3", day=12), make.erased(SECRET, t, "c4", day=40), make.gone(t, "c4"),
    )  # fmt: skip
    await rfm.score()
    return made


async def derive(rfm: Rfm) -> None:
    """What the refresher does when it finds the tenant at rest."""
    refresher = Refresher(rfm.engine, interval_s=1)
    await refresher.refresh_customers(rfm.tenant_id)
    await refresher.refresh_periods(rfm.tenant_id)


async def rows(rfm: Rfm) -> dict[str, list[Any]]:
    """Every row of every table that a rebuild fills, but the moment of the cut-offs and of a day's last change."""
    found: dict[str, list[Any]] = {}
    for table in REBUILT_TABLES:
        read = await rfm.query(f"select to_jsonb(x) - '{{computed_at,revision}}'::text[] as row from rfm.{table} x")
        # A sum may be written with more or fewer zeros at its end.
        found[table] = sorted((_plain(row.row) for row in read), key=str)
    return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if isinstance(value, int | float) else value for name, value in row.items()}


async def present(rfm: Rfm) -> dict[str, list[Any]]:
    """The rows without those of zeros, which stand for nothing."""
    found = await rows(rfm)
    sums = {"customer_product": "orders units amount", "day": "orders units revenue"}
    for table, names in sums.items():
        found[table] = [row for row in found[table] if any(row[name] for name in names.split())]
    found["product"] = [row for row in found["product"] if row["units"] or row["revenue"] or row["master_version"]]
    return found


@pytest.mark.parametrize("source", ["topics", "ledger"])
@pytest.mark.parametrize("whole", [True, False])
async def test_the_same_rows_and_nothing_told(shop: Shop, source: Any, whole: bool) -> None:
    before, told = await present(shop.rfm), await shop.told()
    done = await shop.rebuild(source=source, tenant_id=None if whole else shop.rfm.tenant_id)
    assert (done.source, done.segment_changes, done.refused) == (source, 0, 0)
    assert await present(shop.rfm) == before
    assert await shop.told() == told
    report = await shop.rfm.verified()
    assert report, report.lines()
    assert not await shop.rfm.query("select nspname from pg_namespace where nspname = 'rfm_shadow'")


@pytest.mark.parametrize("source", ["topics", "ledger"])
@pytest.mark.parametrize("whole", [True, False])
async def test_what_was_wrong_is_right_and_told_once(shop: Shop, source: Any, whole: bool) -> None:
    rfm = shop.rfm
    right, (history, outbox) = await present(rfm), await shop.told()
    async with transaction(rfm.engine) as connection:
        for spoil in (
            "update customer set frequency = 900, segment = 'lost', r = 1 where customer_code = 'walk-in'",
            "update segment_change set segment = 'lost' where customer_code = 'walk-in'",
            "update customer_product set amount = amount * 2",
            "delete from day",
            "delete from cutoffs",
            "update product set units_weight = 0",
            "update sale set net = net + 1, day = day - 3",
            "insert into customer (tenant_id, customer_code, code_hash) select tenant_id, 'ghost', '' from tenant",
            "insert into segment_change (tenant_id, customer_code, segment, changed_at, cause) "
            "select tenant_id, 'ghost', 'lost', now(), 'sale' from tenant",
        ):
            await connection.exec_driver_sql(spoil)
    done = await shop.rebuild(source=source, tenant_id=None if whole else rfm.tenant_id)
    assert done.segment_changes == 1
    mended = await present(rfm)
    for found in (right, mended):
        for row in found["customer"]:
            if row["customer_code"] == "walk-in":
                row.pop("segment_since")
    assert mended == right
    told, published = await shop.told()
    assert [(row.customer_code, row.previous, row.cause) for row in told[len(history) :]] == [
        ("walk-in", "lost", "cutoff_shift")
    ]
    assert len(published) == len(outbox) + 1
    assert await rfm.verified()


async def test_one_tenant_is_rebuilt_and_no_other_touched(shop: Shop) -> None:
    other = Shop(Rfm(shop.rfm.engine), shop.shelf, shop.admin_url)
    await other.deliver(*stream(other.rfm, random.Random(6)))
    await other.rfm.score()
    async with transaction(shop.rfm.engine) as connection:
        await connection.exec_driver_sql("update customer set monetary = 1")
    await shop.rebuild(tenant_id=other.rfm.tenant_id)
    assert await other.rfm.verified()
    assert not await shop.rfm.verified()
    spoilt = await shop.rfm.query("select monetary from rfm.customer where tenant_id = :tenant")
    assert {row.monetary for row in spoilt} == {1}


async def test_the_tables_are_what_they_were(shop: Shop, admin_engine: AsyncEngine) -> None:
    async def catalogue() -> Sequence[Any]:
        async with admin_engine.connect() as connection:
            return (await connection.execute(text(CATALOGUE))).all()

    async with admin_engine.begin() as connection:
        await connection.exec_driver_sql("grant select (sale_id, net) on rfm.sale to iacrm_gateway with grant option")
    before = await catalogue()
    await shop.rebuild()
    assert await catalogue() == before
    await shop.rebuild()
    assert await catalogue() == before


async def test_the_gateway_reads_its_views_as_before(shop: Shop, gateway_engine: AsyncEngine) -> None:
    other = Rfm(shop.rfm.engine)
    await other.apply(make.person(other.tenant_id, "stranger", 1))

    async def seen() -> list[Any]:
        found: list[Any] = []
        async with transaction(gateway_engine, tenant_id=shop.rfm.tenant_id) as connection:
            for view in ("own_customer", "own_customer_search", "own_rhythm"):
                found.append((await connection.execute(text(f"select * from rfm.{view} order by 2"))).all())
        return found

    await derive(shop.rfm)
    before = await seen()
    assert all(before)
    assert {row.tenant_id for rows in before for row in rows} == {shop.rfm.tenant_id}
    await shop.rebuild(tenant_id=shop.rfm.tenant_id)
    assert await seen() == before
    await shop.deliver(make.person(other.tenant_id, "stranger", 1))
    await shop.rebuild()
    assert await seen() == before


@pytest.mark.parametrize("whole", [True, False])
async def test_what_is_derived_is_derived_anew(shop: Shop, whole: bool) -> None:
    await derive(shop.rfm)
    async with transaction(shop.rfm.engine) as connection:
        for spoil in (
            "update customer_search set families = '{x}'",
            "update rhythm set next_order_expected_at = '2000-01-01'",
            "update period set customers = customers + 1",
            "update product_period set units = units + 1",
            "update rhythm set customer_code = 'ghost' where customer_code = 'walk-in'",
            "update segment_path set states = states || states",
            "update segment_path set customer_code = 'ghost' where customer_code = 'walk-in'",
        ):
            await connection.exec_driver_sql(spoil)
    assert not await shop.rfm.verified()
    await shop.rebuild(tenant_id=None if whole else shop.rfm.tenant_id)
    queued = await shop.rfm.query("select unnest(customer_codes) as code from rfm.customer_queue")
    customers = await shop.rfm.query("select customer_code as code from rfm.customer order by 1")
    assert sorted(queued) == customers
    for _ in range(2):
        report = await shop.rfm.verified()
        assert report, report.lines()
        await derive(shop.rfm)
    held = await shop.rfm.query("select count(*) as n from rfm.period where customers > 0")
    assert held[0].n > 0


def test_every_table_is_either_rebuilt_or_kept() -> None:
    assert sorted((*REBUILT_TABLES, *EMPTIED_TABLES, *KEPT_TABLES)) == sorted(
        table.name for table in metadata.sorted_tables
    )


async def test_where_retention_has_passed_the_ledger_is_the_source(shop: Shop) -> None:
    places = [place for place in shop.shelf.records if place[0] == "sales"]
    shop.shelf.first[places[0]] = 3
    with pytest.raises(RebuildError, match="do not go back to the first sale"):
        await shop.rebuild(source="topics")
    before = await present(shop.rfm)
    assert (await shop.rebuild()).source == "ledger"
    assert await present(shop.rfm) == before


@pytest.mark.parametrize("source", ["topics", "ledger"])
async def test_the_worker_goes_on_while_the_tables_are_built(shop: Shop, source: Any) -> None:
    """Sales, an erasure and a change of settings come in meanwhile; nothing of them is lost or counted twice."""
    rfm = shop.rfm
    t, stop = rfm.tenant_id, asyncio.Event()

    async def sell() -> int:
        n = 0
        while not stop.is_set():
            await shop.deliver(
                make.sale(t, f"live{n}", f"c{n % 9}", [("p1", "1", "3")], day=n % 40),
                make.returned(t, f"back{n}", f"s{n}", [("p1", "1", "0.10")]),
            )
            if n % 20 == 5:
                await shop.deliver(make.erased(SECRET, t, f"c{n % 8}", day=45 + n / 10))
            if n % 30 == 7:
                await shop.deliver(make.tenant(t, 2 + n, timezone=["UTC", "Asia/Tokyo"][n % 2]))
            await rfm.score()
            n += 1
        return n

    selling = asyncio.create_task(sell())
    await asyncio.sleep(0.2)
    for _ in range(3):
        await shop.rebuild(source=source)
    stop.set()
    assert await selling > 3
    before = await present(rfm)
    report = await rfm.verified()
    assert report, report.lines()
    await shop.rebuild(source="topics")
    assert await present(rfm) == before


async def test_readers_see_the_old_rows_or_the_new_ones(shop: Shop, gateway_engine: AsyncEngine) -> None:
    tenant_id, stop, seen = shop.rfm.tenant_id, asyncio.Event(), set()

    async def read() -> int:
        n = 0
        while not stop.is_set():
            async with transaction(gateway_engine, tenant_id=tenant_id) as connection:
                row = (
                    await connection.execute(
                        text("select count(*), sum(monetary), (select count(*) from rfm.sale) from rfm.customer")
                    )
                ).one()
            seen.add(tuple(row))
            n += 1
        return n

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for _ in range(3):
        await shop.rebuild()
    stop.set()
    assert min(await asyncio.gather(*readers)) > 10
    assert len(seen) == 1


async def test_a_reader_who_does_not_end_is_left_alone_and_nothing_changes(
    shop: Shop, gateway_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "TRIES", 2)
    async with transaction(shop.rfm.engine) as connection:
        await connection.exec_driver_sql("update customer set monetary = 1")
    async with transaction(gateway_engine, tenant_id=shop.rfm.tenant_id) as connection:
        await connection.execute(text("select count(*) from rfm.day"))
        with pytest.raises(RebuildError, match="reads the tables all the time"):
            await shop.rebuild()
        await connection.execute(text("select count(*) from rfm.customer"))
    assert {row.monetary for row in await shop.rfm.query("select monetary from rfm.customer")} == {1}
    await shop.rebuild()
    assert await shop.rfm.verified()


async def test_one_rebuild_at_a_time(shop: Shop) -> None:
    async with transaction(shop.rfm.engine) as connection:
        await connection.execute(text(f"select pg_advisory_xact_lock({REBUILDER})"))
        with pytest.raises(RebuildError, match="Another rebuild is running"):
            await shop.rebuild()


async def test_a_tenant_that_nobody_has(shop: Shop) -> None:
    with pytest.raises(NoSuchTenantError, match="There is no tenant"):
        await shop.rebuild(tenant_id=make.uuid4())


async def test_what_an_earlier_rebuild_left_is_removed(shop: Shop, admin_engine: AsyncEngine) -> None:
    async with admin_engine.begin() as connection:
        await connection.exec_driver_sql("create schema rfm_shadow authorization iacrm_owner")
        await connection.exec_driver_sql("create table rfm_shadow.customer (anything int)")
    before = await stored(shop.rfm)
    await shop.rebuild()
    assert await stored(shop.rfm) == before


async def test_records_that_can_never_be_applied_are_counted(shop: Shop) -> None:
    await shop.deliver(make.tenant(shop.rfm.tenant_id, 2, timezone="Asia/Tokyo", currency="EUR"))
    await shop.rfm.score()
    before = await present(shop.rfm)
    shop.shelf.put([make.sale(shop.rfm.tenant_id, "dollars", "c1", [("p1", "1", "1")], currency="USD")])
    for (topic, partition), records in shop.shelf.records.items():
        await shop.rfm.applier.apply([], {(topic, partition): len(records)})
    done = await shop.rebuild(source="topics")
    assert done.refused == 1
    assert await present(shop.rfm) == before


@pytest.mark.parametrize("topic", ["sales", "customers"])
async def test_topics_that_were_lost_and_made_anew_lose_nothing_unless_told_to(shop: Shop, topic: str) -> None:
    await shop.deliver(make.person(shop.rfm.tenant_id, "named", 1))
    before = await present(shop.rfm)
    for place in [place for place in shop.shelf.records if place[0] == topic]:
        shop.shelf.records[place] = []
    with pytest.raises(RebuildError, match=r"The topics lack [0-9]+ sales and [0-9]+ customers"):
        await shop.rebuild()
    assert await present(shop.rfm) == before
    await shop.rebuild(source="topics")
    assert await present(shop.rfm) != before


async def test_an_erased_tenant_stays_erased(shop: Shop) -> None:
    await shop.deliver(make.tenant(shop.rfm.tenant_id, 9, status="erased"))
    for source in ("topics", "ledger"):
        await shop.rebuild(source=source)
        left = await rows(shop.rfm)
        assert {table: len(found) for table, found in left.items() if found} == {"tenant": 1}


async def test_the_role_of_the_worker_may_not_rebuild(shop: Shop, database: Database) -> None:
    with pytest.raises(RebuildError, match="may not act as iacrm_owner"):
        await rebuild(database.rfm_url, SECRET, shop.shelf)


async def test_without_a_database_it_says_so(shop: Shop) -> None:
    with pytest.raises(RebuildError, match="database does not answer"):
        await rebuild("postgresql+asyncpg://nobody@127.0.0.1:1/none", SECRET, shop.shelf)


@pytest.mark.parametrize("error", [RebuildError("Kafka is away"), ConnectionResetError()])
async def test_a_log_that_breaks_off_is_a_sentence_and_changes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    before, read = await rows(shop.rfm), shop.shelf.read

    async def some(*arguments: Any) -> Any:
        async for records in read(*arguments):
            yield records[:3]
            raise error

    monkeypatch.setattr(shop.shelf, "read", some)
    with pytest.raises(RebuildError, match=r"Kafka is away|It stopped on the way"):
        await shop.rebuild()
    assert await rows(shop.rfm) == before
