"""When a tenant has enough data, and how far ahead the forecast reaches. Needs neither numpy nor scipy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator may choose.

    Attributes:
        horizon_days: days that a value covers.
        least_days: days of history below which nothing is said.
        least_buyers: customers with orders on two days, also in the first part alone, below which nothing is said.
    """

    horizon_days: int = 365
    least_days: int = 180
    least_buyers: int = 100

    def held_out_days(self, history_days: int) -> int:
        """Days at the end of the history to hold out: half of it, at most the horizon."""
        return min(history_days // 2, self.horizon_days)
