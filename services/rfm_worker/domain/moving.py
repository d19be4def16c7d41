"""Who may score differently once bounds have moved: those whose value lies where a bound has been on its way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from services.rfm_worker.domain.cutoffs import day_of

BOUNDS_PER_AXIS = 4


@dataclass(frozen=True, slots=True)
class Envelope:
    """Per threshold (see `Cutoffs.thresholds`) the lowest and the highest place since the last finished run.

    A run that was cut off has moved some customers to bounds that never became final, so its way counts too.
    """

    low: Sequence[Decimal]
    high: Sequence[Decimal]

    @classmethod
    def around(cls, *places: Sequence[Decimal]) -> "Envelope":
        """The envelope of some states of the thresholds; states that are empty count for nothing."""
        known = [place for place in places if place]
        return cls([min(column) for column in zip(*known, strict=True)], [max(c) for c in zip(*known, strict=True)])

    def days(self) -> list[tuple[date, date]]:
        """Ranges of last order days, first included, last excluded."""
        numbers = [(math.ceil(low), math.ceil(high)) for low, high in self._pairs(0)]
        return [(day_of(low), day_of(high)) for low, high in numbers if low < high]

    def orders(self) -> list[tuple[int, int]]:
        """Ranges of numbers of orders, first excluded, last included."""
        whole = [(math.floor(low), math.floor(high)) for low, high in self._pairs(1)]
        return [(low, high) for low, high in whole if low < high]

    def amounts(self) -> list[tuple[Decimal, Decimal]]:
        """Ranges of money, first excluded, last included."""
        return [(low, high) for low, high in self._pairs(2) if low < high]

    def _pairs(self, axis: int) -> list[tuple[Decimal, Decimal]]:
        part = slice(axis * BOUNDS_PER_AXIS, (axis + 1) * BOUNDS_PER_AXIS)
        return list(zip(self.low[part], self.high[part], strict=True))
