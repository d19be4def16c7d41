"""Customers who live as the models of the lifetime value say that people do, from a seed."""

from dataclasses import dataclass

import numpy as np

from services.rfm_worker.lifetime.history import Floats, Histories
from services.rfm_worker.lifetime.holdout import Split

TRUE = {"r": 0.8, "alpha": 40.0, "a": 0.6, "b": 4.0, "p": 3.0, "q": 5.0, "gamma": 60.0}


@dataclass(frozen=True)
class Person:
    """Days of orders, the first at their start, and the amount of each."""

    days: Floats
    amounts: Floats


def people(
    count: int, seed: int, *, days: int = 730, arrive_within: int = 365, true: dict[str, float] = TRUE
) -> list[Person]:
    """So many customers who come within the first days and live until the last one."""
    chance = np.random.default_rng(seed)
    return [_person(chance, days, arrive_within, true) for _ in range(count)]


def _person(chance: np.random.Generator, days: int, arrive_within: int, true: dict[str, float]) -> Person:
    at = float(chance.integers(0, arrive_within))
    rate = chance.gamma(true["r"]) / true["alpha"]
    dropout = chance.beta(true["a"], true["b"])
    visits = [at]
    while chance.random() >= dropout or len(visits) == 1:  # nobody leaves after the first order: the model says so
        at += float(chance.exponential(1 / rate))
        if at > days:
            break
        visits.append(at)
    spending = chance.gamma(true["q"]) / true["gamma"]
    return Person(np.array(visits), chance.gamma(true["p"], size=len(visits)) / spending + 0.01)


def histories(everybody: list[Person], until: float) -> Histories:
    """What is seen of those who had ordered by that day."""
    seen = [(one.days[one.days <= until], one.amounts[one.days <= until]) for one in everybody if one.days[0] <= until]
    table = np.array([(len(d) - 1, d[-1] - d[0], until - d[0], m.sum()) for d, m in seen]).reshape(-1, 4)
    return Histories(*(np.ascontiguousarray(column) for column in table.T))


def split(everybody: list[Person], until: float, days: int) -> Split:
    """The same with the last `days` held out."""
    start = until - days
    early = [one for one in everybody if one.days[0] <= start]
    after = np.array([_between(one, start, until) for one in early]).reshape(-1, 2)
    before = np.array([_between(one, start - days, start) for one in early]).reshape(-1, 2)
    return Split(histories(everybody, start), days, after[:, 0], after[:, 1], before[:, 0], before[:, 1])


def _between(one: Person, after: float, until: float) -> tuple[float, float]:
    chosen = (one.days > after) & (one.days <= until)
    return float(np.sum(chosen)), float(np.sum(one.amounts[chosen]))
