"""The whole path: what a shop sends over HTTP comes back as exactly the numbers that the definitions give."""

import itertools
import json
import random
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from shared.events.catalogue import CUSTOMER_SEGMENTS
from tests.e2e import groceries
from tests.e2e.groceries import REFERENCE, ZONE, Groceries
from tests.e2e.installation import TOKEN, Installation, Tenant, expect, joined_tokens
from tests.e2e.recomputation import SEGMENT_OF, Order, Recomputation

SEGMENTS = [*dict.fromkeys(SEGMENT_OF.values()), "prospect"]


@dataclass
class Shop:
    """A tenant with real baskets, and what was sent to it so far."""

    installation: Installation
    tenant: Tenant
    key: dict[str, str]
    data: Groceries
    orders: dict[str, Order]
    tokens: list[str] = field(default_factory=list)

    async def get(self, path: str, **params: Any) -> Any:
        """A read that waits for every write of this shop."""
        headers = {**self.key, TOKEN: joined_tokens(*self.tokens), "Prefer": "wait=30"}
        return expect(await self.installation.http.get(path, params=params, headers=headers), 200)

    async def post(self, path: str, body: Any, status: int = 202) -> Any:
        """A write whose token later reads carry."""
        response = await self.installation.http.post(path, json=body, headers=self.key)
        answer = expect(response, status)
        self.tokens.append(response.headers[TOKEN])
        return answer

    def recomputed(self) -> Recomputation:
        """The numbers that must come out now."""
        return Recomputation(self.orders.values(), self.data.families, zone=ZONE, reference_date=REFERENCE)


@pytest.fixture(scope="module")
async def shop(installation: Installation) -> AsyncIterator[Shop]:
    """A registered tenant that has sent its catalogue, its customers and, in any order, all its sales."""
    settings = {"timezone": ZONE, "reference_date": REFERENCE.isoformat()}
    tenant = await installation.register("Groceries", settings=settings)
    data = groceries.load()
    key = await installation.api_key(tenant, "sales:write", "customers:write", "products:write", "read")
    shop = Shop(installation, tenant, key, data, {sale["sale_id"]: Order(sale) for sale in data.sales})
    result = await shop.post("/v1/products/bulk", {"products": data.products}, 200)
    assert result["accepted"] == len(data.products)
    await shop.post("/v1/customers/bulk", {"customers": data.customers}, 200)
    sales = random.Random(7).sample(data.sales, len(data.sales))
    half = len(sales) // 2
    assert await shop.post("/v1/sales/batch", {"sales": sales[:half]}) == {"accepted": half, "rejected": []}
    lines = "\n".join(json.dumps(sale) for sale in sales[half:])
    response = await installation.http.post(
        "/v1/sales/batch", content=lines, headers={**key, "Content-Type": "application/x-ndjson"}
    )
    assert expect(response, 202)["accepted"] == len(sales) - half
    shop.tokens.append(response.headers[TOKEN])
    await shop.get("/v1/rfm/cutoffs")
    return shop


async def _check(shop: Shop, codes: Sequence[str]) -> None:
    """Every number of these customers and of the tenant."""
    wanted = shop.recomputed()
    await _check_tenant(shop, wanted)
    for code in codes:
        customer = await shop.get(f"/v1/customers/{code}")
        rfm = {name: customer["rfm"][name] for name in wanted.rfm(code)}
        assert {**rfm, "monetary": Decimal(rfm["monetary"])} == wanted.rfm(code), code
        assert customer["rfm"]["reference_date"] == REFERENCE.isoformat()
        if code in wanted.values:
            _check_profile(customer["profile"], wanted.profile(code), code)


def _check_profile(profile: Mapping[str, Any], wanted: Mapping[str, Any], code: str) -> None:
    budget = profile["budget"]
    assert Decimal(profile["average_basket"]) == wanted["average_basket"], code
    assert budget["band"] == wanted["band"], code
    found = [Decimal(budget[name]) for name in ("low", "typical", "high")]
    assert found == pytest.approx(
        [Decimal(q.numerator) / q.denominator for q in wanted["prices"]], abs=Decimal("0.0001")
    ), code
    assert [each["family"] for each in profile["preferred_families"]] == [
        name for name, _ in wanted["preferred_families"]
    ]
    shares = [each["share"] for each in profile["preferred_families"]]
    assert shares == pytest.approx([share for _, share in wanted["preferred_families"]], abs=0.0001), code
    assert profile["usual_interval_days"] == wanted["usual_interval_days"], code
    assert profile["next_order_expected_at"] == wanted["next_order_expected_at"], code


async def _check_tenant(shop: Shop, wanted: Recomputation) -> None:
    cutoffs = await shop.get("/v1/rfm/cutoffs")
    assert cutoffs["method"] == "quintile"
    assert cutoffs["reference_date"] == REFERENCE.isoformat()
    for axis in ("recency_days", "frequency", "monetary"):
        bounds = [float(bound) for bound in getattr(wanted.bounds, axis)]
        assert [float(bound) for bound in cutoffs[axis]] == pytest.approx(bounds, rel=1e-9), axis
    shares = await shop.get("/v1/rfm/distribution")
    everybody = {each["customer_code"] for each in shop.data.customers} | set(wanted.orders)
    assert shares["customers"] == len(everybody)
    assert [each["segment"] for each in shares["segments"]] == SEGMENTS
    for each in shares["segments"]:
        members = [code for code in everybody if wanted.rfm(code)["segment"] == each["segment"]]
        revenue = sum((wanted.values[code].monetary for code in members if code in wanted.values), Decimal(0))
        assert (each["customers"], Decimal(each["revenue"])) == (len(members), revenue), each["segment"]
        assert each["share"] == pytest.approx(len(members) / len(everybody), abs=0.0001)


async def test_every_number_is_the_one_that_plain_python_finds(shop: Shop) -> None:
    codes = [customer["customer_code"] for customer in shop.data.customers]
    assert len(shop.data.sales) >= 200
    assert len({shop.recomputed().rfm(code)["segment"] for code in codes}) >= 4, "too uniform to prove anything"
    await _check(shop, codes)


async def test_recency_frequency_and_monetary_are_those_that_polars_finds(shop: Shop) -> None:
    local = pl.col("transaction_timestamp").dt.replace_time_zone("UTC").dt.convert_time_zone(ZONE).dt.date()
    values = (
        shop.data.table.group_by("household_id")
        .agg(
            (pl.lit(REFERENCE) - local.max()).dt.total_days().alias("recency_days"),
            pl.col("basket_id").n_unique().alias("frequency"),
            pl.col("sales_value").sum().round(2).alias("monetary"),
        )
        .sort("household_id")
    )
    cutoffs = await shop.get("/v1/rfm/cutoffs")
    for axis in ("recency_days", "frequency", "monetary"):
        bounds = [values[axis].quantile(k / 5, "linear") for k in range(1, 5)]
        assert [float(bound) for bound in cutoffs[axis]] == pytest.approx(bounds, abs=1e-6), axis
    for row in values.head(10).iter_rows(named=True):
        rfm = (await shop.get(f"/v1/customers/{row['household_id']}"))["rfm"]
        assert (rfm["recency_days"], rfm["frequency"]) == (row["recency_days"], row["frequency"])
        assert float(rfm["monetary"]) == pytest.approx(row["monetary"], abs=1e-6)


async def test_sending_everything_again_changes_nothing(shop: Shop) -> None:
    code = shop.data.customers[0]["customer_code"]
    before = await shop.get(f"/v1/customers/{code}")
    await shop.post("/v1/sales/batch", {"sales": shop.data.sales[:150]})
    after = await shop.get(f"/v1/customers/{code}")
    assert _without_moments(after) == _without_moments(before)
    await _check_tenant(shop, shop.recomputed())


def _without_moments(customer: dict[str, Any]) -> dict[str, Any]:
    return {**customer, "rfm": {**customer["rfm"], "cutoffs_at": None}}


def _some_orders(shop: Shop, count: int) -> list[Order]:
    """Orders of different customers, each with several lines and not the customer's only one."""
    chosen: dict[str, Order] = {}
    for order in shop.orders.values():
        code = order.sale["customer_code"]
        if len(order.sale["lines"]) >= 3 and code not in chosen and not order.returns and not order.cancelled:
            chosen[code] = order
    return list(chosen.values())[:count]


async def _send_back(shop: Shop, order: Order, lines: list[dict[str, Any]]) -> None:
    body = {"return_id": f"R-{secrets.token_hex(6)}", "returned_at": "2017-03-10T10:00:00Z", "lines": lines}
    await shop.post(f"/v1/sales/{order.sale['sale_id']}/returns", body)
    order.returns.append(body)


def _all_lines(order: Order) -> list[dict[str, Any]]:
    names = ("product_key", "quantity", "amount")
    return [{name: line[name] for name in names} for line in order.sale["lines"]]


async def test_returns_and_cancellations_change_the_numbers_exactly(shop: Shop) -> None:
    partly, wholly, void = _some_orders(shop, 3)
    codes = [order.sale["customer_code"] for order in (partly, wholly, void)]
    before = {code: (await shop.get(f"/v1/customers/{code}"))["rfm"] for code in codes}
    lost = [max(_all_lines(partly), key=lambda line: Decimal(line["amount"]))]
    due = [Decimal(lost[0]["amount"]), wholly.net, void.net]
    await _send_back(shop, partly, lost)
    await _send_back(shop, wholly, _all_lines(wholly))
    await shop.post(f"/v1/sales/{void.sale['sale_id']}/cancellation", {"cancelled_at": "2017-03-10T10:00:00Z"})
    void.cancelled = True
    for code, amount, orders in zip(codes, due, (0, 1, 1), strict=True):
        rfm = (await shop.get(f"/v1/customers/{code}"))["rfm"]
        assert Decimal(before[code]["monetary"]) - Decimal(rfm["monetary"]) == amount > 0
        assert before[code]["frequency"] - rfm["frequency"] == orders
    await _check(shop, codes)
    ledger = await shop.get(f"/v1/sales/{partly.sale['sale_id']}")
    assert Decimal(ledger["gross"]) - Decimal(ledger["net"]) == due[0]
    assert len(ledger["returns"]) == 1
    assert (await shop.get(f"/v1/sales/{void.sale['sale_id']}"))["cancellation"]["cancelled_at"]


async def test_returns_and_cancellations_may_come_before_their_sale(shop: Shop) -> None:
    line = {
        "product_key": shop.data.products[0]["product_key"],
        "quantity": "3",
        "unit_price": "7.5",
        "amount": "22.50",
    }
    early = [
        Order(
            {
                "sale_id": f"early-{n}",
                "customer_code": "late-comer",
                "sold_at": f"2017-02-0{n}T20:00:00-05:00",
                "lines": [line],
            }
        )
        for n in (1, 2)
    ]
    await _send_back(shop, early[0], [{"product_key": line["product_key"], "quantity": "1", "amount": "7.50"}])
    await shop.post("/v1/sales/early-2/cancellation", {"cancelled_at": "2017-02-03T10:00:00Z"})
    early[1].cancelled = True
    for order in reversed(early):
        await shop.post("/v1/sales", order.sale)
        shop.orders[order.sale["sale_id"]] = order
    rfm = (await shop.get("/v1/customers/late-comer"))["rfm"]
    assert (rfm["frequency"], rfm["monetary"]) == (1, "15.00")
    await _check(shop, ["late-comer"])


async def test_a_products_history_moves_with_its_family(shop: Shop) -> None:
    order = _some_orders(shop, 1)[0]
    code = order.sale["customer_code"]
    dearest = max(shop.recomputed().orders[code], key=lambda order: order.net)
    for product in dearest.spent_on():
        change = {"product_key": product, "family": "Family of its own"}
        response = await shop.installation.http.put(
            f"/v1/products/{product}", json={"family": change["family"]}, headers=shop.key
        )
        expect(response, 200)
        shop.tokens.append(response.headers[TOKEN])
        shop.data.products[:] = [each for each in shop.data.products if each["product_key"] != product] + [change]
    await _check(shop, [code])
    families = (await shop.get(f"/v1/customers/{code}"))["profile"]["preferred_families"]
    assert "Family of its own" in [each["family"] for each in families]


async def test_every_change_of_segment_is_kept_and_published(shop: Shop) -> None:
    published: dict[str, list[dict[str, Any]]] = {}
    code = shop.data.customers[3]["customer_code"]
    history = (await shop.get(f"/v1/customers/{code}/history", limit=500))["items"]
    for _, key, value in await shop.installation.records(CUSTOMER_SEGMENTS):
        if key.startswith(shop.tenant.tenant_id) and value is not None:
            published.setdefault(key.partition(":")[2], []).append(json.loads(value))
    assert [event["segment"] for event in published[code]] == [change["segment"] for change in reversed(history)]
    assert history[0]["segment"] == (await shop.get(f"/v1/customers/{code}"))["rfm"]["segment"]
    assert history[-1]["previous"] in (None, "prospect"), "prospect where the master data came before the first sale"
    for newer, older in itertools.pairwise(history):
        assert newer["previous"] == older["segment"]


async def test_pages_hold_everything_once_and_in_order(shop: Shop) -> None:
    for path, name, everything in (
        ("/v1/sales", "sale_id", set(shop.orders)),
        ("/v1/products", "product_key", {each["product_key"] for each in shop.data.products}),
        ("/v1/customers", "customer_code", {each["customer_code"] for each in shop.data.customers} | {"late-comer"}),
    ):
        items = [item async for item in _walk(shop, path, limit=37)]
        names = [item[name] for item in items]
        assert len(names) == len(set(names)), path
        assert set(names) >= everything - {"late-comer", "early-1", "early-2"}, path
        assert set(names) <= everything, path
        order = [item["sold_at"] for item in items] if path == "/v1/sales" else names
        assert order == sorted(order, reverse=path == "/v1/sales"), path
    spenders = [
        Decimal(item["rfm"]["monetary"]) async for item in _walk(shop, "/v1/customers", limit=7, sort="-monetary")
    ]
    assert spenders == sorted(spenders, reverse=True)
    assert len(spenders) >= 40


async def _walk(shop: Shop, path: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
    cursor: dict[str, str] = {}
    while True:
        page = await shop.get(path, **params, **cursor)
        assert len(page["items"]) <= params["limit"]
        for item in page["items"]:
            yield item
        if page["next_cursor"] is None:
            return
        assert page["items"]
        cursor = {"cursor": page["next_cursor"]}


async def test_customers_are_found_by_name_segment_and_spend(shop: Shop) -> None:
    one = shop.data.customers[5]
    found = (await shop.get("/v1/customers", q=one["last_name"].lower()))["items"]
    assert one["customer_code"] in [each["customer_code"] for each in found]
    wanted = shop.recomputed()
    segment = wanted.rfm(one["customer_code"])["segment"]
    members = {each["customer_code"] async for each in _walk(shop, "/v1/customers", limit=500, segment=segment)}
    assert members == {code for code in wanted.values if wanted.rfm(code)["segment"] == segment}
    rich = {each["customer_code"] async for each in _walk(shop, "/v1/customers", limit=500, min_spend="100")}
    assert rich == {code for code, values in wanted.values.items() if values.monetary >= 100}
