"""What one order adds to every sum: its net amount, and net units and amount per product."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a sale or of a return, as parallel sequences."""

    products: Sequence[str]
    quantities: Sequence[Decimal]
    amounts: Sequence[Decimal]


@dataclass(frozen=True, slots=True)
class Part:
    """What an order contributes to one product: net units and net amount, neither below 0."""

    units: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Contribution:
    """What an order contributes. Money and units are never below 0; a cancelled order contributes nothing."""

    net: Decimal = ZERO
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether it is a counting order."""
        return self.net > 0

    @property
    def units(self) -> Decimal:
        """Net units of all products."""
        return sum((part.units for part in self.parts.values()), ZERO)


NOTHING = Contribution()


def contribution(
    sold: Lines | None, returned: Iterable[Lines], cancelled: bool, mapped: Mapping[str, str] | None = None
) -> Contribution:
    """The contribution of an order.

    Args:
        sold: the sale's lines; None while the sale has not arrived.
        returned: the lines of each of its returns.
        cancelled: whether it was cancelled.
        mapped: keys that the sale was sent with and the products that they stand for; other keys stand for themselves.
            Lines of one product count once, whatever keys they were sent with.
    """
    if mapped:
        sold = sold and _renamed(sold, mapped)
        returned = [_renamed(lines, mapped) for lines in returned]
    if sold is None or cancelled:
        return NOTHING
    net = sum(sold.amounts, ZERO)
    units, amounts = per_product(sold)
    for back in returned:
        net -= sum(back.amounts, ZERO)
        for product, quantity, amount in zip(back.products, back.quantities, back.amounts, strict=True):
            if product in units:
                units[product] -= quantity
                amounts[product] -= amount
    return Contribution(max(ZERO, net), {key: Part(max(ZERO, units[key]), max(ZERO, amounts[key])) for key in units})


def _renamed(lines: Lines, mapped: Mapping[str, str]) -> Lines:
    return replace(lines, products=[mapped.get(product, product) for product in lines.products])


def per_product(lines: Lines) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Units and amounts per product: a product may stand on several lines of one sale."""
    units: dict[str, Decimal] = {}
    amounts: dict[str, Decimal] = {}
    for product, quantity, amount in zip(lines.products, lines.quantities, lines.amounts, strict=True):
        units[product] = units.get(product, ZERO) + quantity
        amounts[product] = amounts.get(product, ZERO) + amount
    return units, amounts
