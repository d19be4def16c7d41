"""Values only where the model has stood a test; else the reason."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from services.rfm_worker.lifetime import assess as module
from services.rfm_worker.lifetime.assess import Assessment, Reason, assess
from services.rfm_worker.lifetime.fitting import NoConvergenceError
from services.rfm_worker.lifetime.history import Histories
from services.rfm_worker.lifetime.holdout import Split, judge
from services.rfm_worker.lifetime.model import Model
from services.rfm_worker.lifetime.rules import Rules
from services.rfm_worker.lifetime.summary import deciles
from tests.support.lifetime_people import histories, people, split

RULES = Rules()


class EndedError(Exception):
    """Raised by a check."""


def nothing() -> None:
    """A check that never ends the work."""


@pytest.fixture(scope="module")
def shop() -> tuple[Histories, Split]:
    """Two years of 1,500 customers who live as the models say."""
    everybody = people(1500, 11)
    return histories(everybody, 730), split(everybody, 730, 365)


@pytest.fixture(scope="module")
def judged(shop: tuple[Histories, Split]) -> Assessment:
    return assess(*shop, 730, RULES, nothing)


def test_customers_who_live_by_the_model_get_values(judged: Assessment, shop: tuple[Histories, Split]) -> None:
    assert judged.reason is None
    assert judged.values is not None
    assert judged.holdout is not None
    values = judged.values
    assert len(values.low) == len(shop[0])
    assert np.all(values.low <= values.high)
    assert np.all(values.forecast.value >= 0)
    assert abs(judged.holdout.value.bias) < 0.1
    assert judged.holdout.value.rmse < judged.holdout.baseline.rmse
    assert judged.holdout.coverage == pytest.approx(0.8, abs=0.06)


def test_ten_groups_hold_everybody_and_everything(judged: Assessment) -> None:
    assert judged.values is not None
    groups = deciles(judged.values)
    sizes = [group.customers for group in groups]
    assert len(groups) == 10
    assert max(sizes) - min(sizes) <= 1
    assert sum(group.customers for group in groups) == len(judged.values.low)
    assert sum(group.expected_value for group in groups) == pytest.approx(judged.values.forecast.value.sum())
    assert all(before.lowest >= after.highest for before, after in pairwise(groups))


@pytest.mark.parametrize(
    ("history_days", "rules", "reason"),
    [
        (179, RULES, Reason.TOO_LITTLE_HISTORY),
        (730, replace(RULES, least_buyers=5000), Reason.TOO_FEW_REPEAT_BUYERS),
    ],
)
def test_too_little_data_is_said(
    shop: tuple[Histories, Split], history_days: int, rules: Rules, reason: Reason
) -> None:
    found = assess(*shop, history_days, rules, nothing)
    assert (found.reason, found.values, found.model) == (reason, None, None)


def test_nobody_at_all_is_too_few() -> None:
    none = Histories(*(np.zeros(0) for _ in range(4)))
    empty = Split(none, 365, *(np.zeros(0) for _ in range(4)))
    assert assess(none, empty, 730, RULES, nothing).reason == Reason.TOO_FEW_REPEAT_BUYERS


def test_a_shop_that_closed_before_the_part_held_out_gets_none(shop: tuple[Histories, Split]) -> None:
    gone = replace(shop[1], orders=np.zeros(len(shop[1].orders)), value=np.zeros(len(shop[1].orders)))
    assert assess(shop[0], gone, 730, RULES, nothing).reason == Reason.TOO_FEW_ORDERS_LATELY


def test_amounts_that_grow_with_frequency_are_refused(shop: tuple[Histories, Split]) -> None:
    grows = replace(shop[0], spend=shop[0].visits ** 2)
    found = assess(grows, shop[1], 730, RULES, nothing)
    assert found.reason == Reason.VALUE_DEPENDS_ON_FREQUENCY
    assert found.dependence is not None
    assert found.dependence > module.MOST_DEPENDENCE


def test_a_year_unlike_the_one_before_is_refused(shop: tuple[Histories, Split]) -> None:
    doubled = replace(shop[1], value=shop[1].value * 2)
    found = assess(shop[0], doubled, 730, RULES, nothing)
    assert (found.reason, found.values) == (Reason.BIASED, None)
    assert found.holdout is not None
    assert found.holdout.value.bias < -module.MOST_BIAS


def test_a_model_that_a_naive_forecast_beats_is_refused(shop: tuple[Histories, Split]) -> None:
    """Everybody does exactly what they did before, in a way that no model of chance expects."""
    steady = replace(shop[1], value_before=shop[1].value)
    found = assess(shop[0], steady, 730, RULES, nothing)
    assert found.reason == Reason.WORSE_THAN_NAIVE
    assert found.holdout is not None
    assert found.holdout.baseline_name == "same_as_before"


def test_habits_that_change_widen_the_interval_until_it_holds_what_it_promises(shop: tuple[Histories, Split]) -> None:
    """Everybody brings up to five times more or less than by their habits; the model itself knows nothing of it."""
    chance = np.random.default_rng(1)
    factor = np.exp(chance.uniform(-1.6, 1.6, len(shop[1].value)))
    changed = replace(shop[1], value=shop[1].value * factor)
    model = Model.fit(shop[1].histories, nothing)
    steady, found = judge(model, shop[1], nothing), judge(model, changed, nothing)
    assert found.levels[0] < 0.1 <= steady.levels[0] + 0.03
    assert found.levels[1] > 0.9 >= steady.levels[1] - 0.03
    assert found.levels[1] > steady.levels[1]
    assert found.coverage == pytest.approx(0.8, abs=0.06)


def test_an_interval_that_misses_is_refused(shop: tuple[Histories, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the customers choose its levels; where the other half lies elsewhere, it means nothing."""
    monkeypatch.setattr(module, "LEAST_COVERAGE", 0.99)
    assert assess(*shop, 730, RULES, nothing).reason == Reason.INTERVAL_MISSES


def test_no_optimum_is_a_reason_too(shop: tuple[Histories, Split], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Model:
        raise NoConvergenceError

    monkeypatch.setattr(Model, "fit", fails)
    assert assess(*shop, 730, RULES, nothing).reason == Reason.NO_CONVERGENCE


def test_the_work_ends_when_it_is_asked_to(shop: tuple[Histories, Split]) -> None:
    calls = iter(range(10**6))

    def check() -> None:
        if next(calls) == 20:
            raise EndedError

    with pytest.raises(EndedError):
        assess(*shop, 730, RULES, check)


def test_half_of_the_history_is_held_out_but_never_more_than_the_horizon() -> None:
    assert [RULES.held_out_days(days) for days in (0, 181, 365, 3000)] == [0, 90, 182, 365]
