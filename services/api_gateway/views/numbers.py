"""How numbers look in JSON: amounts as decimal strings, counts and days as numbers."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, PlainSerializer

_CENT = Decimal("0.01")
_ONE = Decimal(1)


def money(value: Decimal) -> str:
    """An amount as a decimal string: nothing lost, at least two decimals, and plain "0" for nothing."""
    if value == 0:
        return "0"
    trimmed = value.normalize()
    exponent = trimmed.as_tuple().exponent
    return format(trimmed.quantize(_CENT) if isinstance(exponent, int) and exponent > -2 else trimmed, "f")


def quantity(value: Decimal) -> str:
    """A quantity as a decimal string without needless zeros."""
    trimmed = value.normalize()
    exponent = trimmed.as_tuple().exponent
    return format(trimmed.quantize(_ONE) if isinstance(exponent, int) and exponent > 0 else trimmed, "f")


def number(value: Decimal) -> int | float:
    """A count or a number of days: an integer when it is whole."""
    return int(value) if value == value.to_integral_value() else float(value)


Amount = Annotated[
    Decimal, PlainSerializer(money, return_type=str), Field(description="decimal string", examples=["431.20"])
]
Quantity = Annotated[
    Decimal, PlainSerializer(quantity, return_type=str), Field(description="decimal string", examples=["2"])
]
Number = Annotated[Decimal, PlainSerializer(number, return_type=int | float), Field(examples=[21])]
