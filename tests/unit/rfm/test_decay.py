"""Weights of orders by age."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rfm_worker.domain.decay import LANDMARK, weights


def test_the_landmark_weighs_one_and_half_lives_are_exact() -> None:
    assert weights(LANDMARK) == (1, 1)
    assert weights(LANDMARK + timedelta(days=180)) == (2, 4)
    assert weights(LANDMARK - timedelta(days=360)) == (Decimal("0.25"), Decimal("0.0625"))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)))
def test_weights_agree_with_binary_fractions(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    days = ((moment - LANDMARK) // timedelta(seconds=1)) / 86_400
    spend, units = weights(moment)
    assert float(spend) == pytest.approx(2.0 ** (days / 180), rel=1e-12)
    assert float(units) == pytest.approx(2.0 ** (days / 90), rel=1e-12)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2099, 12, 31)))
def test_weights_have_at_most_15_digits_and_ignore_fractions_of_a_second(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    for weight in weights(moment):
        assert len(weight.as_tuple().digits) <= 15
    assert weights(moment) == weights(moment.replace(microsecond=0))


@given(st.lists(st.tuples(st.integers(0, 3000), st.decimals(0, 1000, places=2)), min_size=1, max_size=20))
def test_taking_away_leaves_no_dust(orders: list[tuple[int, Decimal]]) -> None:
    import decimal

    with decimal.localcontext(prec=200):
        terms = [weights(LANDMARK + timedelta(days=day))[0] * amount for day, amount in orders]
        total = sum(terms, Decimal(0))
        for term in reversed(terms):
            total -= term
    assert total == 0
