"""Cut-offs: exact quantiles by linear interpolation, from the few order statistics that they depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

QUINTILES, TERCILES = 5, 3
_THIRDS_STEP = Decimal("0.00000001")
_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """The bounds that scores are counted against.

    Four ascending bounds per axis, two terciles of the average basket; all empty when no customer has a counting order.
    """

    method: str
    reference_date: date
    customers: int
    recency_days: Sequence[Decimal] = ()
    frequency: Sequence[Decimal] = ()
    monetary: Sequence[Decimal] = ()
    average_basket: Sequence[Decimal] = ()

    @property
    def known(self) -> bool:
        """Whether anybody can be scored against them."""
        return self.customers > 0

    def thresholds(self) -> list[Decimal]:
        """Where scores change, on the values that customers are kept by: four days (counted from 1970, before which a
        last order is too old), four numbers of orders, four amounts. Empty while nothing is known."""
        if not self.known:
            return []
        today = Decimal(day_number(self.reference_date))
        return [*(today - bound for bound in self.recency_days), *self.frequency, *self.monetary]


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - _FIRST_DAY).days


def day_of(number: int) -> date:
    """The day with that number; the first or last that there is, where a bound reaches beyond it."""
    return _FIRST_DAY + timedelta(days=min(max(number, day_number(date.min)), day_number(date.max)))


def ranks(count: int, parts: int) -> list[int]:
    """Which ranks (from 0, of `count` sorted values) the quantiles depend on: a lower and an upper one for each."""
    wanted = []
    for k in range(1, parts):
        low = (count - 1) * k // parts
        wanted += [low, min(low + 1, count - 1)]
    return wanted


def quantiles(count: int, parts: int, values: Sequence[Decimal]) -> list[Decimal]:
    """The `parts - 1` quantiles of `count` values.

    Fifths of a gap are exact decimals. Thirds are rounded to 8 decimals, finer than any gap between an amount of 4
    decimals and a third between two such amounts, so every comparison comes out as with the exact third.

    Args:
        count: number of sorted values, at least 1.
        parts: 5 for quintiles, 3 for terciles.
        values: the values at `ranks(count, parts)`.
    """
    found = []
    for k in range(1, parts):
        low, high = Decimal(values[2 * k - 2]), Decimal(values[2 * k - 1])
        gap = (high - low) * ((count - 1) * k % parts)
        found.append(low + (gap / 5 if parts == QUINTILES else (gap / parts).quantize(_THIRDS_STEP, ROUND_HALF_EVEN)))
    return found


def fixed_bounds(bounds: Mapping[str, Sequence[object]]) -> dict[str, list[Decimal]]:
    """A tenant's own bounds, as kept in its settings, as decimals per axis."""
    return {axis: [Decimal(str(bound)) for bound in bounds[axis]] for axis in ("recency_days", "frequency", "monetary")}
