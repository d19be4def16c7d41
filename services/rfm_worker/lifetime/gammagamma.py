"""Gamma-Gamma: what a customer's orders are worth on average.

Fader, Hardie (2013), "The Gamma-Gamma Model of Monetary Value". The amounts of a customer are gamma with shape p and a
rate of their own, which over customers is gamma with q and gamma. It takes for granted that how much somebody spends at
a time does not depend on how often; `dependence` says whether that holds.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import gammaln

from services.rfm_worker.lifetime.fitting import Check, fit_positive
from services.rfm_worker.lifetime.history import Floats, Histories

BOUNDS = ((1e-2, 1e4), (1.01, 1e4), (1e-6, 1e6))
"""q above 1: below it the mean of a new customer has no limit. gamma is in units of the mean order day."""


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """A fitted model; gamma is in the tenant's currency."""

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, histories: Histories, check: Check) -> Self:
        """The parameters under which the mean amounts of these customers are likeliest; spend must be above 0.

        Raises:
            NoConvergenceError: no optimum that can be trusted.
        """
        scale = float(np.mean(histories.mean_spend))
        n, mean = histories.visits, histories.mean_spend / scale

        def cost(values: Floats) -> float:
            return float(-np.mean(cls(*map(float, values)).log_likelihood(n, mean)))

        starts = [(p, q, (q - 1) / p) for p, q in ((1.0, 3.0), (4.0, 4.0), (2.0, 10.0))]
        p, q, gamma = fit_positive(cost, starts, BOUNDS, customers=len(n), inside=(0, 1, 2), check=check)
        return cls(p, q, gamma * scale)

    def log_likelihood(self, visits: Floats, mean: Floats) -> Floats:
        """Logarithm of the density of each customer's mean amount over that many order days."""
        shape = self.p * visits
        return np.asarray(
            gammaln(shape + self.q) - gammaln(shape) - gammaln(self.q)
            + self.q * np.log(self.gamma) + (shape - 1) * np.log(mean) + shape * np.log(visits)
            - (shape + self.q) * np.log(self.gamma + visits * mean)
        )  # fmt: skip

    def expected_spend(self, visits: Floats, mean: Floats) -> Floats:
        """Expected amount of each customer's next order days: between their own mean and everybody's."""
        return self.p * (self.gamma + visits * mean) / (self.p * visits + self.q - 1)

    def draw_spend(self, visits: Floats, mean: Floats, orders: Floats, chance: np.random.Generator) -> Floats:
        """Amounts of so many coming order days together, 0 for none.

        Args:
            visits: past order days of each customer.
            mean: their mean amount.
            orders: coming order days, a row per customer and a column per draw.
        """
        rate = chance.standard_gamma(self.p * visits[:, None] + self.q, orders.shape)
        rate /= (self.gamma + visits * mean)[:, None]
        return np.asarray(chance.standard_gamma(self.p * orders) / rate)


def dependence(histories: Histories) -> float:
    """Rank correlation (Spearman) between how often customers order and how much they spend at a time, -1 to 1."""
    often, much = _ranks(histories.visits), _ranks(histories.mean_spend)
    if min(np.std(often), np.std(much)) == 0:
        return 0.0
    return float(np.corrcoef(often, much)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[places], dtype=np.float64)
