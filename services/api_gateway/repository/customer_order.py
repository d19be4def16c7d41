"""Orders of customer lists, nearly all with an index of their own, and where a page begins in them.

A page begins behind the values of the last customer of the page before, ties by code. Customers without a value come
before all others, and after them from the top.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Row

Sort = Literal[
    "code", "-code", "segment", "-segment", "rfm_code", "-rfm_code", "monetary", "-monetary", "frequency", "-frequency",
    "average_basket", "-average_basket", "last_order_at", "-last_order_at", "next_order_expected_at",
    "-next_order_expected_at",
]  # fmt: skip
RFM_CODE = "coalesce(100 * c.r + 10 * c.f + c.m, 0)"
"""The three scores as one number; 0 without."""
_CODE = "c.customer_code"
_SQL_TYPES: Mapping[type[Any], str] = {
    str: "text", int: "bigint", Decimal: "numeric", datetime: "timestamptz", date: "date",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Value:
    """What a list is ordered by. `optional`: some customers have none."""

    column: str
    type: type[Any]
    optional: bool = False


_VALUES: Mapping[str, _Value] = {
    "segment": _Value("c.segment", str),
    # Without an index, which every sale would pay for twice: sorting 100,000 codes takes some 20 ms.
    "rfm_code": _Value(RFM_CODE, int),
    "monetary": _Value("c.monetary", Decimal),
    "frequency": _Value("c.frequency", int),
    "average_basket": _Value("c.average_basket", Decimal, optional=True),
    "last_order_at": _Value("c.last_order_at", datetime, optional=True),
    "next_order_expected_at": _Value("h.next_order_expected_at", date, optional=True),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a list that one index scan reads in order.

    Attributes:
        value: expression that is sorted by; a statement calls it `sort_value` where it has been read.
        conditions, parameters: what belongs to the stretch, behind the cursor.
        order, outer_order: the order of rows, and of rows that have a `sort_value`.
    """

    value: str
    conditions: Sequence[str]
    parameters: Mapping[str, Any]
    order: str
    outer_order: str


def sort_types(sort: Sort) -> tuple[type[Any], ...]:
    """Types of the values that a cursor of this order holds."""
    name = sort.removeprefix("-")
    return (str,) if name == "code" else (_VALUES[name].type, str)


def sort_values(sort: Sort, row: Row[Any]) -> tuple[Any, ...]:
    """The values of the order's key in one row of a list."""
    name = sort.removeprefix("-")
    return (row.customer_code,) if name == "code" else (row.sort_value, row.customer_code)


def by_rhythm(sort: Sort) -> bool:
    """Whether the order is one of expected dates, which stand in a table of their own."""
    return sort.endswith("next_order_expected_at")


def parts(sort: Sort, after: Sequence[Any] | None) -> Iterator[Part]:
    """The stretches to read one after another until there are enough rows.

    Args:
        after: values of a cursor; None begins at the beginning.
    """
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    direction, beyond = ("desc", "<") if descending else ("asc", ">")
    if name == "code":
        conditions = [] if after is None else [f"{_CODE} {beyond} :after_code"]
        order = f"{_CODE} {direction}"
        yield Part(_CODE, conditions, {} if after is None else {"after_code": after[0]}, order, order)
        return
    value = _VALUES[name]
    order, outer = (f"{column} {direction}, {_CODE} {direction}" for column in (value.column, "k.sort_value"))
    for number, without in enumerate(_stretches(value, descending, after)):
        conditions, parameters = ([], {}) if after is None or number > 0 else _behind(value, without, beyond, after)
        if value.optional:
            conditions.append(f"{value.column} is {'null' if without else 'not null'}")
        yield Part(value.column, conditions, parameters, order, outer)


def _stretches(value: _Value, descending: bool, after: Sequence[Any] | None) -> Sequence[bool]:
    """Whether each stretch is the one of customers without a value, from the cursor on."""
    if not value.optional:
        return [False]
    stretches = [False, True] if descending else [True, False]
    return stretches if after is None else stretches[stretches.index(after[0] is None) :]


def _behind(value: _Value, without: bool, beyond: str, after: Sequence[Any]) -> tuple[list[str], dict[str, Any]]:
    """The condition of being behind a cursor, with its parameters."""
    if without:
        return [f"{_CODE} {beyond} :after_code"], {"after_code": after[1]}
    marker = f"cast(:after_value as {_SQL_TYPES[value.type]})"
    condition = f"({value.column}, {_CODE}) {beyond} ({marker}, :after_code)"
    return [condition], {"after_value": after[0], "after_code": after[1]}
