"""BG/NBD and Gamma-Gamma: published figures, integrals, simulated customers, and what must hold for everybody."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln, gammaln, hyp2f1

from services.rfm_worker.lifetime.bgnbd import BgNbd, parts_of
from services.rfm_worker.lifetime.fitting import NoConvergenceError, fit_positive
from services.rfm_worker.lifetime.gammagamma import GammaGamma, dependence
from services.rfm_worker.lifetime.history import Histories
from services.rfm_worker.lifetime.model import Model
from tests.support.lifetime_people import TRUE, histories, people

CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426)
"""Published for the CDNOW sample, in weeks (Fader, Hardie, Lee 2005)."""
CDNOW_SPEND = GammaGamma(6.25, 3.74, 15.44)
"""Published for the same customers (Fader, Hardie 2013), in dollars."""


def nothing() -> None:
    """A check that never ends the work."""


def one(x: float, recency: float, age: float, spend: float = 1.0) -> Histories:
    return Histories(np.array([x]), np.array([recency]), np.array([age]), np.array([spend]))


@st.composite
def history(draw: st.DrawFn) -> Histories:
    age = draw(st.floats(1, 3000))
    x = draw(st.integers(0, 400))
    recency = draw(st.floats(0.01, 1)) * age if x else 0.0
    return one(float(x), recency, age)


models = st.builds(BgNbd, st.floats(0.05, 20), st.floats(0.5, 500), st.floats(0.02, 20), st.floats(0.05, 50))


def test_the_papers_customer_is_expected_to_order_1_226_times() -> None:
    found = CDNOW.expected_orders(one(2, 30.43, 38.86), 39)[0]
    assert found == pytest.approx(1.226, abs=5e-4)


@pytest.mark.parametrize(
    ("weeks", "orders"), [(0.1429, 0.0078), (1.0, 0.0532), (3.0, 0.1506), (31.8571, 1.0405), (78.0, 1.8576)]
)
def test_a_new_customer_is_expected_to_order_as_published(weeks: float, orders: float) -> None:
    """To the digits of the published parameters. Time is in a fine unit here: the sum ends at one order per unit."""
    fine = 1000.0
    scaled = BgNbd(CDNOW.r, CDNOW.alpha * fine, CDNOW.a, CDNOW.b)
    assert scaled.expected_orders(one(0, 0, 0), weeks * fine)[0] == pytest.approx(orders, rel=2e-3, abs=5e-5)


@pytest.mark.parametrize(("visits", "mean", "spend"), [(2, 22.35, 24.66), (1, 11.77, 18.92), (0, 0.0, 35.22)])
def test_the_papers_customers_are_expected_to_spend_as_published(visits: float, mean: float, spend: float) -> None:
    found = CDNOW_SPEND.expected_spend(np.array([visits]), np.array([mean]))[0]
    assert found == pytest.approx(spend, abs=0.02)


def _papers_expectation(model: BgNbd, x: float, recency: float, age: float, days: float) -> float:
    """The closed form of the paper, with Gauss' hypergeometric function."""
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    z = days / (alpha + age + days)
    head = (a + b + x - 1) / (a - 1)
    head *= 1 - ((alpha + age) / (alpha + age + days)) ** (r + x) * hyp2f1(r + x, b + x, a + b + x - 1, z)
    left = a / (b + x - 1) * ((alpha + age) / (alpha + recency)) ** (r + x) if x else 0.0
    return float(head / (1 + left))


# Beyond these the closed form loses its own digits or is not defined, or one order day a day cuts the sum off.
usual_models = st.builds(
    BgNbd, st.floats(0.05, 2), st.floats(30, 300), st.floats(0.05, 0.9) | st.floats(1.1, 3), st.floats(1.1, 10)
)


@settings(max_examples=200)
@given(usual_models, st.integers(0, 15), st.floats(100, 1500), st.floats(0.01, 1), st.integers(50, 200))
def test_the_sum_is_the_papers_closed_form(model: BgNbd, x: int, age: float, part: float, days: int) -> None:
    recency = part * age if x else 0.0
    seen = one(x, recency, age)
    assert model.expected_orders(seen, days)[0] == pytest.approx(
        _papers_expectation(model, x, recency, age, days), rel=1e-5, abs=1e-9
    )


@pytest.mark.parametrize(("x", "recency", "age"), [(0, 0, 30), (1, 5, 30), (4, 28, 30), (9, 12, 60)])
def test_the_likelihood_is_the_integral_over_all_rates_and_dropouts(x: int, recency: float, age: float) -> None:
    model = BgNbd(1.3, 12.0, 0.9, 2.5)

    def of_rate(part: float) -> float:
        shape = model.r * math.log(model.alpha) - gammaln(model.r)
        return quad(lambda y: math.exp(shape + (model.r - 1 + x) * math.log(y) - y * (model.alpha + part)), 0, np.inf)[
            0
        ]

    def of_dropout(left: int, stayed: int) -> float:
        unit = math.exp(betaln(model.a, model.b))
        return quad(lambda p: p ** (model.a - 1 + left) * (1 - p) ** (model.b - 1 + stayed) / unit, 0, 1)[0]

    expected = of_dropout(0, x) * of_rate(age)
    if x:
        expected += of_dropout(1, x - 1) * of_rate(recency)
    assert model.log_likelihood(one(x, recency, age))[0] == pytest.approx(math.log(expected), abs=1e-6)


def test_the_likelihood_of_amounts_is_the_integral_over_all_rates() -> None:
    model, visits, mean = GammaGamma(2.0, 4.0, 30.0), 3.0, 14.0
    shape = model.p * visits

    def density(rate: float) -> float:
        of_mean = shape * math.log(rate * visits) + (shape - 1) * math.log(mean) - rate * visits * mean - gammaln(shape)
        of_rate = model.q * math.log(model.gamma) + (model.q - 1) * math.log(rate) - rate * model.gamma
        return math.exp(of_mean + of_rate - gammaln(model.q))

    found = model.log_likelihood(np.array([visits]), np.array([mean]))[0]
    assert found == pytest.approx(math.log(quad(density, 0, 5)[0]), abs=1e-7)


@given(models, history())
def test_a_probability_is_one_and_every_figure_is_finite(model: BgNbd, seen: Histories) -> None:
    alive = model.probability_alive(seen)[0]
    assert 0 <= alive <= 1
    assert alive == 1 or seen.repeats[0] > 0
    assert np.isfinite(model.log_likelihood(seen)[0])
    assert 0 <= model.expected_orders(seen, 365)[0] <= 365


@given(models, history(), st.integers(1, 300))
def test_more_time_brings_more_orders(model: BgNbd, seen: Histories, days: int) -> None:
    assert model.expected_orders(seen, days)[0] <= model.expected_orders(seen, days + 30)[0] + 1e-9


@given(models, st.integers(1, 100), st.floats(2, 1000), st.floats(0.1, 0.9))
def test_who_ordered_lately_is_likelier_alive(model: BgNbd, x: int, age: float, part: float) -> None:
    early, late = (model.probability_alive(one(x, recency, age))[0] for recency in (part * age, age))
    assert early <= late + 1e-12


@given(st.floats(0.1, 20), st.floats(1.2, 20), st.floats(1, 500), st.floats(1, 100), st.floats(0.1, 1000))
def test_expected_spend_lies_between_the_customers_mean_and_everybodys(
    p: float, q: float, gamma: float, visits: float, mean: float
) -> None:
    everybody = p * gamma / (q - 1)
    found = GammaGamma(p, q, gamma).expected_spend(np.array([visits]), np.array([mean]))[0]
    assert min(mean, everybody) * (1 - 1e-9) <= found <= max(mean, everybody) * (1 + 1e-9)


def test_the_parameters_of_simulated_customers_are_found_again() -> None:
    seen = histories(people(6000, 7), 730)
    model = Model.fit(seen, nothing)
    found = model.parameters()
    for name, tolerance in (("r", 0.1), ("alpha", 0.12), ("p", 0.1), ("q", 0.15), ("gamma", 0.2)):
        assert found[name] == pytest.approx(TRUE[name], rel=tolerance), found
    assert found["a"] / (found["a"] + found["b"]) == pytest.approx(TRUE["a"] / (TRUE["a"] + TRUE["b"]), rel=0.1)


def test_draws_have_the_mean_and_the_share_of_nothing_that_the_formulas_say() -> None:
    model = Model(BgNbd(0.8, 40, 0.6, 4), GammaGamma(3, 5, 60))
    seen = Histories(
        np.array([0.0, 3, 40]), np.array([0.0, 90, 350]), np.array([200.0, 300, 360]), np.array([9, 80, 900.0])
    )
    repeated = seen.of(np.repeat(np.arange(3), 200))
    (amounts,) = [np.concatenate([part for _, part in model.draws(repeated, 365, nothing)])]
    of_each = amounts.reshape(3, -1)
    expected = model.forecast(seen, 365, nothing)
    assert of_each.mean(axis=1) == pytest.approx(expected.value, rel=0.03)
    assert np.all(np.mean(of_each == 0, axis=1) >= 1 - expected.alive - 0.01)


def test_the_same_histories_give_the_same_interval() -> None:
    model = Model(BgNbd(0.8, 40, 0.6, 4), GammaGamma(3, 5, 60))
    seen = one(5, 200, 250, 300)
    first, second = (model.quantiles(seen, 365, (0.1, 0.9), nothing) for _ in range(2))
    assert first == second
    assert 0 <= first[0][0] <= first[1][0]


def test_a_dependence_between_frequency_and_amount_is_seen() -> None:
    chance = np.random.default_rng(3)
    x = chance.integers(0, 30, 500).astype(float)
    same = Histories(x, x, x + 1, (x + 1) * chance.gamma(3, 10, 500))
    grows = Histories(x, x, x + 1, (x + 1) * (x + chance.gamma(3, 1, 500)))
    assert abs(dependence(same)) < 0.1
    assert dependence(grows) > 0.8
    assert dependence(Histories(x * 0, x, x, x + 1)) == 0


def test_parts_hold_every_place_once_and_stay_small() -> None:
    widths = np.random.default_rng(1).integers(1, 400, 5000)
    parts = list(parts_of(widths, 2000))
    assert sorted(np.concatenate(parts)) == list(range(5000))
    assert all(len(part) == 1 or len(part) * widths[part].max() <= 2000 for part in parts)


def test_an_optimum_that_only_one_start_finds_is_not_trusted() -> None:
    def two_valleys(values: np.ndarray) -> float:
        logs = np.log(values[0])
        return float(min((logs - 2) ** 2, (logs + 2) ** 2 + 1))

    bounds = [(1e-3, 1e3)]
    with pytest.raises(NoConvergenceError):
        fit_positive(
            two_valleys, [(math.exp(-2),), (math.exp(-2.01),), (9.0,)], bounds, customers=100, inside=(), check=nothing
        )
    found = fit_positive(
        two_valleys, [(math.exp(-2),), (9.0,), (5.0,)], bounds, customers=100, inside=(), check=nothing
    )
    assert found[0] == pytest.approx(math.exp(2), rel=1e-3)


def test_an_optimum_on_a_bound_is_not_trusted_where_it_means_nothing() -> None:
    def falls(values: np.ndarray) -> float:
        return float(np.log(values[0]))

    with pytest.raises(NoConvergenceError):
        fit_positive(falls, [(1.0,), (9.0,)], [(0.1, 10)], customers=9, inside=(0,), check=nothing)
    assert fit_positive(falls, [(1.0,), (9.0,)], [(0.1, 10)], customers=9, inside=(), check=nothing)[0] < 0.11
