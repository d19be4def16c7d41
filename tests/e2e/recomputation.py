"""The product's numbers computed again, in plain Python, straight from their definitions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

SEGMENT_OF = {
    code: segment
    for segment, codes in {
        "champions": "555 554 544 545 454 455 445",
        "loyal": "543 444 435 355 354 345 344 335",
        "potential_loyalist": "553 551 552 541 542 533 532 531 452 451 442 441 431 453 433 432 423 353 352 351 342 341 "
        "333 323",
        "new": "512 511 422 421 412 411 311",
        "promising": "525 524 523 522 521 515 514 513 425 424 413 414 415 315 314 313",
        "need_attention": "535 534 443 434 343 334 325 324",
        "about_to_sleep": "331 321 312 221 213 231 241 251",
        "at_risk": "255 254 245 244 253 252 243 242 235 234 225 224 153 152 145 143 142 135 134 133 125 124",
        "cannot_lose": "155 154 144 214 215 115 114 113",
        "hibernating": "332 322 233 232 223 222 132 123 122 212 211",
        "lost": "111 112 121 131 141 151",
    }.items()
    for code in codes.split()
}
HALF_LIFE_DAYS = 180


@dataclass
class Order:
    """A sale as sent (a body of POST /sales), with what was taken off it since."""

    sale: Mapping[str, Any]
    returns: list[Mapping[str, Any]] = field(default_factory=list)
    cancelled: bool = False

    @property
    def sold_at(self) -> datetime:
        return datetime.fromisoformat(self.sale["sold_at"])

    @property
    def net(self) -> Decimal:
        """0 when cancelled, else what was paid minus what was given back, never below 0."""
        if self.cancelled:
            return Decimal(0)
        back = sum((Decimal(line["amount"]) for each in self.returns for line in each["lines"]), Decimal(0))
        return max(Decimal(0), sum((_amount(line) for line in self.sale["lines"]), Decimal(0)) - back)

    def spent_on(self) -> dict[str, Decimal]:
        """Product -> net amount."""
        spent: dict[str, Decimal] = {}
        if self.cancelled:
            return spent
        for line in self.sale["lines"]:
            spent[line["product_key"]] = spent.get(line["product_key"], Decimal(0)) + _amount(line)
        for line in (line for each in self.returns for line in each["lines"]):
            if line["product_key"] in spent:
                spent[line["product_key"]] -= Decimal(line["amount"])
        return {product: max(Decimal(0), amount) for product, amount in spent.items()}


def _amount(line: Mapping[str, Any]) -> Decimal:
    return Decimal(line["quantity"]) * Decimal(line["unit_price"]) - Decimal(line.get("discount", 0))


@dataclass(frozen=True)
class Values:
    """Of one customer with at least one counting order."""

    recency_days: int
    frequency: int
    monetary: Decimal
    average_basket: Decimal
    order_days: Sequence[date]


@dataclass(frozen=True)
class Bounds:
    """Four per axis, and two terciles of the average basket."""

    recency_days: Sequence[Fraction]
    frequency: Sequence[Fraction]
    monetary: Sequence[Fraction]
    average_basket: Sequence[Fraction]


class Recomputation:
    """All numbers of a tenant, from its orders."""

    def __init__(
        self, orders: Iterable[Order], families: Mapping[str, str], *, zone: str, reference_date: date
    ) -> None:
        self._zone, self._families, self._reference = ZoneInfo(zone), families, reference_date
        self.orders: dict[str, list[Order]] = {}
        for order in orders:
            if order.sale.get("customer_code") is not None:
                self.orders.setdefault(order.sale["customer_code"], []).append(order)
        self.values = {
            code: self._values(counting)
            for code, mine in self.orders.items()
            if (counting := [order for order in mine if order.net > 0])
        }
        self.bounds = Bounds(
            quantiles([each.recency_days for each in self.values.values()], 5),
            quantiles([each.frequency for each in self.values.values()], 5),
            quantiles([each.monetary for each in self.values.values()], 5),
            quantiles([each.average_basket for each in self.values.values()], 3),
        )

    def _values(self, counting: Sequence[Order]) -> Values:
        days = sorted({order.sold_at.astimezone(self._zone).date() for order in counting})
        monetary = sum((order.net for order in counting), Decimal(0))
        basket = (monetary / len(counting)).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)
        return Values(max(0, (self._reference - days[-1]).days), len(counting), monetary, basket, days)

    def rfm(self, code: str) -> dict[str, Any]:
        """The `rfm` part of a customer, without moments."""
        if code not in self.values:
            empty = dict.fromkeys(("recency_days", "r", "f", "m", "rfm_code", "rfm_score"))
            return {**empty, "frequency": 0, "monetary": Decimal(0), "segment": "prospect"}
        mine = self.values[code]
        r = 5 - _below(self.bounds.recency_days, mine.recency_days)
        f = 1 + _below(self.bounds.frequency, mine.frequency)
        m = 1 + _below(self.bounds.monetary, mine.monetary)
        return {
            "recency_days": mine.recency_days,
            "frequency": mine.frequency,
            "monetary": mine.monetary,
            "r": r,
            "f": f,
            "m": m,
            "rfm_code": f"{r}{f}{m}",
            "rfm_score": r + f + m,
            "segment": SEGMENT_OF[f"{r}{f}{m}"],
        }

    def profile(self, code: str) -> dict[str, Any]:
        """The `profile` part of a customer with a counting order."""
        mine = self.values[code]
        prices = self._recent_prices(code)
        low, typical, high = quantiles(prices, 4)
        days = mine.order_days[-50:]
        gaps = [(later - earlier).days for earlier, later in pairwise(days)]
        interval = None if not gaps else median(gaps)
        expected = None
        if interval is not None:
            expected = (mine.order_days[-1] + timedelta(days=math.floor(interval + 0.5))).isoformat()
        return {
            "average_basket": mine.average_basket,
            "preferred_families": self._families_of(code),
            "band": ("low", "medium", "high")[_below(self.bounds.average_basket, mine.average_basket)],
            "prices": (low, typical, high),
            "usual_interval_days": interval,
            "next_order_expected_at": expected,
        }

    def _recent_prices(self, code: str) -> list[Decimal]:
        """Unit prices, once per unit, of the last 50 lines of counting orders."""
        counting = [order for order in self.orders[code] if order.net > 0]
        counting.sort(key=lambda order: (order.sold_at, order.sale["sale_id"].encode()), reverse=True)
        lines = [line for order in counting for line in reversed(order.sale["lines"])][:50]
        return [Decimal(line["unit_price"]) for line in lines for _ in range(max(1, round(Decimal(line["quantity"]))))]

    def _families_of(self, code: str) -> list[tuple[str, float]]:
        weights: dict[str, float] = {}
        for order in self.orders[code]:
            age = (order.sold_at.date() - date(2020, 1, 1)).days + order.sold_at.timestamp() % 86_400 / 86_400
            for product, amount in order.spent_on().items():
                family = self._families.get(product, "unknown")
                weights[family] = weights.get(family, 0.0) + float(amount) * 2 ** (age / HALF_LIFE_DAYS)
        total = sum(weights.values())
        best = sorted(
            ((family, weight) for family, weight in weights.items() if weight > 0), key=lambda w: (-w[1], w[0])
        )
        return [(family, weight / total) for family, weight in best[:3]]


def quantiles(values: Iterable[int | Decimal], parts: int) -> list[Fraction]:
    """The `parts - 1` quantiles by linear interpolation, exactly."""
    ordered = sorted(Fraction(value) for value in values)
    found = []
    for k in range(1, parts):
        place = Fraction((len(ordered) - 1) * k, parts)
        low = ordered[math.floor(place)]
        found.append(low + (ordered[math.ceil(place)] - low) * (place - math.floor(place)))
    return found


def _below(bounds: Sequence[Fraction], value: int | Decimal) -> int:
    return sum(bound < Fraction(value) for bound in bounds)
