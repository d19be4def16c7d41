"""A tenant's values in ten groups of customers, the most valuable first."""

from dataclasses import dataclass

import numpy as np

from services.rfm_worker.lifetime.assess import Values

GROUPS = 10


@dataclass(frozen=True, slots=True)
class Decile:
    """Customers of one group: how many, their expected amount together, the least and the most of one of them."""

    customers: int
    expected_value: float
    lowest: float
    highest: float
    mean_alive: float


def deciles(values: Values) -> list[Decile]:
    """Ten groups of as equal size as can be; fewer when there are fewer customers."""
    order = np.argsort(-values.forecast.value, kind="stable")
    groups = [part for part in np.array_split(order, GROUPS) if len(part)]
    return [
        Decile(
            len(part), float(np.sum(values.forecast.value[part])), float(np.min(values.forecast.value[part])),
            float(np.max(values.forecast.value[part])), float(np.mean(values.forecast.alive[part])),
        )
        for part in groups
    ]  # fmt: skip
