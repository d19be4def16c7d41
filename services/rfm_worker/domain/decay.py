"""Decay by a fixed landmark: an order's weight depends on when it was made alone, so time passing changes no row.

Weights are decimals with 15 significant digits. Sums of them are exact, so that taking an order away leaves precisely
what was there without it, in any order of events.
"""

from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache

LANDMARK = datetime(2020, 1, 1, tzinfo=UTC)
SPEND_HALF_LIFE_DAYS = 180
"""Half-life of what a customer spent on a product."""
UNITS_HALF_LIFE_DAYS = 90
"""Half-life of the units of a product."""

_SECOND = timedelta(seconds=1)
_EXACT = Context(prec=28)
_KEPT = Context(prec=15)
_SPEND_HALF_LIFE_S = Decimal(SPEND_HALF_LIFE_DAYS * 86_400)
_LN2 = Context(prec=34).ln(Decimal(2))


def weights(sold_at: datetime) -> tuple[Decimal, Decimal]:
    """(spend, units) weights of an order: 2 ** (time since the landmark / half-life), 1 at the landmark.

    Args:
        sold_at: with a zone; whole seconds count.
    """
    return _weights((sold_at - LANDMARK) // _SECOND)


@lru_cache(maxsize=16_384)
def _weights(second: int) -> tuple[Decimal, Decimal]:
    spend = _EXACT.exp(_EXACT.divide(_EXACT.multiply(_LN2, Decimal(second)), _SPEND_HALF_LIFE_S))
    # Half the half-life is the square.
    return _KEPT.plus(spend), _KEPT.plus(_EXACT.multiply(spend, spend))
