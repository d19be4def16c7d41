"""Quantiles, exactly."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.rfm_worker.domain.cutoffs import QUINTILES, TERCILES, fixed_bounds, quantiles, ranks

AMOUNTS = st.lists(st.decimals(0, 10**6, places=4, allow_nan=False), min_size=1, max_size=60)


def found(values: list[Decimal], parts: int) -> list[Decimal]:
    ordered = sorted(values)
    return quantiles(len(ordered), parts, [ordered[rank] for rank in ranks(len(ordered), parts)])


@given(AMOUNTS)
def test_quintiles_are_those_of_numpy(values: list[Decimal]) -> None:
    expected = np.quantile([float(value) for value in values], [0.2, 0.4, 0.6, 0.8])
    assert [float(bound) for bound in found(values, QUINTILES)] == pytest.approx(expected.tolist(), rel=1e-9)


@given(AMOUNTS)
def test_quintiles_are_exact(values: list[Decimal]) -> None:
    ordered = sorted(map(Fraction, values))
    for k, bound in enumerate(found(values, QUINTILES), 1):
        low, part = divmod(Fraction((len(ordered) - 1) * k, 5), 1)
        high = min(int(low) + 1, len(ordered) - 1)
        assert Fraction(bound) == ordered[int(low)] + (ordered[high] - ordered[int(low)]) * part


@given(AMOUNTS)
def test_a_rounded_tercile_compares_like_the_exact_third(values: list[Decimal]) -> None:
    ordered = sorted(map(Fraction, values))
    for k, bound in enumerate(found(values, TERCILES), 1):
        low, part = divmod(Fraction((len(ordered) - 1) * k, 3), 1)
        high = min(int(low) + 1, len(ordered) - 1)
        exact = ordered[int(low)] + (ordered[high] - ordered[int(low)]) * part
        assert [Fraction(bound) < value for value in ordered] == [exact < value for value in ordered]


def test_a_single_customer_is_every_quantile() -> None:
    assert found([Decimal("12.5")], QUINTILES) == [Decimal("12.5")] * 4


def test_fixed_bounds_are_decimals() -> None:
    bounds = {"recency_days": [1, 2, 3, 4], "frequency": [1, 2, 3, 4], "monetary": ["0.10", "1", "2", "3"]}
    assert fixed_bounds(bounds)["monetary"] == [Decimal("0.10"), Decimal(1), Decimal(2), Decimal(3)]
