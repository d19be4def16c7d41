"""Figures of a period against a plain recomputation: before and after the refresher came by, and after every change."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.api_gateway.repository import analytics
from services.rfm_worker.domain.facts import Item, ProductChange
from tests.integration.gateway.data.conftest import Gateway, Tenant, Worker, fields
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.support import figures
from tests.support import rfm_items as make
from tests.support.figures import DAY, Books

FIRST, LAST = date(2026, 1, 1), date(2026, 3, 20)
REFERENCE = date(2026, 3, 10)
"""Before the last sales, which still count."""
FAMILIES = {f"p{n}": f"family {n % 3}" for n in range(6)}
LABELS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}


def ledger(tenant: Tenant, chance: random.Random) -> list[Item]:
    """Sales over eleven weeks, many of them near midnight, with returns, cancellations, duplicates and nobody."""
    items: list[Item] = [make.article(tenant.id, key, 1, family) for key, family in FAMILIES.items()]
    items += [make.person(tenant.id, f"c{n}", 1, day=n * 9) for n in range(8)]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(170):
        lines = [
            (f"p{chance.randrange(9)}", str(chance.randrange(1, 4)), f"{chance.randrange(900) / 100}")
            for _ in range(chance.randrange(1, 5))
        ]
        at = start + timedelta(days=chance.randrange(78), hours=chance.choice([0, 4.5, 5.5, 12, 22.5, 23.5]))
        customer = chance.choice([None, "walk-in", "walk-in", *(f"c{k}" for k in range(12))])
        sale_id = f"s{chance.randrange(150)}"
        items.append(make.sale(tenant.id, sale_id, customer, lines, sold_at=at, minute=n))
        if n % 4 == 0:
            items.append(make.returned(tenant.id, f"r{n}", f"s{chance.randrange(150)}", [(lines[0][0], "1", "2.50")]))
        if n % 15 == 0:
            items.append(make.cancelled(tenant.id, f"s{chance.randrange(150)}"))
    return items


async def get(tenant: Tenant, path: str, **query: Any) -> Any:
    answer = await tenant.get(path, params={k: v for k, v in query.items() if v is not None})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def check(tenant: Tenant, books: Books, items: Sequence[Item], chance: random.Random) -> None:
    """Every figure of some periods, long and short, whole and cut."""
    families = {i.product_key: str(i.body.family) for i in items if isinstance(i, ProductChange) and i.body}
    periods = [(FIRST, LAST), (date(2026, 1, 1), date(2026, 2, 28)), (date(2026, 2, 2), date(2026, 3, 15))]
    for _ in range(2):
        first = FIRST + chance.randrange(70) * DAY
        periods.append((first, first + chance.randrange(30) * DAY))
    for first, last in periods:
        await check_overview(tenant, books, first, last)
        await check_products(tenant, books, first, last, families)
        for grain, label in LABELS.items():
            await check_trend(tenant, books, first, last, grain, label)
    for product in ("p0", "p3", "p8", "p99"):
        await check_popularity(tenant, books, product, families)


async def check_overview(tenant: Tenant, books: Books, first: date, last: date) -> None:
    found = await get(tenant, "/analytics/overview", **{"from": first, "to": last})
    right = figures.overview(books, first, last, REFERENCE, 90)
    length = (last - first).days + 1
    assert found["period"] == {"from": str(first), "to": str(last)}
    assert found["previous"]["period"] == {"from": str(first - length * DAY), "to": str(first - DAY)}
    assert found["currency"] == "EUR"
    for mine, other in ((found, right), (found["previous"], right["previous"])):
        assert mine["customers"] == other["customers"]
        assert (mine["orders"], Decimal(mine["revenue"])) == (other["orders"], other["revenue"])
        basket = None if mine["average_basket"] is None else Decimal(mine["average_basket"])
        assert (basket, mine["repeat_rate"]) == (other["average_basket"], other["repeat_rate"])


async def check_trend(tenant: Tenant, books: Books, first: date, last: date, grain: str, label: str) -> None:
    found = await get(tenant, "/analytics/sales-trend", **{"from": first, "to": last, "granularity": grain})
    assert found["granularity"] == grain
    length = (last - first).days + 1
    for name, start, stop in (("points", first, last), ("previous", first - length * DAY, first - DAY)):
        points = [
            (p["period"], p["orders"], Decimal(p["units"]), Decimal(p["revenue"]), p["customers"]) for p in found[name]
        ]
        assert points == figures.trend(books, start, stop, label)
    assert found["points"][0]["from"] == str(first)
    assert found["points"][-1]["to"] == str(last)


async def check_products(tenant: Tenant, books: Books, first: date, last: date, families: dict[str, str]) -> None:
    orders = books.within(first, last)
    products, groups = figures.sold(orders), figures.sold(orders, families)
    for by in ("revenue", "units", "orders"):
        found = await get(tenant, "/analytics/products", **{"from": first, "to": last, "by": by, "limit": 100})
        listed = [
            (p["product_key"], p["orders"], Decimal(p["units"]), Decimal(p["revenue"])) for p in found["products"]
        ]
        ordered = sorted(products.items(), key=lambda item: (-getattr(item[1], by), item[0]))
        assert listed == [(key, one.orders, one.units, one.revenue) for key, one in ordered]
        ranked = sorted(groups.items(), key=lambda item: (-getattr(item[1], by), item[0]))
        assert [
            (f["family"], f["product_orders"], Decimal(f["units"]), Decimal(f["revenue"]), f["products"])
            for f in found["families"]
        ] == [(key, one.orders, one.units, one.revenue, len(one.products)) for key, one in ranked]
        total = sum((one.revenue for one in products.values()), Decimal(0))
        assert (Decimal(found["revenue"]), found["product_count"]) == (total, len(products))
        shares = {p["product_key"]: p["share"] for p in found["products"]}
        assert shares == {k: pytest.approx(float(one.revenue / total), abs=6e-5) for k, one in products.items()}


async def check_popularity(tenant: Tenant, books: Books, product: str, families: dict[str, str]) -> None:
    answer = await tenant.get(f"/products/{product}/popularity")
    if not any(product in order.parts for order in books.orders) and product not in families:
        assert answer.status_code == 404
        return
    found = answer.json()
    assert found["popularity"] == pytest.approx(figures.popularity(books, product), abs=1e-6)
    assert found["reference_date"] == str(REFERENCE)
    recent = books.within(REFERENCE - 29 * DAY, REFERENCE)
    for name, orders in (("all_time", books.orders), ("last_30_days", recent)):
        right = figures.sold(orders).get(product, figures.Sold())
        mine = found[name]
        assert (mine["orders"], Decimal(mine["units"]), Decimal(mine["revenue"]), mine["customers"]) == (
            right.orders, right.units, right.revenue, len(right.customers),
        )  # fmt: skip


async def apply(rfm: Rfm, items: Sequence[Item]) -> None:
    for start in range(0, len(items), 40):
        await rfm.apply(*items[start : start + 40])


@pytest.mark.parametrize("zone", ["Europe/Paris", "America/Havana", "Pacific/Auckland"])
async def test_figures_are_exact_whatever_was_refreshed(tenant: Tenant, worker: Worker, zone: str) -> None:
    chance = random.Random(zone)
    rfm = Rfm(worker.engine, tenant.id)
    await rfm.apply(make.tenant(tenant.id, 1, timezone=zone, reference_date=REFERENCE))
    items = ledger(tenant, chance)
    chance.shuffle(items)
    most = len(items) * 2 // 3
    await apply(rfm, items[:most])
    await check(tenant, Books.of(items[:most], zone), items[:most], chance)  # all from the ledger
    await worker.refresh(tenant)
    await check(tenant, Books.of(items[:most], zone), items[:most], chance)  # all from sums
    await apply(rfm, items[most:])
    await check(tenant, Books.of(items, zone), items, chance)  # sums that hold, and the ledger for days that changed
    await rfm.apply(make.erased(SECRET, tenant.id, "c3", day=100))
    await check(tenant, Books.of(items, zone, {"c3"}), items, chance)
    await worker.refresh(tenant)
    await check(tenant, Books.of(items, zone, {"c3"}), items, chance)
    await rfm.apply(make.tenant(tenant.id, 2, timezone="Asia/Tokyo", reference_date=REFERENCE))
    await rfm.score()  # every sale is dated anew
    await check(tenant, Books.of(items, "Asia/Tokyo", {"c3"}), items, chance)


async def test_buyers_are_counted_once_as_long_as_no_order_changes(
    tenant: Tenant, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count = analytics.count_buyers

    async def seen(connection: Any, tenant_id: Any, spans: Sequence[Any]) -> Any:
        counted.append(len(spans))
        return await count(connection, tenant_id, spans)

    monkeypatch.setattr(analytics, "count_buyers", seen)
    rfm = Rfm(worker.engine, tenant.id)
    await rfm.apply(
        make.tenant(tenant.id, 1, reference_date=REFERENCE),
        *(make.sale(tenant.id, f"s{n}", f"c{n % 3}", [("p", "1", "5")], day=n) for n in range(4)),
        make.sale(tenant.id, "old", "c0", [("p", "1", "5")], day=-20),
    )
    january = {"from": "2026-01-01", "to": "2026-01-31"}
    for rate, calls in ((0.3333, [4]), (0.3333, [4])):
        assert (await get(tenant, "/analytics/overview", **january))["repeat_rate"] == rate
        assert counted == calls
    # A day of this period changes, and with it the ninety days before its end; those before the period stay.
    await rfm.apply(make.sale(tenant.id, "more", "c1", [("p", "1", "5")], day=5))
    assert (await get(tenant, "/analytics/overview", **january))["repeat_rate"] == 0.6667
    assert counted == [4, 2]
    await rfm.apply(make.erased(SECRET, tenant.id, "c1", day=100))
    found = await get(tenant, "/analytics/overview", **january)
    assert (found["repeat_rate"], found["customers"]["active"]) == (0.5, 2)
    assert counted == [4, 2, 2]


async def test_history_moves_with_the_family_of_a_product(tenant: Tenant, worker: Worker) -> None:
    rfm = Rfm(worker.engine, tenant.id)
    await rfm.apply(make.sale(tenant.id, "s", "c", [("p", "2", "3"), ("q", "1", "1")], day=0))
    await worker.refresh(tenant)
    for version, family in ((1, "Shelves"), (2, "Chairs"), (3, None)):
        await rfm.apply(make.article(tenant.id, "p", version, family))
        found = await get(tenant, "/analytics/products", **{"from": "2026-01-01", "to": "2026-01-31"})
        assert found["products"][0]["family"] == (family or "unknown")
        expected = {"unknown": "7.00"} if family is None else {family: "6.00", "unknown": "1.00"}
        assert {f["family"]: f["revenue"] for f in found["families"]} == expected


async def test_a_tenant_without_sales_gets_zeros(tenant: Tenant) -> None:
    empty = {"total": 0, "active": 0, "new": 0}
    found = await get(tenant, "/analytics/overview")
    for part in (found, found["previous"]):
        assert (part["customers"], part["orders"], part["revenue"]) == (empty, 0, "0")
        assert (part["average_basket"], part["repeat_rate"]) == (None, None)
    for grain in LABELS:
        points = (await get(tenant, "/analytics/sales-trend", granularity=grain))["points"]
        assert points
        assert {(p["orders"], p["revenue"], p["customers"], p["units"]) for p in points} == {(0, "0", 0, "0")}
    products = await get(tenant, "/analytics/products")
    assert (products["products"], products["families"], products["revenue"]) == ([], [], "0")
    moves = await get(tenant, "/analytics/segments")
    assert (moves["flows"], moves["moved"]) == ([], 0)
    assert {s["customers"] for s in moves["before"] + moves["after"]} == {0}
    assert len(moves["before"]) == 12
    assert (await tenant.get("/products/p/popularity")).status_code == 404


async def test_a_product_that_was_never_sold_has_no_popularity(tenant: Tenant) -> None:
    await tenant.put("/products/p", json={})
    found = await get(tenant, "/products/p/popularity")
    nothing = {"orders": 0, "units": "0", "revenue": "0", "customers": 0}
    assert (found["popularity"], found["all_time"], found["last_30_days"]) == (0, nothing, nothing)


@pytest.mark.parametrize("path", ["overview", "sales-trend", "segments", "products"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=2026-02-02&to=2026-02-01", "from to"),
        ("from=2013-01-01&to=2026-01-01", "from"),
        ("from=1899-12-31&to=1900-01-05", "from"),
        ("to=2100-01-01", "to"),
        ("from=yesterday", "from"),
        ("from=2026-02-30", "from"),
        ("from=2026-02-01T00:00:00Z", "from"),
        ("to=20260201", "to"),
        ("to=", "to"),
    ],
)
async def test_bad_periods_are_refused(tenant: Tenant, path: str, query: str, field: str) -> None:
    refused = await tenant.get(f"/analytics/{path}?{query}")
    assert (refused.status_code, fields(refused)) == (422, set(field.split()))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("sales-trend?granularity=year", "granularity"),
        ("products?by=margin", "by"),
        ("products?limit=0", "limit"),
        ("products?limit=101", "limit"),
        ("sales-trend?granularity=day&from=2020-01-01&to=2026-01-01", "from"),
    ],
)
async def test_bad_choices_are_refused(tenant: Tenant, query: str, field: str) -> None:
    refused = await tenant.get(f"/analytics/{query}")
    assert (refused.status_code, fields(refused)) == (422, {field})
    assert (await tenant.get("/analytics/sales-trend?granularity=month&from=2020-01-01&to=2026-01-01")).is_success


async def test_no_figure_shows_another_tenants_sales(tenant: Tenant, other: Tenant, worker: Worker) -> None:
    rfm = Rfm(worker.engine, other.id)
    await rfm.apply(make.sale(other.id, "s", "c", [("p", "1", "5")], day=0))
    for _ in range(2):
        for query in ("overview", "sales-trend", "segments", "products"):
            answer = await tenant.get(f"/analytics/{query}?from=2026-01-01&to=2026-01-31")
            assert answer.is_success
            assert "5.00" not in answer.text
            assert '"p"' not in answer.text
        assert (await tenant.get("/products/p/popularity")).status_code == 404
        assert (await get(tenant, "/customers"))["items"] == []
        await worker.refresh(other)
    found = await get(other, "/analytics/overview", **{"from": "2026-01-01", "to": "2026-01-31"})
    assert found["revenue"] == "5.00"


SEGMENTS = ["prospect", "new", "loyal", "lost", "champions"]


async def test_flows_are_those_of_the_history(gateway: Gateway, worker: Worker) -> None:
    for seed in range(3):
        chance = random.Random(seed)
        tenant = await gateway.tenant()
        histories = await past(worker, tenant, chance)
        for first, last in ((1, 20), (5, 6), (10, 10), (3, 40)):
            days = date(2026, 5, first), date(2026, 5, 1) + (last - 1) * DAY
            found = await get(tenant, "/analytics/segments", **{"from": days[0], "to": days[1]})
            expected: dict[tuple[str | None, str | None], int] = {}
            for created, changes in histories:
                pair = stood(created, changes, days[0]), stood(created, changes, days[1])
                if pair != (None, None):
                    expected[pair] = expected.get(pair, 0) + 1
            assert {(f["from"], f["to"]): f["customers"] for f in found["flows"]} == expected
            for end, name in enumerate(("before", "after")):
                counts = {s["segment"]: s["customers"] for s in found[name] if s["customers"]}
                right: dict[str | None, int] = {}
                for pair, customers in expected.items():
                    right[pair[end]] = right.get(pair[end], 0) + customers
                right.pop(None, None)
                assert counts == right
            assert found["moved"] == sum(n for (was, became), n in expected.items() if was != became)
        await tenant.client.aclose()


Past = list[tuple[datetime | None, list[tuple[datetime, str | None, str]]]]


async def past(worker: Worker, tenant: Tenant, chance: random.Random) -> Past:
    """Customers with and without master data, each with a chain of changes; stored, and as (created, changes)."""
    start = datetime(2026, 5, 1, 3, tzinfo=UTC)
    found: Past = []
    for n in range(60):
        created = start + timedelta(days=chance.randrange(-5, 30)) if n % 2 else None
        moments = [start + timedelta(hours=6 * n) for n in sorted(chance.sample(range(120), chance.randrange(5)))]
        segment: str | None = "prospect" if created else None
        changes = []
        for moment in moments:
            following = chance.choice([s for s in SEGMENTS if s != segment])
            changes.append((moment, segment, following))
            segment = following
        found.append((created, changes))
        await worker.customer(tenant, f"c{n}", created_at=created, segment=segment or "prospect")
    rows = [
        {"customer_code": f"c{n}", "previous": previous, "segment": segment, "changed_at": moment, "cause": "sale"}
        for n, (_, changes) in enumerate(found)
        for moment, previous, segment in changes
    ]
    await worker.insert("segment_change", tenant, *sorted(rows, key=lambda row: str(row["changed_at"])))
    await worker.execute("insert into rfm.segment_path select * from rfm.segment_paths(:id, null)", id=tenant.id)
    return found


def stood(created: datetime | None, changes: list[tuple[datetime, str | None, str]], day: date) -> str | None:
    """The segment at the end of a day in Paris; None for who was no customer yet."""
    end = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
    later = [previous for moment, previous, _ in changes if moment >= end]
    segment = later[0] if later else (changes[-1][2] if changes else "prospect")
    return None if segment == "prospect" and created is not None and created >= end else segment
