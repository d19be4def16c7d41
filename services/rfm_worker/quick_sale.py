"""Reads the usual shape of `sale.recorded.v1` without building a model per line.

It accepts less than the model: a sale whose every value is plainly within the rules (short printable codes, decimal
text, an amount that fits). Everything else is `None` here and goes to the model, which alone decides what is valid.
A test holds the two against each other.
"""

import re
from datetime import datetime

import msgspec

from services.rfm_worker.domain.facts import Basket
from shared.events.fields import CURRENCIES, EARLIEST, LATEST, MOST_LINES
from shared.events.payloads import MOST_METADATA

_CODES = re.compile(r"(?:[!-?A-~]{1,64}\n)+")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_QUANTITIES = re.compile(r"(?:(?!0(?:\.0+)?,)(?:0|[1-9]\d{0,8})(?:\.\d{1,3})?,)+", re.ASCII)
_AMOUNTS = re.compile(r"(?:(?:0|[1-9]\d{0,8})(?:\.\d{1,4})?,)+", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_LONGEST_TEXT = 200
_CLEARLY_FITS = 0.0099
"""Below the model's 0.01 by more than binary fractions can err at 10 digits."""


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    product_key: str
    quantity: str
    unit_price: str
    amount: str
    discount: str = "0"
    label: str | None = None


class _Sale(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sale_id: str
    sold_at: str
    lines: list[_Line]
    customer_code: str | None = None
    channel: str = "store"
    currency: str | None = None
    metadata: dict[str, str] = {}


_decode = msgspec.json.Decoder(_Sale).decode


def read_quickly(value: bytes) -> Basket | None:
    """The sale; None where the model must have a look."""
    try:
        sale = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    sold_at = _moment(sale.sold_at)
    if sold_at is None or not _plain_head(sale) or not 1 <= len(sale.lines) <= MOST_LINES:
        return None
    return _basket(sale, sold_at)


def _moment(written: str) -> datetime | None:
    if not _MOMENT.fullmatch(written):
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return moment if EARLIEST <= moment < LATEST else None


def _plain_head(sale: _Sale) -> bool:
    codes = f"{sale.sale_id}\n{sale.customer_code}\n" if sale.customer_code is not None else f"{sale.sale_id}\n"
    return (
        codes.count("\n") == 1 + (sale.customer_code is not None)
        and _CODES.fullmatch(codes) is not None
        and _WORD.fullmatch(sale.channel) is not None
        and (sale.currency is None or sale.currency in CURRENCIES)
        and (not sale.metadata or _plain_metadata(sale.metadata))
    )


def _plain_metadata(metadata: dict[str, str]) -> bool:
    return len(metadata) <= MOST_METADATA and all(
        _WORD.fullmatch(key) and _plain_text(value) for key, value in metadata.items()
    )


def _plain_text(value: str) -> bool:
    return len(value) <= _LONGEST_TEXT and value.isprintable() and "@" not in value


def _basket(sale: _Sale, sold_at: datetime) -> Basket | None:
    lines = sale.lines
    products = [line.product_key for line in lines]
    quantities = [line.quantity for line in lines]
    prices = [line.unit_price for line in lines]
    discounts = [line.discount for line in lines]
    amounts = [line.amount for line in lines]
    labels = [line.label for line in lines]
    joined = "\n".join(products) + "\n"
    if not (
        joined.count("\n") == len(lines)
        and _CODES.fullmatch(joined)
        and _plain_numbers(_QUANTITIES, quantities)
        and _plain_numbers(_AMOUNTS, [*prices, *discounts, *amounts])
        and all(label is None or _plain_text(label) for label in labels)
    ):
        return None
    for quantity, price, discount, amount in zip(quantities, prices, discounts, amounts, strict=True):
        if abs(float(quantity) * float(price) - float(discount) - float(amount)) > _CLEARLY_FITS:
            return None
    return Basket(
        sale.sale_id, sale.customer_code, sold_at, sale.channel, sale.currency, products, labels, quantities, prices,
        discounts, amounts, sale.metadata,
    )  # fmt: skip


def _plain_numbers(pattern: re.Pattern[str], values: list[str]) -> bool:
    joined = ",".join(values) + ","
    return joined.count(",") == len(values) and pattern.fullmatch(joined) is not None
