"""How wrong the model was: fitted to the first part of the history, it forecasts the last part, unseen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.rfm_worker.lifetime.fitting import Check
from services.rfm_worker.lifetime.history import Floats, Histories
from services.rfm_worker.lifetime.model import SEED, Model

INTERVAL = 0.8
MOST_PLACED = 10_000
"""Customers whose true amounts are looked up among their possible futures; more would not move the levels."""


@dataclass(frozen=True, slots=True)
class Split:
    """Histories up to a day, and what these customers did in the days after it and in as many days before it.

    Attributes:
        histories: up to that day, of customers who had ordered by then.
        days: length of the part held out.
        orders, value: order days and net amount after that day.
        orders_before, value_before: the same of the days before it.
    """

    histories: Histories
    days: int
    orders: Floats
    value: Floats
    orders_before: Floats
    value_before: Floats


@dataclass(frozen=True, slots=True)
class Errors:
    """How far a forecast was off. Ratios to what really came; `rmse` per customer, in the forecast's own unit."""

    actual: float
    expected: float
    error: float
    bias: float
    rmse: float

    @classmethod
    def of(cls, expected: Floats, actual: Floats) -> "Errors":
        """Compares a forecast with what came, which must not be nothing."""
        total, off = float(np.sum(actual)), expected - actual
        return cls(
            total, float(np.sum(expected)), float(np.sum(np.abs(off))) / total, float(np.sum(off)) / total,
            float(np.sqrt(np.mean(off**2))),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Holdout:
    """The verdict of the part held out.

    Attributes:
        baseline: errors in value of the better naive forecast, named by `baseline_name`.
        levels: quantiles of the possible futures between which 80 % of the true amounts lay.
        coverage: share of true amounts between these levels, among customers who did not choose them.
    """

    days: int
    customers: int
    orders: Errors
    value: Errors
    baseline_name: str
    baseline: Errors
    levels: tuple[float, float]
    coverage: float


def judge(model: Model, split: Split, check: Check) -> Holdout:
    """Compares a model fitted to `split.histories` with what came after."""
    forecast = model.forecast(split.histories, split.days, check)
    naive = {name: Errors.of(value, split.value) for name, value in _naive(split).items()}
    best = min(naive, key=lambda name: naive[name].rmse)
    levels, coverage = _interval(model, split, check)
    return Holdout(
        split.days, len(split.histories), Errors.of(forecast.orders, split.orders),
        Errors.of(forecast.value, split.value), best, naive[best], levels, coverage,
    )  # fmt: skip


def _naive(split: Split) -> Mapping[str, Floats]:
    """What one would say without a model: everybody goes on at their own pace, or repeats the days before."""
    h = split.histories
    return {
        "own_pace": h.repeats / np.maximum(h.age, 1) * split.days * h.mean_spend,
        "same_as_before": split.value_before,
    }


def _interval(model: Model, split: Split, check: Check) -> tuple[tuple[float, float], float]:
    """Levels that one half of the customers choose, and how many of the other half lie between them.

    The model believes that habits do not change, so its own 10 and 90 % quantiles hold less than 80 % of what comes.
    """
    chance = np.random.default_rng(SEED)
    chosen = chance.permutation(len(split.histories))[:MOST_PLACED]
    places = _places(model, split, chosen, chance, check)
    half = len(places) // 2
    side = (1 - INTERVAL) / 2
    low, high = np.quantile(places[:half], (side, 1 - side))
    levels = min(float(low), side), max(float(high), 1 - side)
    rest = places[half:]
    return levels, float(np.mean((rest >= levels[0]) & (rest <= levels[1])))


def _places(model: Model, split: Split, chosen: NDArray[np.intp], chance: np.random.Generator, check: Check) -> Floats:
    """Where each true amount stands among its possible futures, 0 to 1; among equal ones at a random place."""
    histories, truth = split.histories.of(chosen), split.value[chosen, None]
    found = np.zeros(len(chosen))
    for place, amounts in model.draws(histories, split.days, check):
        below = np.mean(amounts < truth[place], axis=1)
        equal = np.mean(amounts == truth[place], axis=1)
        found[place] = below + equal * chance.random(len(below))
    return found
