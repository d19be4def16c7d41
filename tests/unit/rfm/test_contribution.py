"""What an order contributes."""

from decimal import Decimal

from services.rfm_worker.domain.contribution import NOTHING, Lines, Part, contribution

SOLD = Lines(
    ["milk", "bread", "milk"],
    [Decimal(2), Decimal(1), Decimal(1)],
    [Decimal("3.00"), Decimal("2.50"), Decimal("1.50")],
)


def back(product: str, quantity: str, amount: str) -> Lines:
    return Lines([product], [Decimal(quantity)], [Decimal(amount)])


def test_a_sale_contributes_the_sum_of_its_lines_and_merges_lines_of_one_product() -> None:
    given = contribution(SOLD, [], cancelled=False)
    assert given.net == Decimal("7.00")
    assert given.parts == {"milk": Part(Decimal(3), Decimal("4.50")), "bread": Part(Decimal(1), Decimal("2.50"))}
    assert given.units == 4
    assert given.counts


def test_returns_take_quantities_and_amounts_off() -> None:
    given = contribution(SOLD, [back("milk", "1", "1.50"), back("milk", "0.5", "0.75")], cancelled=False)
    assert given.net == Decimal("4.75")
    assert given.parts["milk"] == Part(Decimal("1.5"), Decimal("2.25"))


def test_nothing_falls_below_zero() -> None:
    given = contribution(SOLD, [back("bread", "9", "4.00")], cancelled=False)
    assert given.net == Decimal("3.00")
    assert given.parts["bread"] == Part(Decimal(0), Decimal(0))
    assert contribution(SOLD, [back("milk", "1", "99")], cancelled=False).net == 0


def test_a_return_of_something_not_sold_lowers_the_order_but_no_product() -> None:
    given = contribution(SOLD, [back("cheese", "1", "1.00")], cancelled=False)
    assert given.net == Decimal("6.00")
    assert set(given.parts) == {"milk", "bread"}


def test_a_cancelled_order_and_one_without_its_sale_contribute_nothing() -> None:
    assert contribution(SOLD, [], cancelled=True) == NOTHING
    assert contribution(None, [back("milk", "1", "1")], cancelled=False) == NOTHING


def test_an_order_given_away_does_not_count_but_its_units_do() -> None:
    given = contribution(Lines(["sample"], [Decimal(1)], [Decimal(0)]), [], cancelled=False)
    assert not given.counts
    assert given.units == 1
