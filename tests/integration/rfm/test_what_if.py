"""What other settings would move is what moves once they are made."""

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.repository.what_if import find_moves
from services.api_gateway.views.what_if import WhatIf, WhatIfResult, result_of
from shared.db.engine import transaction
from tests.integration.rfm.conftest import Clock, Rfm
from tests.support import rfm_items as make

NOW = make.START.replace(day=25)
DAYS = st.lists(st.integers(0, 12), min_size=4, max_size=4, unique=True).map(sorted)
COUNTS = st.lists(st.integers(0, 6), min_size=4, max_size=4, unique=True).map(sorted)
AMOUNTS = st.lists(st.integers(0, 40).map(lambda n: f"{n / 4:.2f}"), min_size=4, max_size=4, unique=True).map(
    lambda found: sorted(found, key=Decimal)
)
FIXED = st.fixed_dictionaries({
    "method": st.just("fixed"),
    "bounds": st.fixed_dictionaries({"recency_days": DAYS, "frequency": COUNTS, "monetary": AMOUNTS}),
})  # fmt: skip
RFM = FIXED | st.just({"method": "quintile"})
REFERENCE = st.sampled_from(["now", "latest_sale", "2026-01-12"])
SALES = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["0", "0.50", "1.25", "3"]), st.integers(0, 12)), max_size=30
)


async def ask(engine: AsyncEngine, rfm: Rfm, body: dict[str, Any]) -> WhatIfResult:
    """The answer of the route, without the way there."""
    wanted = WhatIf.model_validate(body)
    async with transaction(engine, tenant_id=rfm.tenant_id) as connection:
        rows = await find_moves(
            connection, rfm.tenant_id, method=wanted.method,
            bounds=wanted.bounds.model_dump_json() if wanted.bounds else None,
            reference_date=None if wanted.reference_date is None else str(wanted.reference_date), now=rfm.clock(),
        )  # fmt: skip
    return result_of(wanted.method, rows)


async def standings(rfm: Rfm) -> dict[str, Any]:
    """Every customer's row, by code."""
    return {row.customer_code: row for row in await rfm.query("select * from rfm.customer where tenant_id = :tenant")}


def distribution(rows: dict[str, Any]) -> dict[str, tuple[int, Decimal]]:
    """Customers and revenue per segment that has any."""
    found: dict[str, tuple[int, Decimal]] = {}
    for row in rows.values():
        customers, revenue = found.get(row.segment, (0, Decimal(0)))
        found[row.segment] = customers + 1, revenue + row.monetary
    return found


def shown(shares: list[Any]) -> dict[str, tuple[int, Decimal]]:
    return {share.segment: (share.customers, share.revenue) for share in shares if share.customers}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sales=SALES, before=RFM, after=RFM, references=st.tuples(REFERENCE, REFERENCE))
async def test_the_answer_is_what_the_change_of_settings_does(
    rfm_engine: AsyncEngine,
    gateway_engine: AsyncEngine,
    sales: list[tuple[int, str, int]],
    before: dict[str, Any],
    after: dict[str, Any],
    references: tuple[str, str],
) -> None:
    rfm = Rfm(rfm_engine, tenant_id=uuid4(), clock=Clock(NOW))
    t = rfm.tenant_id
    await rfm.apply(make.tenant(t, 1, rfm=before, reference_date=references[0]), make.person(t, "prospect", 1))
    await rfm.apply(
        *(make.sale(t, f"s{n}", f"c{who}", [("p", "1", price)], day=day) for n, (who, price, day) in enumerate(sales))
    )
    await rfm.score()
    old = await standings(rfm)
    answer = await ask(gateway_engine, rfm, {**after, "reference_date": references[1]})
    assert await standings(rfm) == old
    await rfm.apply(make.tenant(t, 2, rfm=after, reference_date=references[1]))
    await rfm.score()
    new = await standings(rfm)

    (cutoffs,) = await rfm.query("select * from rfm.cutoffs where tenant_id = :tenant")
    assert answer.reference_date == cutoffs.reference_date
    if cutoffs.customers:
        bounds = (answer.recency_days, answer.frequency, answer.monetary)
        assert bounds == (cutoffs.recency_days, cutoffs.frequency, cutoffs.monetary)
    assert shown(answer.before) == distribution(old)
    assert shown(answer.after) == distribution(new)
    moved = {code: (old[code].segment, row.segment) for code, row in new.items() if old[code].segment != row.segment}
    assert {(move.from_, move.to): move.customers for move in answer.moves} == Counter(moved.values())
    assert (answer.customers, answer.moved) == (len(old), len(moved))
    for move in answer.moves:
        assert move.revenue == sum(old[code].monetary for code, way in moved.items() if way == (move.from_, move.to))
        assert len(move.examples) == min(10, move.customers)
        for one in move.examples:
            was, now = old[one.customer_code], new[one.customer_code]
            assert (one.before.r, one.before.f, one.before.m) == (was.r, was.f, was.m)
            assert (one.after.r, one.after.f, one.after.m) == (now.r, now.f, now.m)
            assert (one.frequency, one.monetary) == (now.frequency, now.monetary)
            assert one.recency_days == max(0, (answer.reference_date - now.last_order_day).days)
            assert moved[one.customer_code] == (move.from_, move.to)


async def test_at_most_ten_examples_are_shown_largest_first(rfm: Rfm, gateway_engine: AsyncEngine) -> None:
    rfm.clock.at = NOW
    await rfm.apply(
        *(make.sale(rfm.tenant_id, f"s{n}", f"c{n:02}", [("p", "1", str(n // 2 + 1))], day=10) for n in range(24))
    )
    bounds = {"recency_days": [0, 1, 2, 3], "frequency": [1, 2, 3, 4], "monetary": ["100", "200", "300", "400"]}
    await rfm.score()
    answer = await ask(gateway_engine, rfm, {"method": "fixed", "bounds": bounds})
    for move in answer.moves:
        examples = [(-one.monetary, one.customer_code) for one in move.examples]
        assert examples == sorted(examples)
        assert len(examples) == min(10, move.customers)
    assert max(move.customers for move in answer.moves) > 10


@pytest.mark.parametrize("method", ["quintile", "fixed"])
async def test_a_tenant_without_customers_is_answered(rfm: Rfm, gateway_engine: AsyncEngine, method: str) -> None:
    rfm.clock.at = NOW
    bounds = {"recency_days": [0, 1, 2, 3], "frequency": [1, 2, 3, 4], "monetary": ["1", "2", "3", "4"]}
    answer = await ask(gateway_engine, rfm, {"method": method, "bounds": bounds})
    assert (answer.customers, answer.moved, answer.moves) == (0, 0, [])
    assert answer.reference_date == date(2026, 1, 25)
    assert [len(answer.before), len(answer.after)] == [12, 12]
    assert answer.frequency == ([] if method == "quintile" else [1, 2, 3, 4])
