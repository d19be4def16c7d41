"""Scores and segments."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import product

import pytest

from services.rfm_worker.domain.cutoffs import Cutoffs
from services.rfm_worker.domain.scores import NO_ORDERS, SEGMENT_OF_CODE, standing

TODAY = date(2026, 3, 1)
FOUR = [Decimal(10), Decimal(20), Decimal(30), Decimal(40)]
CUTOFFS = Cutoffs("quintile", TODAY, 5, FOUR, FOUR, FOUR)
SIZES = {
    "champions": 7, "loyal": 8, "potential_loyalist": 24, "new": 7, "promising": 16, "need_attention": 8,
    "about_to_sleep": 8, "at_risk": 22, "cannot_lose": 8, "hibernating": 11, "lost": 6,
}  # fmt: skip


def test_each_of_the_125_codes_has_one_segment() -> None:
    assert set(SEGMENT_OF_CODE) == {"".join(code) for code in product("12345", repeat=3)}
    segments = list(SEGMENT_OF_CODE.values())
    assert {segment: segments.count(segment) for segment in SIZES} == SIZES


@pytest.mark.parametrize(
    ("code", "segment"),
    [
        ("555", "champions"), ("335", "loyal"), ("323", "potential_loyalist"), ("311", "new"), ("525", "promising"),
        ("324", "need_attention"), ("251", "about_to_sleep"), ("124", "at_risk"), ("113", "cannot_lose"),
        ("332", "hibernating"), ("111", "lost"), ("151", "lost"),
    ],
)  # fmt: skip
def test_codes_belong_to_the_segments_of_the_definition(code: str, segment: str) -> None:
    assert SEGMENT_OF_CODE[code] == segment


@pytest.mark.parametrize(("value", "score"), [(9, 1), (10, 1), (11, 2), (20, 2), (31, 4), (40, 4), (41, 5)])
def test_a_value_equal_to_its_cutoff_is_not_above_it(value: int, score: int) -> None:
    found = standing(value, Decimal(value), TODAY - timedelta(days=value), CUTOFFS)
    assert found is not None
    assert (found.r, found.f, found.m) == (6 - score, score, score)
    assert found.code == f"{6 - score}{score}{score}"


def test_an_order_after_the_reference_date_is_as_recent_as_can_be() -> None:
    found = standing(1, Decimal(1), TODAY + timedelta(days=3), CUTOFFS)
    assert found is not None
    assert found.r == 5


def test_without_an_order_a_customer_is_a_prospect() -> None:
    assert standing(0, Decimal(0), None, None) == NO_ORDERS
    assert NO_ORDERS.code is None


def test_nobody_with_orders_is_scored_before_there_are_cutoffs() -> None:
    assert standing(1, Decimal(1), TODAY, None) is None
    assert standing(1, Decimal(1), TODAY, Cutoffs("quintile", TODAY, 0)) is None
