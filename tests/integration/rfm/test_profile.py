"""The profile function: definitions on small cases, bounded work on a large one, and whose rows it may read."""

import time
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import transaction
from tests.integration.rfm.conftest import Rfm
from tests.support import rfm_items as make


async def profile(rfm: Rfm, code: str) -> Any:
    rows = await rfm.query("select * from rfm.customer_profiles(:tenant, array[:c])", c=code)
    return rows[0] if rows else None


async def test_average_basket_is_rounded_half_even(rfm: Rfm) -> None:
    cases = [("0.00015", 1), ("1", 3), ("0.0001", 2), ("0.0003", 2), ("2", 3), ("100000000.0001", 7)]
    for monetary, frequency in cases:
        (row,) = await rfm.query(
            "select rfm.average_basket(cast(:m as numeric), :f) as b", m=Decimal(monetary), f=frequency
        )
        assert row.b == (Decimal(monetary) / frequency).quantize(Decimal("0.0001"))


async def test_prices_are_weighted_by_units_over_the_last_fifty_lines(rfm: Rfm) -> None:
    t = rfm.tenant_id
    prices = [Decimal(n) / 4 for n in range(1, 31)]
    old = [("p", "1", "999")] * 40
    await rfm.apply(make.sale(t, "old", "c", old, day=0))
    recent = [(f"p{n}", str(1 + n % 3), str(price)) for n, price in enumerate(prices)]
    await rfm.apply(make.sale(t, "new", "c", recent, day=1))
    found = await profile(rfm, "c")
    units = [float(price) for n, price in enumerate(prices) for _ in range(1 + n % 3)] + [999.0] * 20
    expected = np.quantile(units, [0.25, 0.5, 0.75])
    assert [float(found.budget_low), float(found.budget_typical), float(found.budget_high)] == expected.tolist()


async def test_interval_families_and_the_next_order(rfm: Rfm) -> None:
    t = rfm.tenant_id
    for n, day in enumerate([0, 0.1, 3, 10, 14]):
        await rfm.apply(make.sale(t, f"s{n}", "c", [(f"p{n % 4}", "1", "4")], day=day))
    await rfm.apply(*(make.article(t, f"p{n}", 1, family) for n, family in enumerate(["a", "b", "b"])))
    found = await profile(rfm, "c")
    assert found.usual_interval_days == 4
    assert found.next_order_expected_at == date(2026, 1, 23)
    assert [entry["family"] for entry in found.preferred_families] == ["a", "b", "unknown"]
    assert sum(entry["share"] for entry in found.preferred_families) == pytest.approx(1, abs=2e-4)
    assert found.budget_band is None
    assert await rfm.verified()


async def test_each_of_many_customers_has_their_own_three_families_and_shares_of_all_that_they_spent(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(*(make.article(t, f"p{n}", 1, f"family {n}") for n in range(5)))
    spent = {"ann": [1, 2, 3, 10, 4], "bob": [5, 5, 5, 5, 0], "cy": [0, 0, 0, 0, 7]}
    for code, amounts in spent.items():
        lines = [(f"p{n}", "1", str(amount)) for n, amount in enumerate(amounts) if amount]
        await rfm.apply(make.sale(t, f"of {code}", code, lines))
    await rfm.apply(make.person(t, "dee", 1))
    rows = await rfm.query(
        "select customer_code, preferred_families from rfm.customer_profiles(:tenant, array['ann', 'bob', 'cy', 'dee'])"
    )
    found = {code: [(each["family"], each["share"]) for each in families] for code, families in rows}
    assert found == {
        "ann": [("family 3", 0.5), ("family 4", 0.2), ("family 2", 0.15)],
        "bob": [("family 0", 0.25), ("family 1", 0.25), ("family 2", 0.25)],
        "cy": [("family 4", 1)],
        "dee": [],
    }


async def test_a_customer_without_orders_has_an_empty_profile(rfm: Rfm) -> None:
    await rfm.apply(make.person(rfm.tenant_id, "c", 1))
    found = await profile(rfm, "c")
    assert (found.average_basket, found.preferred_families, found.usual_interval_days) == (None, [], None)
    assert found.budget_typical is None


async def test_a_day_at_which_the_clocks_change_is_one_day(rfm: Rfm) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.tenant(t, 1, timezone="America/Havana"))
    times = ["2025-11-01T12:00:00Z", "2025-11-02T03:30:00Z", "2025-11-02T04:30:00Z", "2025-11-02T05:30:00Z"]
    for n, sold_at in enumerate([*times, "2025-11-04T12:00:00Z"]):
        await rfm.apply(make.sale(t, f"s{n}", "c", [("p", "1", "4")], sold_at=sold_at))
    assert (await profile(rfm, "c")).usual_interval_days == Decimal("1.5")
    assert await rfm.verified()


async def test_a_walk_in_customer_costs_no_more_than_another(rfm: Rfm, admin_engine: AsyncEngine) -> None:
    t = rfm.tenant_id
    await rfm.apply(make.sale(t, "first", "walk-in", [("p", "1", "2")], day=60))
    async with transaction(admin_engine) as connection:
        await connection.execute(
            text(
                "insert into rfm.sale (tenant_id, sale_id, recorded, customer_code, sold_at, day, gross, net, "
                "product_keys, labels, quantities, unit_prices, discounts, amounts) "
                "select :t, 'w' || n, true, 'walk-in', at, at::date, 2, 2, '{p}', '{NULL}', '{1}', '{2}', '{0}', '{2}' "
                "from generate_series(1, 60000) n, "
                "lateral (select timestamptz '2026-01-01 09:00Z' + n * interval '80 s') x(at)"
            ),
            {"t": t},
        )
    async with transaction(admin_engine) as connection:
        await connection.execute(text("analyze rfm.sale"))
    await profile(rfm, "walk-in")
    began = time.perf_counter()
    found = await profile(rfm, "walk-in")
    assert time.perf_counter() - began < 0.1
    assert found.usual_interval_days == 1


async def test_the_gateway_reads_the_profile_of_its_tenant_only(rfm: Rfm, gateway_engine: AsyncEngine) -> None:
    await rfm.apply(make.sale(rfm.tenant_id, "s", "c", [("p", "1", "2")]))
    statement = text("select * from rfm.customer_profiles(:tenant, array['c'])")
    async with transaction(gateway_engine, tenant_id=rfm.tenant_id) as connection:
        assert len((await connection.execute(statement, {"tenant": rfm.tenant_id})).all()) == 1
    async with transaction(gateway_engine, tenant_id=uuid4()) as connection:
        assert (await connection.execute(statement, {"tenant": rfm.tenant_id})).all() == []
