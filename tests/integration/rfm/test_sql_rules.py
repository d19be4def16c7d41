"""Rules that the database applies as well say what the domain says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.domain.cutoffs import QUINTILES, TERCILES, quantiles, ranks
from services.rfm_worker.domain.decay import LANDMARK, weights
from services.rfm_worker.domain.scores import SEGMENT_OF_CODE
from shared.db.engine import transaction
from shared.events.fields import EARLIEST, LATEST
from shared.events.payloads import Segment

AMOUNTS = st.decimals(0, 10**12, places=4) | st.integers(0, 5).map(Decimal)
WITHOUT_FRESH_FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


async def test_the_125_codes_have_one_table(rfm_engine: AsyncEngine) -> None:
    async with transaction(rfm_engine) as connection:
        rows = (await connection.execute(text("select code, segment from rfm.segment_codes()"))).all()
    assert len(rows) == 125
    assert {str(row.code): row.segment for row in rows} == SEGMENT_OF_CODE


async def test_segments_are_numbered_as_they_are_named(rfm_engine: AsyncEngine) -> None:
    statement = text(
        "select array_agg(rfm.segment_number(s) order by n) from unnest(cast(:s as text[])) with ordinality as x(s, n)"
    )
    async with transaction(rfm_engine) as connection:
        numbers = await connection.scalar(statement, {"s": [*get_args(Segment), "stranger", None]})
    assert numbers == [*range(1, 13), 0, 0]


@settings(max_examples=100, deadline=None, suppress_health_check=WITHOUT_FRESH_FIXTURES)
@given(values=st.lists(AMOUNTS, max_size=40))
async def test_quantiles_are_exact(rfm_engine: AsyncEngine, values: list[Decimal]) -> None:
    ordered = sorted(values)
    statement = text(
        "select rfm.quantiles(cast(:v as numeric[]), 5) as fifths, rfm.quantiles(cast(:v as numeric[]), 3) as thirds"
    )
    async with transaction(rfm_engine) as connection:
        found = (await connection.execute(statement, {"v": ordered})).one()
    for parts, stored in ((QUINTILES, found.fifths), (TERCILES, found.thirds)):
        picked = [ordered[rank] for rank in ranks(len(ordered), parts)] if ordered else []
        assert stored == (quantiles(len(ordered), parts, picked) if ordered else [])


@settings(max_examples=100, deadline=None, suppress_health_check=WITHOUT_FRESH_FIXTURES)
@given(
    bounds=st.lists(st.integers(0, 9).map(Decimal), min_size=4, max_size=4).map(sorted),
    value=st.decimals(0, 10, places=1),
)
async def test_a_score_counts_the_bounds_below(rfm_engine: AsyncEngine, bounds: list[Decimal], value: Decimal) -> None:
    async with transaction(rfm_engine) as connection:
        passed = await connection.scalar(
            text("select rfm.passed(cast(:b as numeric[]), cast(:v as numeric))"), {"b": bounds, "v": value}
        )
    assert passed == sum(bound < value for bound in bounds)


MOMENTS = st.datetimes(EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None)).map(
    lambda at: at.replace(tzinfo=UTC)
)
# The half-lives' own moments, where a weight is a power of two, and the seconds and microseconds beside them.
NEAR_A_POWER = st.tuples(st.integers(-200, 160), st.integers(-2, 2), st.sampled_from([0, 1, 999_999])).map(
    lambda near: LANDMARK + timedelta(days=180 * near[0], seconds=near[1], microseconds=near[2])
)


@settings(max_examples=100, deadline=None, suppress_health_check=WITHOUT_FRESH_FIXTURES)
@given(moments=st.lists(MOMENTS | NEAR_A_POWER, min_size=1, max_size=40))
@example([LANDMARK + timedelta(days=180 * halvings) for halvings in range(-240, 162)])
async def test_what_was_spent_weighs_the_same(rfm_engine: AsyncEngine, moments: list[datetime]) -> None:
    statement = text("select m, rfm.spend_weight(m) as weight from unnest(cast(:m as timestamptz[])) as m")
    async with transaction(rfm_engine) as connection:
        rows = (await connection.execute(statement, {"m": moments})).all()
    assert {row.m: row.weight for row in rows} == {moment: weights(moment)[0] for moment in moments}
