"""BG/NBD: when a customer orders, and whether there will be another order at all.

Fader, Hardie, Lee (2005), "Counting Your Customers the Easy Way: An Alternative to the Pareto/NBD Model". While active
a customer orders at a rate of their own (over customers: gamma with shape r and rate alpha), and after each order
becomes inactive with a probability of their own (beta with a and b). Time is in days.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, expit, gammaln

from services.rfm_worker.lifetime.fitting import Check, fit_positive
from services.rfm_worker.lifetime.history import Floats, Histories

BOUNDS = ((1e-3, 1e3), (1e-3, 1e5), (1e-4, 1e3), (1e-3, 1e4))
SHAPE_AND_RATE = (0, 1)
"""At a bound of r or alpha the rates of customers would all be alike or without limit; a near 0 says that few leave."""
CELLS = 2**18
"""Numbers in the largest table made at a time: 2 MB."""
RAREST_DROPOUT = 1e-9
"""Below it nobody leaves within any horizon, and counting orders until then would overflow."""


@dataclass(frozen=True, slots=True)
class BgNbd:
    """A fitted model."""

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, histories: Histories, check: Check) -> Self:
        """The parameters under which these histories are likeliest.

        Raises:
            NoConvergenceError: no optimum that can be trusted.
        """
        kinds, counts = _kinds(histories)
        pace = max(float(np.sum(histories.repeats) / max(np.sum(histories.age), 1.0)), 1e-6)

        def cost(values: Floats) -> float:
            return float(-np.dot(counts, cls(*map(float, values)).log_likelihood(kinds)) / len(histories))

        starts = [(r, r / pace, a, b) for r, a, b in ((0.3, 0.8, 2.5), (1.0, 0.1, 5.0), (2.0, 1.0, 1.0))]
        found = fit_positive(
            cost, starts, BOUNDS, customers=len(histories), inside=SHAPE_AND_RATE, check=check
        )  # fmt: skip
        return cls(*found)

    def log_likelihood(self, histories: Histories) -> Floats:
        """Logarithm of each history's likelihood."""
        x = histories.repeats
        stays, left = self._log_parts(histories)
        shape = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha)
        return np.asarray(shape + np.logaddexp(stays, left))

    def probability_alive(self, histories: Histories) -> Floats:
        """Probability that the customer is still active; 1 for one who ordered on a single day."""
        stays, left = self._log_parts(histories)
        return np.asarray(expit(stays - left))

    def _log_parts(self, histories: Histories) -> tuple[Floats, Floats]:
        """Logarithms of the two terms of the likelihood: still active, or inactive since the last order."""
        x = histories.repeats
        unit = betaln(self.a, self.b)
        stays = betaln(self.a, self.b + x) - unit - (self.r + x) * np.log(self.alpha + histories.age)
        with np.errstate(invalid="ignore"):
            left = (
                betaln(self.a + 1, self.b + np.maximum(x, 1) - 1)
                - unit
                - (self.r + x) * np.log(self.alpha + histories.recency)
            )
        return stays, np.where(x > 0, left, -np.inf)

    def expected_orders(self, histories: Histories, days: float, check: Check = lambda: None) -> Floats:
        """Expected order days of each customer within the coming `days`: the paper's conditional expectation.

        Summed from the distribution, P(N >= 1) + P(N >= 2) + ..., rather than by the paper's hypergeometric function,
        which loses its digits for customers with a hundred orders and is undefined at a = 1.
        """
        total = np.zeros(len(histories))
        for part, tail in self._tails(histories, days, check):
            total[part] = tail.sum(axis=1)
        return total * self.probability_alive(histories)

    def draw_orders(self, histories: Histories, days: float, draws: int, chance: np.random.Generator) -> Floats:
        """Order days within the coming `days` in so many possible futures: a row per customer, a column per draw."""
        size = (len(histories), draws)
        x = histories.repeats[:, None]
        rate = chance.standard_gamma(self.r + x, size) / (self.alpha + histories.age[:, None])
        dropout = np.maximum(chance.beta(self.a, self.b + x, size), RAREST_DROPOUT)
        orders = np.minimum(chance.poisson(rate * days), chance.geometric(dropout))
        alive = chance.random(size) < self.probability_alive(histories)[:, None]
        return np.minimum(np.where(alive, orders, 0), np.floor(days))

    def _tails(self, histories: Histories, days: float, check: Check) -> Iterator[tuple[NDArray[np.intp], Floats]]:
        """Places of some customers, and for each of them P(N >= n) for n = 1, 2 ..., given that they are active now.

        An active customer's rate is gamma with r + x and alpha + T, the dropout beta with a and b + x, independent of
        each other. N >= n means n events of that rate within the time, and no dropout after the first n - 1 of them.
        There is at most one order day a day, so n ends at `days`.
        """
        place = days / (self.alpha + histories.age + days)
        mean = (self.r + histories.repeats) / (self.alpha + histories.age) * days
        enough = mean + 10 * np.sqrt(mean / (1 - place)) + 20 / (1 - place)
        widths = np.minimum(np.ceil(enough), np.floor(days)).astype(np.intp)
        for part in parts_of(widths, CELLS):
            check()
            n = np.arange(1, widths[part[-1]] + 1, dtype=np.float64)
            stays = self.b + histories.repeats[part, None]
            tail = betainc(n, self.r + histories.repeats[part, None], place[part, None])
            yield part, tail * np.exp(betaln(self.a, stays + n - 1) - betaln(self.a, stays))


def parts_of(widths: NDArray[np.intp], cells: int) -> Iterator[NDArray[np.intp]]:
    """Places in parts of similar width, each with at most about `cells` numbers; the widest place comes last."""
    order = np.argsort(widths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, cells // max(1, int(widths[order[start]])))
        widest = int(widths[order[min(start + size, len(order)) - 1]])
        end = start + max(1, cells // max(1, widest))
        yield order[start:end]
        start = end


def _kinds(histories: Histories) -> tuple[Histories, Floats]:
    """The distinct histories, spend aside, and how many customers have each."""
    rows = np.column_stack((histories.repeats, histories.recency, histories.age))
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    repeats, recency, age = kinds.T.copy()
    return Histories(repeats, recency, age, np.zeros(len(kinds))), counts.astype(np.float64)
