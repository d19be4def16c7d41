"""Any story of a tenant, told to the real worker on a real Postgres: at every point it verifies, and so do the rows.

Set IACRM_TEST_STORIES to the number of stories for a longer run (the nightly one: 500); the default keeps it short.
"""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from services.rfm_worker import scorer
from services.rfm_worker.domain.facts import Item
from services.rfm_worker.handlers import decode
from services.rfm_worker.rebuild import rebuild
from services.rfm_worker.tables import metadata
from services.rfm_worker.verification import verify
from shared.db.engine import create_engine, transaction
from shared.messaging import faults
from shared.messaging.record import Record, next_offsets
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.integration.rfm.stored import stored
from tests.stack import Database
from tests.support import rfm_items as make
from tests.support.rfm_log import Shelf
from tests.support.rfm_recomputation import recompute

STORIES = int(os.environ.get("IACRM_TEST_STORIES", "8"))
STEPS = 16
VERIFY_EVERY = 3
T = TypeVar("T")

CUSTOMERS = st.sampled_from(["ada", "bob", "cyd", "dan", "eve"])
PRODUCTS = st.sampled_from(["milk", "bread", "tea"])
SALES = st.sampled_from([f"s{n}" for n in range(9)])
RETURNS = st.sampled_from(["r1", "r2", "r3"])
NUMBERS = st.sampled_from(["0", "0.50", "1.25", "3"])
LINES = st.lists(st.tuples(PRODUCTS, st.sampled_from(["1", "2.5", "3"]), NUMBERS), min_size=1, max_size=3)
DAYS = st.integers(-3, 30).map(lambda step: step * 0.8)
MINUTES = st.integers(0, 3)
ZONES = st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Auckland"])
REFERENCES = st.sampled_from(["now", "now", "latest_sale", date(2026, 1, 20), date(2026, 3, 1)])
BOUNDS = st.lists(st.integers(1, 30), min_size=4, max_size=4, unique=True).map(sorted)
METHODS = st.one_of(
    st.just({"method": "quintile"}),
    st.tuples(BOUNDS, BOUNDS, BOUNDS).map(
        lambda b: {"method": "fixed", "bounds": dict(zip(("recency_days", "frequency", "monetary"), b, strict=True))}
    ),
)
FAMILIES = st.one_of(st.none(), st.sampled_from(["dairy", "bakery"]))
SOLD = st.tuples(st.just("sale"), SALES, st.one_of(st.none(), CUSTOMERS, CUSTOMERS), LINES, DAYS, MINUTES)
BACK = st.tuples(st.just("return"), RETURNS, SALES, LINES, MINUTES)
VOID = st.tuples(st.just("cancel"), SALES, MINUTES)
FACTS = st.lists(st.one_of(SOLD, SOLD, SOLD, SOLD, BACK, VOID), min_size=1, max_size=6)


class CrashError(Exception):
    """The power went."""


@contextmanager
def crash_at(point: str) -> Iterator[None]:
    """Whoever reaches this point falls over."""

    def reach(reached: str) -> None:
        if reached == point:
            raise CrashError(point)

    with patch.object(faults, "reach", reach):
        yield


class Story(RuleBasedStateMachine):
    """One tenant from its first event on. The database holds nothing else."""

    def __init__(self, runner: asyncio.Runner, rfm: Rfm, admin_url: str) -> None:
        super().__init__()
        self.runner, self.admin_url = runner, admin_url
        self.rfm = Rfm(rfm.engine)
        self.rfm.clock.at = datetime(2026, 1, 30, 9, tzinfo=UTC)
        self.shelf, self.items, self.records = Shelf(), list[Item](), list[Record]()
        self.number = self.steps = 0
        self.do(self._begin())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    async def _begin(self) -> None:
        names = ", ".join(f"rfm.{table.name}" for table in metadata.sorted_tables)
        admin = create_engine(self.admin_url, application_name="tests")
        async with admin.begin() as connection:
            await connection.exec_driver_sql(f"truncate {names}")
        await admin.dispose()

    def make(self, described: tuple[Any, ...]) -> Item:
        """A fact; its number makes an id of its own, so that two of one key are two versions."""
        self.number += 1
        t, event_id = self.rfm.tenant_id, f"e{self.number:04}"
        match described:
            case ("sale", sale_id, customer, lines, day, minute):
                return make.sale(t, sale_id, customer, lines, day=day, minute=minute, event_id=event_id)
            case ("return", return_id, sale_id, lines, minute):
                return make.returned(t, return_id, sale_id, lines, minute=minute, event_id=event_id)
            case ("cancel", sale_id, minute):
                return make.cancelled(t, sale_id, minute=minute, event_id=event_id)
        raise AssertionError(described)

    def put(self, *items: Item) -> list[Record]:
        """New records; what was told once may come again."""
        self.items += items
        records = self.shelf.put(items)
        self.records += records
        return records

    def apply(self, records: list[Record]) -> None:
        """One batch, as the consumer gives it."""
        items = [decode(record) for record in records]
        self.do(self.rfm.applier.apply(items, next_offsets(records)))

    @rule(facts=FACTS)
    def something_is_sold(self, facts: list[tuple[Any, ...]]) -> None:
        self.apply(self.put(*map(self.make, facts)))

    @rule(facts=FACTS, point=st.sampled_from(["after_stage", "before_commit"]))
    def a_batch_dies_and_comes_again(self, facts: list[tuple[Any, ...]], point: str) -> None:
        records = self.put(*map(self.make, facts))
        try:
            with crash_at(point):
                self.apply(records)
        except CrashError:
            self.apply(records)

    @precondition(lambda self: self.records)
    @rule(share=st.floats(0, 1))
    def the_last_records_come_again(self, share: float) -> None:
        self.apply(self.records[int(share * len(self.records)) :] or self.records[-1:])

    @rule(code=CUSTOMERS, day=DAYS, gone=st.booleans())
    def a_person_is_erased(self, code: str, day: float, gone: bool) -> None:
        t = self.rfm.tenant_id
        erased = make.erased(SECRET, t, code, day=day)
        self.apply(self.put(make.gone(t, code), erased) if gone else self.put(erased))

    @rule(code=CUSTOMERS, day=DAYS)
    def a_person_has_a_name(self, code: str, day: float) -> None:
        self.number += 1
        self.apply(self.put(make.person(self.rfm.tenant_id, code, self.number, day=day, first_name=f"n{self.number}")))

    @rule(key=PRODUCTS, family=FAMILIES, gone=st.booleans())
    def a_product_changes_its_family(self, key: str, family: str | None, gone: bool) -> None:
        self.number += 1
        t = self.rfm.tenant_id
        self.apply(self.put(make.no_article(t, key) if gone else make.article(t, key, self.number, family)))

    @rule(zone=ZONES, reference=REFERENCES, method=METHODS)
    def settings_change(self, zone: str, reference: str | date, method: dict[str, Any]) -> None:
        self.number += 1
        self.apply(self.put(
            make.tenant(self.rfm.tenant_id, self.number, timezone=zone, reference_date=reference, rfm=method)
        ))  # fmt: skip

    @rule()
    def the_scorer_runs(self) -> None:
        self.do(self.rfm.score())

    @rule(after=st.integers(0, 3))
    def the_scorer_dies(self, after: int) -> None:
        """At its first, second ... transaction."""
        opened = 0

        def falls(*arguments: Any, **named: Any) -> Any:
            nonlocal opened
            opened += 1
            if opened > after:
                raise CrashError
            return transaction(*arguments, **named)

        with patch.object(scorer, "transaction", falls), suppress(CrashError):
            self.do(self.rfm.score())

    @rule(hours=st.sampled_from([9, 15, 24, 24 * 40]))
    def midnight_passes(self, hours: int) -> None:
        assert self.rfm.clock.at is not None
        self.rfm.clock.at += timedelta(hours=hours)

    @rule(source=st.sampled_from(["topics", "ledger"]), whole=st.booleans())
    def the_tables_are_rebuilt(self, source: Any, whole: bool) -> None:
        if whole or self.items:
            done = self.do(self._rebuild(source, whole))
            assert done.refused == 0

    @precondition(lambda self: self.items)
    @rule(
        source=st.sampled_from(["topics", "ledger"]),
        whole=st.booleans(),
        point=st.sampled_from(["rebuild_opened", "rebuild_filled", "rebuild_locked", "rebuild_swapped"]),
    )
    def a_rebuild_dies(self, source: Any, whole: bool, point: str) -> None:
        before = self.do(stored(self.rfm))
        try:
            with crash_at(point):
                self.do(self._rebuild(source, whole))
        except CrashError:
            assert self.do(stored(self.rfm)) == before
        else:
            raise AssertionError(f"no rebuild reaches {point}")

    async def _rebuild(self, source: Any, whole: bool) -> Any:
        tenant_id = None if whole else self.rfm.tenant_id
        return await rebuild(self.admin_url, SECRET, self.shelf, source=source, tenant_id=tenant_id, now=self.rfm.clock)

    @invariant()
    def it_verifies(self) -> None:
        self.steps += 1
        if self.steps % VERIFY_EVERY == 0:
            self.do(self._check())

    def teardown(self) -> None:
        self.do(self._check())

    async def _check(self) -> None:
        if not self.items:
            return
        await self.rfm.score()
        report = await verify(self.rfm.engine, self.rfm.tenant_id, wait_s=0, now=self.rfm.clock)
        assert report, report.lines()
        assert await stored(self.rfm) == recompute(self.items, SECRET)
        told = await self.rfm.query("select count(*) as n from rfm.outbox")
        kept = await self.rfm.query("select count(*) as n from rfm.segment_change")
        # Who was removed altogether has no history any more, though what was told of them was told.
        assert told[0].n >= kept[0].n


def test_any_story_verifies_at_every_point(database: Database) -> None:
    with asyncio.Runner() as runner:
        engine = create_engine(database.rfm_url, application_name="rfm_worker", schema="rfm")
        try:
            run_state_machine_as_test(
                lambda: Story(runner, Rfm(engine), database.admin_url),
                settings=settings(
                    max_examples=STORIES, stateful_step_count=STEPS, deadline=None, print_blob=True,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
        finally:
            runner.run(engine.dispose())
