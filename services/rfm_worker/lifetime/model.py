"""Both models together: what each customer is expected to bring within a number of days."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from services.rfm_worker.lifetime.bgnbd import CELLS, BgNbd
from services.rfm_worker.lifetime.fitting import Check
from services.rfm_worker.lifetime.gammagamma import GammaGamma
from services.rfm_worker.lifetime.history import Floats, Histories

DRAWS = 500
"""Possible futures per customer that the interval is read from."""
MOST_FITTED = 50_000
"""Customers that the parameters are fitted to; more would change no digit that anybody reads."""
SEED = 20_051_010
"""The same histories give the same answer."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of each customer, in the order of the histories.

    Attributes:
        alive: probability that the customer is still active.
        orders: expected order days.
        value: expected net amount, in the tenant's currency.
    """

    alive: Floats
    orders: Floats
    value: Floats


@dataclass(frozen=True, slots=True)
class Model:
    """The fitted models of orders and of their amounts."""

    orders: BgNbd
    amounts: GammaGamma

    @classmethod
    def fit(cls, histories: Histories, check: Check) -> Self:
        """Fits both models; of very many customers to a random part of them.

        Raises:
            NoConvergenceError: one of them found no optimum that can be trusted.
        """
        if len(histories) > MOST_FITTED:
            chance = np.random.default_rng(SEED)
            histories = histories.of(np.sort(chance.choice(len(histories), MOST_FITTED, replace=False)))
        return cls(BgNbd.fit(histories, check), GammaGamma.fit(histories, check))

    def parameters(self) -> dict[str, float]:
        """The parameters by their names in the papers."""
        return {**asdict(self.orders), **asdict(self.amounts)}

    def forecast(self, histories: Histories, days: float, check: Check) -> Forecast:
        """What each customer is expected to bring within the coming `days`."""
        orders = self.orders.expected_orders(histories, days, check)
        spend = self.amounts.expected_spend(histories.visits, histories.mean_spend)
        return Forecast(self.orders.probability_alive(histories), orders, orders * spend)

    def draws(self, histories: Histories, days: float, check: Check) -> Iterator[tuple[slice, Floats]]:
        """Possible futures, some customers at a time: their places, and the amount of each customer in each draw.

        They hold what a customer's own rate, dropout and amounts leave open, not that of the parameters.
        """
        chance = np.random.default_rng(SEED)
        size = CELLS // DRAWS
        for start in range(0, len(histories), size):
            check()
            place = slice(start, start + size)
            part = histories.of(np.arange(len(histories))[place])
            orders = self.orders.draw_orders(part, days, DRAWS, chance)
            yield place, self.amounts.draw_spend(part.visits, part.mean_spend, orders, chance)

    def quantiles(
        self, histories: Histories, days: float, levels: tuple[float, float], check: Check
    ) -> tuple[Floats, Floats]:
        """Two quantiles of each customer's amount within the coming `days`."""
        low, high = np.zeros(len(histories)), np.zeros(len(histories))
        for place, amounts in self.draws(histories, days, check):
            low[place], high[place] = np.quantile(amounts, levels, axis=1)
        return low, high
