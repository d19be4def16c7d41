"""From a tenant's histories to values, or to the reason why there are none: a wrong number is worse than no number."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.rfm_worker.lifetime.fitting import Check, NoConvergenceError
from services.rfm_worker.lifetime.gammagamma import dependence
from services.rfm_worker.lifetime.history import Floats, Histories
from services.rfm_worker.lifetime.holdout import INTERVAL, Holdout, Split, judge
from services.rfm_worker.lifetime.model import Forecast, Model
from services.rfm_worker.lifetime.rules import Rules

MOST_DEPENDENCE = 0.4
"""Rank correlation of frequency and amount above which Gamma-Gamma does not apply."""
MOST_BIAS = 0.25
"""Share by which the forecast of all amounts together may miss."""
NO_WORSE = 1.05
"""Ratio to the naive forecast's error up to which the model counts as no worse: where habits are steady both tell the
same, and chance decides which is ahead by a percent."""
LEAST_COVERAGE = INTERVAL - 0.15


class Reason(StrEnum):
    """Why there are no values."""

    TOO_LITTLE_HISTORY = "too_little_history"
    TOO_FEW_REPEAT_BUYERS = "too_few_repeat_buyers"
    TOO_FEW_ORDERS_LATELY = "too_few_orders_lately"
    NO_CONVERGENCE = "no_convergence"
    VALUE_DEPENDS_ON_FREQUENCY = "value_depends_on_frequency"
    WORSE_THAN_NAIVE = "worse_than_naive"
    BIASED = "biased"
    INTERVAL_MISSES = "interval_misses"


@dataclass(frozen=True, slots=True)
class Values:
    """What is expected of each customer within the horizon, in the order of the histories, amounts in currency."""

    forecast: Forecast
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Assessment:
    """What came of a tenant's histories: values, or the reason why there are none, with what was found on the way."""

    reason: Reason | None = None
    model: Model | None = None
    dependence: float | None = None
    holdout: Holdout | None = None
    values: Values | None = None


def assess(histories: Histories, split: Split, history_days: int, rules: Rules, check: Check) -> Assessment:
    """Values of all customers, once a model of the first part of the history has stood the test of the last part.

    Args:
        histories: up to the reference date.
        split: up to the start of the part held out, and what came in it.
        history_days: from the first orders to the reference date.
        check: called now and then; raises to end the work.
    """
    early = _too_little(histories, split, history_days, rules)
    if early is not None:
        return Assessment(early)
    depends = dependence(histories)
    if abs(depends) > MOST_DEPENDENCE:
        return Assessment(Reason.VALUE_DEPENDS_ON_FREQUENCY, dependence=depends)
    try:
        holdout = judge(Model.fit(split.histories, check), split, check)
        reason = _refusal(holdout)
        model = Model.fit(histories, check)
    except NoConvergenceError:
        return Assessment(Reason.NO_CONVERGENCE, dependence=depends)
    if reason is not None:
        return Assessment(reason, model, depends, holdout)
    forecast = model.forecast(histories, rules.horizon_days, check)
    low, high = model.quantiles(histories, rules.horizon_days, holdout.levels, check)
    return Assessment(None, model, depends, holdout, Values(forecast, low, high))


def _too_little(histories: Histories, split: Split, history_days: int, rules: Rules) -> Reason | None:
    if history_days < rules.least_days:
        return Reason.TOO_LITTLE_HISTORY
    if min(_buyers(histories), _buyers(split.histories)) < rules.least_buyers:
        return Reason.TOO_FEW_REPEAT_BUYERS
    if np.sum(split.orders > 0) < rules.least_buyers // 2:
        return Reason.TOO_FEW_ORDERS_LATELY
    return None


def _buyers(histories: Histories) -> int:
    return int(np.sum(histories.repeats > 0))


def _refusal(holdout: Holdout) -> Reason | None:
    if abs(holdout.value.bias) > MOST_BIAS:
        return Reason.BIASED
    if holdout.value.rmse > NO_WORSE * holdout.baseline.rmse:
        return Reason.WORSE_THAN_NAIVE
    if holdout.coverage < LEAST_COVERAGE:
        return Reason.INTERVAL_MISSES
    return None
