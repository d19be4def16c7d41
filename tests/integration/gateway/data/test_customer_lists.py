"""Lists of customers: every order and filter against plain Python, refreshed or not, and while rows move."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.api_gateway.repository import customer_search
from tests.integration.gateway.data.conftest import Tenant, Worker, fields
from tests.integration.rfm.conftest import Rfm
from tests.support import rfm_items as make

KEYS: dict[str, Callable[[Any], Any]] = {
    "code": lambda c: c["customer_code"],
    "segment": lambda c: c["rfm"]["segment"],
    "rfm_code": lambda c: int(c["rfm"]["rfm_code"] or 0),
    "monetary": lambda c: Decimal(c["rfm"]["monetary"]),
    "frequency": lambda c: c["rfm"]["frequency"],
    "average_basket": lambda c: None if c["average_basket"] is None else Decimal(c["average_basket"]),
    "last_order_at": lambda c: c["rfm"]["last_order_at"],
    "next_order_expected_at": lambda c: c["next_order_expected_at"],
}


def in_order(customers: list[Any], sort: str) -> list[str]:
    """Codes in an order: those without a value first, ties by code; all turned round from the top."""
    key = KEYS[sort.removeprefix("-")]

    def place(one: Any) -> Any:
        value = key(one)
        return (value is not None, value if value is not None else 0, one["customer_code"])

    ordered = sorted(customers, key=place)
    return [one["customer_code"] for one in (reversed(ordered) if sort.startswith("-") else ordered)]


async def everybody(tenant: Tenant, **query: Any) -> list[Any]:
    answer = await tenant.get("/customers", params={"limit": 500, **query})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def walk(tenant: Tenant, limit: int, **query: Any) -> list[str]:
    seen: list[str] = []
    while True:
        page = (await tenant.get("/customers", params={"limit": limit, **query})).json()
        seen += [item["customer_code"] for item in page["items"]]
        if page["next_cursor"] is None:
            return seen
        query["cursor"] = page["next_cursor"]


async def shop(tenant: Tenant, worker: Worker, seed: int = 1) -> Rfm:
    """Customers with and without orders, of all kinds."""
    chance = random.Random(seed)
    rfm = Rfm(worker.engine, tenant.id)
    await rfm.apply(*(make.article(tenant.id, f"p{n}", 1, f"family {n % 3}") for n in range(5)))
    for n in range(30):
        name = chance.choice(["Ana", "Bo", "Åse"])
        await rfm.apply(
            make.person(tenant.id, f"c{n:02}", 1, first_name=name, last_name=f"Ruiz {n}", tags=[f"t{n % 3}"])
        )
    sales = [
        make.sale(
            tenant.id, f"s{n}", f"c{chance.randrange(40):02}", [(f"p{chance.randrange(7)}", "1", f"{n % 9}")],
            day=chance.randrange(30),
        )
        for n in range(90)
    ]  # fmt: skip
    await rfm.apply(*sales)
    await rfm.score()
    return rfm


@pytest.mark.parametrize("sort", [sign + name for name in KEYS for sign in ("", "-")])
async def test_every_order_is_walked_page_by_page(tenant: Tenant, worker: Worker, sort: str) -> None:
    await shop(tenant, worker)
    await worker.refresh(tenant)
    customers = await everybody(tenant)
    assert len(customers) > 35
    assert await walk(tenant, 4, sort=sort) == in_order(customers, sort)
    chosen = [c for c in customers if "t1" in c["tags"]]
    assert await walk(tenant, 3, sort=sort, tag="t1", q="ruiz") == in_order(chosen, sort)


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("pending", [0, 5000])
async def test_filters_are_exact_whatever_was_refreshed(
    tenant: Tenant, worker: Worker, monkeypatch: pytest.MonkeyPatch, few: int, pending: int
) -> None:
    monkeypatch.setattr(customer_search, "FEW", few)
    monkeypatch.setattr(customer_search, "MOST_PENDING", pending)
    rfm = await shop(tenant, worker)

    async def check() -> None:
        bought = await rfm.query(
            "select b.customer_code, coalesce(p.family, 'unknown') as family from rfm.customer_product b "
            "join rfm.product p using (tenant_id, product_key) where b.tenant_id = :tenant and b.amount > 0"
        )
        customers = await everybody(tenant)
        for family in ("family 0", "family 2", "unknown", "nowhere"):
            found = {c["customer_code"] for c in await everybody(tenant, family=family)}
            assert found == {row.customer_code for row in bought if row.family == family}
        for q in ("ana", "ÅSE", "z 1", "c1", "%", "_", "ruiz 2", "nobody"):
            names = {c["customer_code"]: f"{c['customer_code']} {c['first_name']} {c['last_name']}" for c in customers}
            found = {c["customer_code"] for c in await everybody(tenant, q=q)}
            assert found == {code for code, name in names.items() if q.lower() in name.lower()}, q
        for tag in ("t0", "t2", "none", "vip"):
            found = {c["customer_code"] for c in await everybody(tenant, tag=tag)}
            assert found == {c["customer_code"] for c in customers if tag in c["tags"]}
        for code in {c["rfm"]["rfm_code"] for c in customers} - {None}:
            found = {c["customer_code"] for c in await everybody(tenant, rfm_code=code)}
            assert found == {c["customer_code"] for c in customers if c["rfm"]["rfm_code"] == code}
        together = await everybody(tenant, family="family 1", tag="t1", q="ruiz", min_spend="3", sort="-monetary")
        buyers = {row.customer_code for row in bought if row.family == "family 1"}
        assert {c["customer_code"] for c in together} == {
            c["customer_code"] for c in customers
            if c["customer_code"] in buyers and "t1" in c["tags"] and Decimal(c["rfm"]["monetary"]) >= 3
        }  # fmt: skip

    await check()  # everybody is pending
    await worker.refresh(tenant)
    await check()
    await rfm.apply(
        make.person(tenant.id, "c05", 2, first_name="Zoë", last_name="ruiz 2", tags=["vip"]),
        make.sale(tenant.id, "new", "c06", [("p2", "1", "5")], day=31),
        make.cancelled(tenant.id, "s3"),
        make.article(tenant.id, "p1", 2, "family 2"),
    )
    await check()  # some are pending, and a family has moved
    await worker.refresh(tenant)
    await check()


async def test_a_walk_goes_on_while_values_change(tenant: Tenant, worker: Worker) -> None:
    """Whoever keeps his value is seen exactly once; whoever moves, at most once per value; the walk ends."""
    for n in range(40):
        await worker.customer(tenant, f"c{n:02}", monetary=Decimal(n // 2), frequency=1)
    still = {f"c{n:02}" for n in range(40) if n % 4}
    seen: list[str] = []
    values: dict[str, int] = {}
    query: dict[str, Any] = {"sort": "monetary", "limit": 5}
    chance = random.Random(4)
    for page in range(30):
        answer = (await tenant.get("/customers", params=query)).json()
        seen += [item["customer_code"] for item in answer["items"]]
        if answer["next_cursor"] is None:
            break
        query["cursor"] = answer["next_cursor"]
        for n in range(0, 40, 4):
            values[f"c{n:02}"] = values.get(f"c{n:02}", 1) + 1
            await worker.execute(
                "update rfm.customer set monetary = :m where tenant_id = :t and customer_code = :c",
                m=chance.randrange(20), t=tenant.id, c=f"c{n:02}",
            )  # fmt: skip
        await worker.customer(tenant, f"new{page}", monetary=Decimal(page), frequency=1)
    else:
        pytest.fail("the walk did not end")
    assert [code for code in seen if code in still] == sorted(still)
    for code, changes in values.items():
        assert seen.count(code) <= changes


async def test_erasing_between_pages_breaks_no_walk(tenant: Tenant, worker: Worker) -> None:
    for n in range(9):
        await worker.customer(tenant, f"c{n}", monetary=Decimal(5), frequency=1)
    page = (await tenant.get("/customers?sort=-monetary&limit=3")).json()
    last = page["items"][-1]["customer_code"]
    await worker.execute("delete from rfm.customer where tenant_id = :t and customer_code = :c", t=tenant.id, c=last)
    rest = await walk(tenant, 3, sort="-monetary", cursor=page["next_cursor"])
    assert rest == [f"c{n}" for n in range(5, -1, -1)]


async def test_new_customers_are_found_at_once(tenant: Tenant, worker: Worker) -> None:
    await worker.customer(tenant, "C-77", first_name="Ana")
    await worker.refresh(tenant)
    await worker.customer(tenant, "C-78", first_name="Ana")
    assert {c["customer_code"] for c in await everybody(tenant, q="ana")} == {"C-77", "C-78"}
    assert [c["customer_code"] for c in await everybody(tenant, sort="next_order_expected_at")] == ["C-77"]


async def test_searching_shows_no_other_tenants_customers(tenant: Tenant, other: Tenant, worker: Worker) -> None:
    moment = datetime(2026, 1, 5, tzinfo=UTC)
    for refreshed in (False, True):
        if refreshed:
            await worker.refresh(other)
        else:
            await worker.customer(
                other, "C", first_name="Ana", tags=["club"], monetary=Decimal(5), frequency=2, last_order_at=moment,
                last_order_day=date(2026, 1, 5),
            )  # fmt: skip
        for query in ({"q": "ana"}, {"tag": "club"}, {"family": "unknown"}, {"q": "c"}, *({"sort": s} for s in KEYS)):
            assert await everybody(tenant, **query) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("rfm_code=600", "rfm_code"),
        ("rfm_code=55", "rfm_code"),
        ("rfm_code=5555", "rfm_code"),
        ("rfm_code=", "rfm_code"),
        ("sort=name", "sort"),
        ("sort=--code", "sort"),
    ],
)
async def test_bad_choices_are_named(tenant: Tenant, query: str, field: str) -> None:
    refused = await tenant.get(f"/customers?{query}")
    assert (refused.status_code, fields(refused)) == (422, {field})


@pytest.mark.parametrize("sort", ["next_order_expected_at", "-average_basket", "rfm_code", "segment"])
async def test_a_cursor_fits_its_order_alone(tenant: Tenant, worker: Worker, sort: str) -> None:
    for n in range(3):
        await worker.customer(tenant, f"c{n}")
    await worker.refresh(tenant)
    cursor = (await tenant.get(f"/customers?limit=1&sort={sort}")).json()["next_cursor"]
    assert (await tenant.get("/customers", params={"sort": sort, "cursor": cursor})).status_code == 200
    for other in ("code", "monetary", "-last_order_at"):
        refused = await tenant.get("/customers", params={"sort": other, "cursor": cursor})
        assert (refused.status_code, fields(refused)) == (400, {"cursor"})
