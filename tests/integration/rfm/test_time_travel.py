"""As of an earlier day: a system that was given everything answers like one that knew no more by then."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.errors import Problem
from services.api_gateway.large_reads import LargeReads
from services.api_gateway.repository import customers
from services.api_gateway.repository.rfm import count_segments, get_cutoffs
from services.api_gateway.time_travel import Past
from services.api_gateway.views.customers import customer_of
from services.api_gateway.views.lifetime import without_value
from services.api_gateway.views.rfm import cutoffs_of, distribution_of
from services.rfm_worker.domain.facts import Cancellation, CustomerChange, Item, Return, Sale
from shared.db.engine import transaction
from tests.integration.rfm.conftest import SECRET, Clock, Rfm
from tests.support import rfm_items as make

LATER = make.START + timedelta(days=400)
NOT_COMPARED = {"computed_at", "segment_since", "cutoffs_at"}
"""Moments of computing. What a segment has been since is not told of the past."""

CODES = ["ada", "bob", "cyd", "dan", "eve"]
CUSTOMERS = st.sampled_from(CODES)
PRODUCTS = st.sampled_from(["milk", "bread", "tea"])
DAYS = st.integers(0, 24).map(lambda step: step * 0.4)
LINES = st.lists(
    st.tuples(PRODUCTS, st.sampled_from(["1", "2.5", "3"]), st.sampled_from(["3", "1.25", "0.50", "0"])),
    min_size=1,
    max_size=3,
)
SOLD = st.tuples(st.just("sale"), st.one_of(st.none(), CUSTOMERS, CUSTOMERS, CUSTOMERS), LINES, DAYS)
NUMBERS = st.integers(0, 15)
DELAYS = st.sampled_from([0.5, 1.1, 0, 4, -1])
BACK = st.tuples(st.just("return"), NUMBERS, LINES, DELAYS)
VOID = st.tuples(st.just("cancel"), NUMBERS, DELAYS)
ERASED = st.tuples(st.just("erase"), CUSTOMERS, DAYS)
PERSON = st.tuples(st.just("person"), CUSTOMERS)
ARTICLE = st.tuples(st.just("article"), PRODUCTS)
SALES = st.lists(SOLD, min_size=1, max_size=16)
CHANGES = st.lists(BACK | VOID, max_size=8)
MASTER = st.lists(st.one_of(PERSON, PERSON, ARTICLE, ERASED), max_size=5)
BOUNDS = {"recency_days": [1, 2, 4, 6], "frequency": [1, 2, 3, 4], "monetary": ["1", "3.75", "7.5", "12"]}
TENANT = st.fixed_dictionaries({
    "timezone": st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]),
    "reference_date": st.sampled_from(["now", "latest_sale", "2026-01-11"]),
    "rfm": st.sampled_from([{"method": "quintile"}, {"method": "fixed", "bounds": BOUNDS}]),
})  # fmt: skip


@dataclass
class Reader:
    """The gateway's reads of one tenant, now and as of a day."""

    engine: AsyncEngine
    tenant_id: UUID
    now: datetime = LATER

    def past(self) -> Past:
        return Past(self.engine, LargeReads(1, 0), lifetime_s=0, entries=1, now=lambda: self.now)

    async def tenant_then(self, day: date) -> dict[str, Any]:
        then = await self.past().tenant(self.tenant_id, day, anew=True)
        return _plain(distribution_of(then.segments, then)) | _plain(cutoffs_of(then, ""))

    async def tenant(self) -> dict[str, Any]:
        async with transaction(self.engine, tenant_id=self.tenant_id) as connection:
            row = await get_cutoffs(connection, self.tenant_id)
            counts = await count_segments(connection, self.tenant_id)
        return _plain(distribution_of(counts, row)) | _plain(cutoffs_of(row, ""))

    async def customer_then(self, code: str, day: date) -> dict[str, Any] | None:
        try:
            return _plain(await self.past().customer(self.tenant_id, code, day, anew=True))
        except Problem as problem:
            if problem.status_code != 404:
                raise
            return None

    async def customer(self, code: str) -> dict[str, Any] | None:
        async with transaction(self.engine, tenant_id=self.tenant_id) as connection:
            row = await customers.get_customer(connection, self.tenant_id, code)
            profile = await customers.get_profile(connection, self.tenant_id, code)
        # The lifetime value is a forecast of today's model: an earlier day does not have it.
        return None if row is None else _plain(customer_of(row, profile, without_value("not_known_of_the_past")))


def _plain(answer: Any) -> dict[str, Any]:
    found = answer.model_dump(mode="json")
    found |= {name: {k: v for k, v in part.items() if k not in NOT_COMPARED}
              for name, part in found.items() if isinstance(part, dict)}  # fmt: skip
    return {name: part for name, part in found.items() if name not in NOT_COMPARED}


def items(t: UUID, sales: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> list[Item]:
    """The generated descriptions as items of a tenant. Sales are numbered; what changes one names it, and how many days
    later it is. A sale is cancelled once: of two cancellations only the one accepted first is ever kept."""
    made: list[Item] = []
    cancelled: set[int] = set()
    for n, one in enumerate([*sales, *others]):
        event_id = f"e{n:03}"
        match one:
            case ("sale", code, lines, day):
                made.append(make.sale(t, f"s{n}", code, lines, day=day, event_id=event_id))
            case ("return", sale, lines, delay):
                number = sale % len(sales)
                day = sales[number][-1] + delay
                made.append(make.returned(t, f"r{n}", f"s{number}", lines, day=day, event_id=event_id))
            case ("cancel", sale, delay) if sale % len(sales) not in cancelled:
                number = sale % len(sales)
                cancelled.add(number)
                day = sales[number][-1] + delay
                made.append(make.cancelled(t, f"s{number}", day=day, minute=n, event_id=event_id))
            case ("erase", code, day):
                made.append(make.erased(SECRET, t, code, day=day))
            case ("person", code):
                made.append(make.person(t, code, 1, day=CODES.index(code) * 2 - 1, first_name=code))
            case ("article", key):
                made.append(make.article(t, key, 1, "food" if key == "tea" else "fresh"))
    return made


def known_by(item: Item, day: date, zone: ZoneInfo) -> bool:
    """Whether an item's business time is not after a local day. Products and erasures have none."""
    match item:
        case Sale():
            at = item.body.sold_at
        case Return():
            at = item.body.returned_at
        case Cancellation():
            at = item.body.cancelled_at
        case CustomerChange() if item.body is not None:
            at = item.body.created_at
        case _:
            return True
    return at.astimezone(zone).date() <= day


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sales=SALES, changes=CHANGES, master=MASTER, chosen=TENANT, near=st.tuples(NUMBERS, st.integers(-1, 2)))
async def test_a_past_day_reads_as_a_system_that_knew_only_what_had_happened(
    rfm_engine: AsyncEngine,
    gateway_engine: AsyncEngine,
    sales: list[tuple[Any, ...]],
    changes: list[tuple[Any, ...]],
    master: list[tuple[Any, ...]],
    chosen: dict[str, Any],
    near: tuple[int, int],
) -> None:
    zone = ZoneInfo(chosen["timezone"])
    day = (make.START + timedelta(days=sales[near[0] % len(sales)][-1] + near[1])).date()
    whole = Rfm(rfm_engine, tenant_id=uuid4(), clock=Clock(LATER))
    evening = datetime.combine(day, time(23, 30), zone).astimezone(UTC)
    fresh = Rfm(rfm_engine, tenant_id=uuid4(), clock=Clock(evening))
    for rfm in (whole, fresh):
        stream = items(rfm.tenant_id, sales, [*changes, *master])
        await rfm.apply(make.tenant(rfm.tenant_id, 1, **chosen))
        await rfm.apply(*(one for one in stream if rfm is whole or known_by(one, day, zone)))
        await rfm.score()
    all_known, then = Reader(gateway_engine, whole.tenant_id), Reader(gateway_engine, fresh.tenant_id)
    assert await all_known.tenant_then(day) == await then.tenant()
    for code in CODES:
        assert await all_known.customer_then(code, day) == await then.customer(code), code


async def test_today_reads_as_the_live_answer(rfm: Rfm, gateway_engine: AsyncEngine) -> None:
    rfm.clock.at = make.START + timedelta(days=20)
    await rfm.apply(
        *(
            make.sale(rfm.tenant_id, f"s{n}", f"c{n % 7}", [("p", "1", str(n + 1)), ("q", "2", "1.5")], day=n * 0.9)
            for n in range(21)
        ),
        make.returned(rfm.tenant_id, "r1", "s3", [("p", "1", "2")], day=12),
        make.cancelled(rfm.tenant_id, "s5", day=19),
        make.article(rfm.tenant_id, "p", 1, "food"),
    )
    await rfm.score()
    reader = Reader(gateway_engine, rfm.tenant_id, rfm.clock.at)
    today = rfm.clock.at.date()
    assert await reader.tenant_then(today) == await reader.tenant()
    for n in range(7):
        found = await reader.customer(f"c{n}")
        assert found is not None
        assert await reader.customer_then(f"c{n}", today) == found
    with pytest.raises(Problem) as refused:
        await reader.past().tenant(rfm.tenant_id, today + timedelta(days=1), anew=False)
    assert refused.value.errors == [{"field": "as_of", "reason": "must not lie in the future"}]


async def test_the_day_ends_at_the_tenants_midnight(rfm: Rfm, gateway_engine: AsyncEngine) -> None:
    # 12:00 UTC is 21:00 in Tokyo; 0.125 days later it is midnight there.
    await rfm.apply(make.tenant(rfm.tenant_id, 1, timezone="Asia/Tokyo"))
    await rfm.apply(
        make.sale(rfm.tenant_id, "s1", "c", [("p", "1", "4")], day=0.124),
        make.sale(rfm.tenant_id, "s2", "c", [("p", "1", "7")], day=0.125),
        make.returned(rfm.tenant_id, "r1", "s1", [("p", "1", "3")], day=0.124),
        make.cancelled(rfm.tenant_id, "s1", day=1.125),
        make.returned(rfm.tenant_id, "r2", "s2", [("p", "1", "1")], day=1.124),
        make.returned(rfm.tenant_id, "r3", "s2", [("p", "1", "4")], day=1.125),
    )
    await rfm.score()
    reader = Reader(gateway_engine, rfm.tenant_id)

    async def monetary(day: date) -> tuple[Decimal, Decimal]:
        found = await reader.customer_then("c", day)
        assert found is not None
        revenue = sum(Decimal(each["revenue"]) for each in (await reader.tenant_then(day))["segments"])
        return Decimal(found["rfm"]["monetary"]), Decimal(revenue)

    assert await monetary(date(2026, 1, 5)) == (1, 1)
    assert await monetary(date(2026, 1, 6)) == (7, 7)
    assert await monetary(date(2026, 1, 7)) == (2, 2)
    assert await reader.customer_then("c", date(2026, 1, 4)) is None


async def test_erased_people_are_not_brought_back(rfm: Rfm, gateway_engine: AsyncEngine) -> None:
    await rfm.apply(
        make.sale(rfm.tenant_id, "s1", "gone", [("p", "1", "4")], day=1),
        make.sale(rfm.tenant_id, "s2", "here", [("p", "1", "4")], day=1),
    )
    await rfm.apply(make.erased(SECRET, rfm.tenant_id, "gone", day=30))
    await rfm.score()
    reader = Reader(gateway_engine, rfm.tenant_id)
    (row,) = await rfm.query("select pseudonym from rfm.erasure where tenant_id = :tenant")
    for code in ("gone", row.pseudonym):
        assert await reader.customer_then(code, date(2026, 1, 10)) is None
    assert (await reader.tenant_then(date(2026, 1, 10)))["customers"] == 1


async def test_a_state_is_kept_for_its_tenant_and_day_and_not_for_who_must_see_a_write(
    rfm: Rfm, gateway_engine: AsyncEngine
) -> None:
    past = Past(gateway_engine, LargeReads(1, 0), lifetime_s=60, entries=10, now=lambda: LATER)
    day, other = date(2026, 1, 10), uuid4()
    assert (await past.tenant(rfm.tenant_id, day, anew=False)).segments == {}
    await rfm.apply(
        make.sale(rfm.tenant_id, "s1", "c", [("p", "1", "4")]), make.sale(other, "s1", "c", [("p", "1", "9")])
    )
    assert (await past.tenant(rfm.tenant_id, day, anew=False)).segments == {}
    assert (await past.tenant(other, day, anew=False)).monetary == [Decimal(9)] * 4
    assert (await past.tenant(rfm.tenant_id, day, anew=True)).monetary == [Decimal(4)] * 4
    assert (await past.tenant(rfm.tenant_id, day, anew=False)).monetary == [Decimal(4)] * 4
    assert (await past.tenant(rfm.tenant_id, day - timedelta(days=9), anew=False)).segments == {}
