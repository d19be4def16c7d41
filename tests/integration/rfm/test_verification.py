"""Verification finds what is wrong, whatever it is: each row here is spoilt by hand and must be named."""

from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.verification import verify, verify_sample
from shared.db.engine import transaction
from shared.observability import metrics
from tests.integration.rfm.conftest import SECRET, Rfm
from tests.support import rfm_items as make

FAMILIES = "preferred_families(p_tenant uuid, p_codes text[]) returns table (customer_code text, best jsonb)"
NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
SPOILT = [
    ("update sale set net = net + 0.0001 where sale_id = 's3'", "s3: net is 10.0001, should be 10.0000", "both"),
    ("update sale set gross = 1 where sale_id = 's3'", "s3: gross is 1.0000", "both"),
    ("update sale set day = day + 1 where sale_id = 's3'", "s3: day is 2026-01-09, should be 2026-01-08", "both"),
    ("update sale set returned = false where sale_id = 's1'", "s1: returned is 0, should be 1", "both"),
    ("update sale set cancelled = true where sale_id = 's3'", "s3: cancelled is 1, should be 0", "both"),
    ("delete from sale_return", "s1: returned is 1, should be 0", "both"),
    ("delete from sale_cancellation", "s2: cancelled is 1, should be 0", "both"),
    ("update customer set monetary = monetary + 1 where customer_code = 'c3'", "c3: monetary is", "both"),
    ("update customer set frequency = 5 where customer_code = 'c3'", "c3: frequency is 5, should be 1", "both"),
    ("update customer set first_order_at = now() where customer_code = 'c3'", "c3: first_order_at is", "both"),
    ("update customer set last_order_at = now() where customer_code = 'c3'", "c3: last_order_at is", "both"),
    ("update customer set last_order_day = '2026-01-01' where customer_code = 'c3'", "last_order_day is", "both"),
    ("update customer set r = 1 where customer_code = 'c6'", "c6: r is 1, should be 5", "both"),
    ("update customer set m = 3 where customer_code = 'c6'", "c6: m is 3, should be 5", "both"),
    ("update customer set segment = 'lost' where customer_code = 'c6'", "c6: segment is lost, should be", "both"),
    ("delete from customer where customer_code = 'c6'", "c6: missing", "all"),
    ("insert into customer (tenant_id, customer_code, code_hash) select tenant_id, 'ghost', '' from tenant",
     "ghost: should not exist", "both"),
    ("delete from segment_change where customer_code = 'c6'", "c6: the last change of segment says None", "both"),
    ("update segment_change set customer_code = 'ghost' where customer_code = 'c6'", "ghost: the last change", "all"),
    ("update customer_product set spend_weight = spend_weight * 1.00000001 where customer_code = 'c4'",
     "c4/p4: weight is", "both"),
    ("update customer_product set units = units + 0.001 where customer_code = 'c4'", "c4/p4: units is", "both"),
    ("delete from customer_product where customer_code = 'c4'", "c4/p4: missing", "both"),
    ("update product set revenue = 0 where product_key = 'p4'", "p4: amount is 0.0000, should be 7.5000", "all"),
    ("update product set units_weight = units_weight + 1 where product_key = 'p4'", "p4: weight is", "all"),
    ("update product set family = 'odd' where product_key = 'p4'", "", "none"),
    ("update day set orders = 7 where day = '2026-01-08'", "2026-01-08: orders is 7, should be 3", "all"),
    ("delete from day where day = '2026-01-08'", "2026-01-08: missing", "all"),
    ("update cutoffs set monetary[1] = monetary[1] + 0.0001", "monetary are [", "all"),
    ("update cutoffs set average_basket[1] = average_basket[1] + 0.01", "terciles are [", "all"),
    ("update cutoffs set customers = customers + 1", "customers is 7, should be 6", "all"),
    ("delete from cutoffs", "cut-offs of tenant", "both"),
    ("insert into day select '00000000-0000-0000-0000-000000000007', day, orders, units, revenue from day limit 1",
     "day: rows of the unknown tenant 00000000-0000-0000-0000-000000000007", "all"),
    ("insert into score_request (tenant_id) select tenant_id from tenant", "the scorer is behind", "both"),
]  # fmt: skip


async def shop(rfm: Rfm) -> None:
    """Seven customers, one who lost their only order, one erased; a return, a cancellation, an anonymous sale."""
    t, rfm.clock.at = rfm.tenant_id, NOON
    await rfm.apply(
        *(make.article(t, f"p{n}", 1, f"family {n}") for n in range(8)),
        *(make.sale(t, f"s{n}", f"c{n}", [(f"p{n}", "1.5", str(n + 1)), ("p", "1", "4")], day=n) for n in range(7)),
        make.sale(t, "till", None, [("p", "1", "3")], day=3),
        make.sale(t, "gone", "ada", [("p", "1", "3")], day=3),
        make.returned(t, "r1", "s1", [("p1", "0.5", "0.25")]),
        make.cancelled(t, "s2"),
        make.person(t, "named", 1),
        make.erased(SECRET, t, "ada", day=4),
    )
    await rfm.score()


@pytest.fixture
async def sold(rfm: Rfm) -> Rfm:
    """The shop, which verifies."""
    await shop(rfm)
    report = await verify(rfm.engine, now=rfm.clock)
    assert report, report.lines()
    assert report.compared["customer"] == 8
    return rfm


@pytest.mark.parametrize(("spoil", "sentence", "found_by"), SPOILT)
async def test_whatever_is_spoilt_is_found(sold: Rfm, spoil: str, sentence: str, found_by: str) -> None:
    async with transaction(sold.engine) as connection:
        await connection.exec_driver_sql(spoil)
    whole = await verify(sold.engine, now=sold.clock, wait_s=0)
    sample = await verify_sample(sold.engine, 100, now=sold.clock, wait_s=0)
    assert any(sentence in line for line in whole.differences) is (found_by != "none"), whole.lines()
    assert bool(whole) is (found_by == "none")
    assert found_by != "none" or sample, sample.lines()
    if found_by == "both":
        assert any(sentence in line for line in sample.differences), sample.lines()


@pytest.mark.parametrize(
    ("function", "body", "sentence"),
    [
        ("average_basket(monetary numeric, frequency integer) returns numeric", "select 1.00005", "average_basket is"),
        ("price_quartiles(p_tenant uuid, p_code text) returns numeric[]", "select array[1, 1, 1.5]", "budget_high is"),
        ("usual_interval(p_tenant uuid, p_code text, p_zone text) returns numeric", "select 2.5", "interval_days is"),
        (FAMILIES, "select code, '[]'::jsonb from unnest(p_codes) as code", "families are []"),
        (FAMILIES, "select 'c4', '[]'::jsonb where false", "families are []"),
        (
            FAMILIES,
            """select code, '[{"family": "family 4", "share": 1.0}]'::jsonb from unnest(p_codes) as code""",
            "families are",
        ),
    ],
)
async def test_a_profile_function_that_errs_is_found(
    sold: Rfm, admin_engine: AsyncEngine, function: str, body: str, sentence: str
) -> None:
    async with admin_engine.begin() as connection:
        await connection.exec_driver_sql(f"create or replace function rfm.{function} language sql as $${body}$$")
    for report in (
        await verify(sold.engine, now=sold.clock, wait_s=0),
        await verify_sample(sold.engine, 100, now=sold.clock, wait_s=0),
    ):
        assert any(line.startswith("profile ") and sentence in line for line in report.differences), report.lines()


async def test_of_many_differences_the_first_are_listed_and_all_are_counted(sold: Rfm) -> None:
    t = sold.tenant_id
    await sold.apply(*(make.sale(t, f"many{n}", f"m{n:03}", [("q", "1", "4")]) for n in range(50)))
    await sold.score()
    async with transaction(sold.engine) as connection:
        await connection.exec_driver_sql("update customer_product set amount = amount + 1 where product_key = 'q'")
    report = await verify(sold.engine, now=sold.clock)
    assert report.found == 50
    assert len(report.differences) == 20
    assert report.lines()[20:] == [
        "... and 30 more",
        f"50 differences in {', '.join(f'{rows} {table}' for table, rows in sorted(report.compared.items()))}",
    ]


async def test_a_sample_takes_so_many_customers_of_each_tenant(sold: Rfm) -> None:
    other = Rfm(sold.engine, clock=sold.clock)
    await shop(other)
    report = await verify_sample(sold.engine, 3, now=sold.clock)
    assert report, report.lines()
    assert report.tenants == 2
    assert report.compared["customer"] == report.compared["profile"] == 6
    assert "day" not in report.compared


async def test_the_outcome_is_measured(sold: Rfm) -> None:
    def counted(outcome: str) -> float:
        return metrics.VERIFICATIONS.labels("sample", outcome)._value.get()

    before = counted("equal"), counted("different")
    await verify_sample(sold.engine, 5, now=sold.clock)
    assert metrics.VERIFICATION_DIFFERENCES.labels("sample")._value.get() == 0
    async with transaction(sold.engine) as connection:
        await connection.exec_driver_sql("update customer set monetary = monetary + 1")
    report = await verify_sample(sold.engine, 100, now=sold.clock)
    assert (counted("equal"), counted("different")) == (before[0] + 1, before[1] + 1)
    assert metrics.VERIFICATION_DIFFERENCES.labels("sample")._value.get() == report.found > 0
