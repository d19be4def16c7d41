"""What the models read of each customer: one entry per customer in every array, in one order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Histories:
    """Order days of customers up to one day.

    Attributes:
        repeats: order days after the first one.
        recency: days from the first order day to the last.
        age: days from the first order day to the end of the observation.
        spend: net amount of all order days together, in the tenant's currency.
    """

    repeats: Floats
    recency: Floats
    age: Floats
    spend: Floats

    def __len__(self) -> int:
        return len(self.repeats)

    @property
    def visits(self) -> Floats:
        """Order days, the first one included."""
        return self.repeats + 1

    @property
    def mean_spend(self) -> Floats:
        """Net amount of an average order day."""
        return self.spend / self.visits

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Histories":
        """The customers that a mask or a list of places names."""
        return Histories(self.repeats[chosen], self.recency[chosen], self.age[chosen], self.spend[chosen])
