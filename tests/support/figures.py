"""Figures in plain Python, from a set of items: what the dashboards must answer."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from services.rfm_worker.domain.facts import Cancellation, CustomerChange, Item, Return, Sale

ZERO = Decimal(0)
DAY = timedelta(days=1)
Part = tuple[Decimal, Decimal]
"""Net units and net amount."""


@dataclass(frozen=True)
class Order:
    """What a sale comes to after its returns and its cancellation; `customer` is None for nobody and the erased."""

    customer: str | None
    at: datetime
    day: date
    net: Decimal
    parts: Mapping[str, Part]


@dataclass
class Books:
    """A tenant's orders and customers as far as figures need them."""

    zone: str
    orders: list[Order]
    created: dict[str, datetime | None] = field(default_factory=dict)
    """Every customer that exists, and when his master data were made."""

    @classmethod
    def of(cls, items: Iterable[Item], zone: str, erased: Collection[str] = ()) -> "Books":
        """The books after these items. `erased`: people erased after all of their sales, without any since."""
        listed = list(items)
        sales, returns, voided = _first(listed, Sale), _first(listed, Return), _first(listed, Cancellation)
        books = cls(zone, [])
        for sale_id, sale in sales.items():
            back = [x for r in returns.values() if r.body.sale_id == sale_id for x in r.body.lines]
            code = sale.body.customer_code
            books.orders.append(_order(sale, back, sale_id in voided, zone, None if code in erased else code))
            if code is not None and code not in erased:
                books.created.setdefault(code, None)
        for item in listed:
            if isinstance(item, CustomerChange) and item.body is not None and item.customer_code not in erased:
                books.created[item.customer_code] = item.body.created_at
        return books

    def within(self, first: date, last: date) -> list[Order]:
        """Orders of some days, both included."""
        return [order for order in self.orders if first <= order.day <= last]

    def local(self, moment: datetime) -> date:
        """The tenant's date."""
        return moment.astimezone(ZoneInfo(self.zone)).date()


def _first(items: Iterable[Item], kind: type[Any]) -> dict[str, Any]:
    """By natural key, the one accepted first."""
    found: dict[str, Any] = {}
    for item in sorted((i for i in items if isinstance(i, kind)), key=lambda i: i.accepted):
        found.setdefault(item.body.return_id if kind is Return else item.body.sale_id, item)
    return found


def _order(sale: Sale, back: Sequence[Any], void: bool, zone: str, customer: str | None) -> Order:
    lines = sale.body.lines()
    units: dict[str, Decimal] = defaultdict(Decimal)
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for product, quantity, amount in zip(lines.products, lines.quantities, lines.amounts, strict=True):
        units[product] += quantity
        amounts[product] += amount
    net = max(ZERO, sum(amounts.values(), ZERO) - sum((x.amount for x in back), ZERO))
    for x in back:
        if x.product_key in units:
            units[x.product_key] -= x.quantity
            amounts[x.product_key] -= x.amount
    parts = {} if void else {key: (max(ZERO, units[key]), max(ZERO, amounts[key])) for key in units}
    at = sale.body.sold_at
    return Order(customer, at, at.astimezone(ZoneInfo(zone)).date(), ZERO if void else net, parts)


def _buyers(orders: Iterable[Order]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for order in orders:
        if order.net > 0 and order.customer is not None:
            counts[order.customer] += 1
    return counts


def overview(books: Books, first: date, last: date, reference: date, active_days: int) -> dict[str, Any]:
    """The figures of a period, with those of the period before."""
    length = (last - first).days + 1
    now = _figures(books, first, last)
    newest = {
        c: max(o.day for o in books.orders if o.customer == c and o.net > 0) for c in _buyers(books.orders)
    }  # fmt: skip
    if last >= reference:
        now["customers"]["total"] = len(books.created)
        now["customers"]["active"] = sum(day > reference - active_days * DAY for day in newest.values())
    else:
        now["customers"] |= _standing(books, last, active_days)
    then = _figures(books, first - length * DAY, first - DAY)
    then["customers"] |= _standing(books, min(reference, first - DAY), active_days)
    return {**now, "previous": then}


def _standing(books: Books, day: date, active_days: int) -> dict[str, int]:
    """Who existed and who was active at the end of a day."""
    return {
        "total": sum(_existed(books, code, day) for code in books.created),
        "active": len(_buyers(books.within(day - (active_days - 1) * DAY, day))),
    }


def _existed(books: Books, code: str, day: date) -> bool:
    known = [o.day for o in books.orders if o.customer == code and o.net > 0]
    created = books.created[code]
    dates = known + ([books.local(created)] if created else [])
    return not dates or min(dates) <= day


def _figures(books: Books, first: date, last: date) -> dict[str, Any]:
    orders = books.within(first, last)
    counting = [order for order in orders if order.net > 0]
    revenue = sum((order.net for order in counting), ZERO)
    buyers = _buyers(orders)
    began = {c: min(o.day for o in books.orders if o.customer == c and o.net > 0) for c in _buyers(books.orders)}
    return {
        "customers": {"new": sum(first <= day <= last for day in began.values())},
        "orders": len(counting),
        "revenue": revenue,
        "average_basket": (revenue / len(counting)).quantize(Decimal("0.0001")) if counting else None,
        "repeat_rate": round(sum(n >= 2 for n in buyers.values()) / len(buyers), 4) if buyers else None,
    }


def trend(books: Books, first: date, last: date, label: str) -> list[tuple[str, int, Decimal, Decimal, int]]:
    """(period, orders, units, revenue, customers) by `strftime(label)`, periods without sales included."""
    days = [first + n * DAY for n in range((last - first).days + 1)]
    points = []
    for name in dict.fromkeys(day.strftime(label) for day in days):
        orders = [order for order in books.within(first, last) if order.day.strftime(label) == name]
        units = sum((u for order in orders for u, _ in order.parts.values()), ZERO)
        revenue = sum((order.net for order in orders), ZERO)
        points.append((name, sum(order.net > 0 for order in orders), units, revenue, len(_buyers(orders))))
    return points


@dataclass
class Sold:
    """Of a product or family."""

    orders: int = 0
    units: Decimal = ZERO
    revenue: Decimal = ZERO
    customers: set[str] = field(default_factory=set)
    products: set[str] = field(default_factory=set)


def sold(orders: Iterable[Order], group: Mapping[str, str] | None = None) -> dict[str, Sold]:
    """By product, or by family where `group` names each product's."""
    found: dict[str, Sold] = defaultdict(Sold)
    for order in orders:
        for product, (units, amount) in order.parts.items():
            one = found[product if group is None else group.get(product, "unknown")]
            one.units += units
            one.revenue += amount
            if units > 0 or amount > 0:
                one.products.add(product)
            if order.net > 0 and units > 0:
                one.orders += 1
                one.customers |= {order.customer} if order.customer is not None else set()
    return {key: one for key, one in found.items() if one.units > 0 or one.revenue > 0}


def popularity(books: Books, product: str) -> float:
    """Units halved every 90 days, as a share of the largest."""
    weights: dict[str, float] = defaultdict(float)
    for order in books.orders:
        age = (order.at - datetime(2020, 1, 1, tzinfo=UTC)) / (90 * DAY)
        for key, (units, _) in order.parts.items():
            weights[key] += float(units) * 2.0**age
    return weights[product] / max(weights.values()) if weights[product] else 0.0
