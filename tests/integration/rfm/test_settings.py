"""A tenant's settings: what they change, and who may change them when."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from pydantic import ValidationError

from shared.events.tenant_settings import TenantSettings
from shared.messaging.errors import DeadReason, PoisonedItems
from tests.integration.rfm.conftest import Rfm
from tests.support import rfm_items as make


async def test_a_sale_before_its_tenants_event_is_dated_anew(rfm: Rfm) -> None:
    evening = 0.45  # 22:48 UTC, the next day in Tokyo
    await rfm.apply(make.sale(rfm.tenant_id, "s1", "c1", [("p", "1", "5")], day=evening))
    await rfm.apply(make.returned(rfm.tenant_id, "r1", "s1", [("p", "0.25", "1")]))
    assert (await rfm.customer("c1")).last_order_day == date(2026, 1, 5)
    await rfm.apply(make.tenant(rfm.tenant_id, 1, timezone="Asia/Tokyo"))
    await rfm.score()
    assert (await rfm.customer("c1")).last_order_day == date(2026, 1, 6)
    days = await rfm.query("select day, orders, units, revenue from rfm.day where tenant_id = :tenant")
    assert [(r.day, r.orders, float(r.units), r.revenue) for r in days] == [(date(2026, 1, 6), 1, 0.75, 4)]
    assert await rfm.verified()


async def test_an_older_version_changes_nothing(rfm: Rfm) -> None:
    await rfm.apply(make.tenant(rfm.tenant_id, 2, timezone="UTC"), make.tenant(rfm.tenant_id, 1, timezone="Asia/Tokyo"))
    (row,) = await rfm.query("select timezone, version from rfm.tenant where tenant_id = :tenant")
    assert tuple(row) == ("UTC", 2)


async def test_fixed_bounds_score_everybody_with_settings_as_cause(rfm: Rfm) -> None:
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", str(n + 1))], day=n) for n in range(5)))
    await rfm.score()
    bounds = {"recency_days": [1, 2, 3, 4], "frequency": [1, 2, 3, 4], "monetary": ["0.10", "0.20", "0.30", "0.40"]}
    await rfm.apply(
        make.tenant(rfm.tenant_id, 1, reference_date=date(2026, 1, 9), rfm={"method": "fixed", "bounds": bounds})
    )
    assert (await rfm.customer("c0")).r == 1  # the old answer can be read meanwhile
    await rfm.score()
    row = await rfm.customer("c0")
    assert (row.r, row.f, row.m) == (2, 1, 5)
    causes = await rfm.query("select cause from rfm.segment_change where tenant_id = :tenant order by id desc limit 1")
    assert causes[0].cause == "settings"
    assert await rfm.verified()


@pytest.mark.parametrize("reference", ["now", "latest_sale", date(2025, 12, 31), date(2026, 6, 1)])
async def test_reference_dates(rfm: Rfm, reference: str | date) -> None:
    await rfm.apply(make.tenant(rfm.tenant_id, 1, reference_date=reference))
    await rfm.apply(*(make.sale(rfm.tenant_id, f"s{n}", f"c{n}", [("p", "1", "2")], day=n) for n in range(6)))
    assert await rfm.verified()
    (row,) = await rfm.query("select reference_date from rfm.cutoffs where tenant_id = :tenant")
    if reference == "latest_sale":
        assert row.reference_date == date(2026, 1, 10)
    elif isinstance(reference, date):
        assert row.reference_date == reference


async def test_a_sale_in_another_currency_is_named_and_the_rest_can_go_on(rfm: Rfm) -> None:
    await rfm.apply(make.tenant(rfm.tenant_id, 1, currency="EUR"))
    good = make.sale(rfm.tenant_id, "s1", "c1", [("p", "1", "5")], currency="EUR")
    bad = make.sale(rfm.tenant_id, "s2", "c1", [("p", "1", "5")], currency="USD")
    with pytest.raises(PoisonedItems) as refused:
        await rfm.apply(good, bad)
    assert {n: poison.reason for n, poison in refused.value.items.items()} == {1: DeadReason.CURRENCY_MISMATCH}
    assert await rfm.customer("c1") is None
    await rfm.apply(good)
    assert (await rfm.customer("c1")).frequency == 1


async def test_an_erased_tenant_leaves_nothing_and_takes_nothing(rfm: Rfm) -> None:
    await rfm.apply(
        make.sale(rfm.tenant_id, "s1", "c1", [("p", "1", "5")]),
        make.returned(rfm.tenant_id, "r1", "s1", [("p", "1", "1")]),
        make.person(rfm.tenant_id, "c1", 1, first_name="Ada"),
        make.article(rfm.tenant_id, "p", 1, "food"),
    )
    await rfm.score()
    await rfm.apply(
        make.tenant(rfm.tenant_id, 2, status="erased"), make.sale(rfm.tenant_id, "s2", "c2", [("p", "1", "5")])
    )
    await rfm.apply(make.sale(rfm.tenant_id, "s3", "c3", [("p", "1", "5")]), make.person(rfm.tenant_id, "c3", 1))
    tables = await rfm.query(
        "select table_name from information_schema.columns where table_schema = 'rfm' and column_name = 'tenant_id'"
    )
    for table in {row.table_name for row in tables} - {"tenant"}:
        assert not await rfm.query(f"select 1 from rfm.{table} where tenant_id = :tenant"), table
    assert not await rfm.query("select 1 from rfm.outbox where starts_with(key, :t)", t=f"{rfm.tenant_id}:")


async def test_an_erased_tenant_stays_erased_within_a_batch(rfm: Rfm) -> None:
    await rfm.apply(make.tenant(rfm.tenant_id, 2, status="erased"), make.tenant(rfm.tenant_id, 3))
    await rfm.apply(make.sale(rfm.tenant_id, "s1", "c1", [("p", "1", "5")]))
    assert [row.status for row in await rfm.query("select status from rfm.tenant where tenant_id = :tenant")] == [
        "erased"
    ]
    assert not await rfm.query("select 1 from rfm.sale where tenant_id = :tenant")


async def test_postgres_knows_every_zone_that_a_tenant_may_name_and_reads_it_alike(rfm: Rfm) -> None:
    for month in (1, 7):
        noon = datetime(2022, month, 1, 12, tzinfo=UTC)
        zones = [zone for zone in sorted(available_timezones()) if _accepted(zone)]
        rows = await rfm.query(
            "select zone, cast(:noon as timestamptz) at time zone zone as local "
            "from unnest(cast(:zones as text[])) as zone",
            noon=noon, zones=zones,
        )  # fmt: skip
        read = {row.zone: row.local for row in rows}
        assert read == {zone: noon.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for zone in zones}


def _accepted(zone: str) -> bool:
    try:
        TenantSettings(timezone=zone)
    except ValidationError:
        return False
    return True
