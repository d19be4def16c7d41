"""Marks: for each quantile a place in the order of the customers and its rank, from which the next place is near.

A sale moves one customer, and with it the rank of a mark by one at most; so whoever knows what changed since a mark
was set knows its rank again without counting, and finds the wanted rank within as many steps as there were changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from services.rfm_worker.domain.cutoffs import QUINTILES, TERCILES, day_number, quantiles

DAY, FREQUENCY, MONETARY, BASKET = "day", "frequency", "monetary", "basket"
PARTS: Mapping[str, int] = {DAY: QUINTILES, FREQUENCY: QUINTILES, MONETARY: QUINTILES, BASKET: TERCILES}
"""Into how many parts an axis is cut. Days ascend, so their order is that of recency from the far end."""
Key = tuple[str, int]
"""Axis and which of its quantiles, from 1."""
KEYS: tuple[Key, ...] = tuple((axis, k) for axis, parts in PARTS.items() for k in range(1, parts))


@dataclass(frozen=True, slots=True)
class Mark:
    """The entry (value, code) of an axis, and how many entries stand before it. Days are numbers from 1970."""

    rank: int
    value: Decimal
    code: str


def wanted_rank(key: Key, count: int) -> int:
    """Rank, from 0, of the lower of the two neighbours that a quantile lies between.

    Args:
        count: customers with a counting order, at least 1.
    """
    axis, k = key
    low = (count - 1) * k // PARTS[axis]
    return max(0, count - 2 - low) if axis == DAY else low


def bounds_of(axis: str, count: int, neighbours: Sequence[tuple[Decimal, Decimal]], reference: date) -> list[Decimal]:
    """The quantiles of an axis; of recency in days where the axis is that of days.

    Args:
        neighbours: per quantile the values at its wanted rank and at the next one (the same where there is none).
    """
    if axis != DAY:
        return quantiles(count, PARTS[axis], [value for pair in neighbours for value in pair])
    today = day_number(reference)
    return quantiles(
        count, PARTS[axis], [max(Decimal(0), today - day) for older, newer in neighbours for day in (newer, older)]
    )
