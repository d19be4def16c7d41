"""The quick way for sales: what is plainly within the rules is written as the REST route would write it, by columns.

It accepts less than the model does; a test holds the two against each other, byte for byte.
"""

import polars as pl

from services.api_gateway.importer.documents import SALE
from services.api_gateway.importer.records import Context
from shared.messaging.record import Message

PLAIN, LINE, LINES = "__plain", "__line", "__lines"
_CODE = r"^[!#-?A-\[\]-~]{1,64}$"
"""Printable ASCII without blanks, quotation mark, backslash and @."""
_TEXT = r'^[^"\\@\p{C}\p{Zl}\p{Zp}]{0,200}$'
_WORD = r"^[A-Za-z0-9_.-]{1,64}$"
_QUANTITY = r"^(0|[1-9]\d{0,5})(\.\d{1,3})?$"
_MONEY = r"^(0|[1-9]\d{0,4})(\.\d{1,4})?$"
_AMOUNT = r"^(0|[1-9]\d{0,8})(\.\d{1,4})?$"
_MOMENT = r"^(19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
_STEPS, _UNITS = 10_000, 1_000
"""Money is counted in steps of 0.0001, quantities in units of 0.001, and their products in 0.0000001."""
_CENT = 100 * _UNITS
_LARGEST_DUE = 10**9 * _STEPS * _UNITS


def priced(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with an amount and no price get the least price that reaches it; what that adds is the discount."""
    amount, quantity = _whole("amount", _STEPS), _whole("quantity", _UNITS)
    lacking = (
        pl.col("unit_price").is_null()
        & pl.col("discount").is_null()
        & pl.col("amount").str.contains(_AMOUNT)
        & pl.col("quantity").str.contains(_QUANTITY)
        & (quantity > 0)
    )
    price = (amount * _UNITS + quantity - 1) // quantity
    left = (price * quantity - amount * _UNITS) // _UNITS
    return frame.with_columns(
        pl.when(lacking).then(_money(price)).otherwise("unit_price").alias("unit_price"),
        pl.when(lacking).then(_money(left)).otherwise("discount").alias("discount"),
    )


def judged(frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    """The rows with `PLAIN`, and the JSON of their line in `LINE`."""
    # An absent amount is computed as the model does it: exactly, rounded half to even.
    due = _whole("quantity", _UNITS) * _whole("unit_price", _STEPS) - _whole("discount", _STEPS) * _UNITS
    frame = frame.with_columns(discount=pl.col("discount").fill_null("0")).with_columns(__due=due)
    amount = pl.coalesce(pl.col("amount"), _money(_half_even(pl.col("__due"))))
    return frame.with_columns(_is_plain(context).fill_null(value=False).alias(PLAIN), _line(amount).alias(LINE)).drop(
        "__due"
    )


def write(sales: pl.DataFrame, context: Context) -> list[Message]:
    """The events of plain sales, each a row with its head and the JSON of its lines."""
    payload = pl.concat_str(
        pl.lit('{"sale_id":"'), "sale_id", pl.lit('",'), _optional("customer_code"), pl.lit('"sold_at":"'), "sold_at",
        pl.lit('","channel":"'), pl.col("channel").fill_null(context.channel), pl.lit('",'),
        _optional("currency", context.default_currency), pl.lit('"lines":['), LINES, pl.lit('],"metadata":{}}'),
    )  # fmt: skip
    routed = pl.coalesce("customer_code", "sale_id")
    written = sales.select("sale_id", routed.alias("routed"), payload.alias("payload"))
    return [
        context.event(SALE.event_type, sale_id, routed_by, text.encode())
        for sale_id, routed_by, text in written.iter_rows()
    ]


def _optional(name: str, default: str | None = None) -> pl.Expr:
    """A member of a JSON object with its comma, or nothing."""
    value = pl.col(name).fill_null(pl.lit(default, pl.String))
    return pl.when(value.is_null()).then(pl.lit("")).otherwise(pl.format(f'"{name}":"{{}}",', value))


def _is_plain(context: Context) -> pl.Expr:
    due = pl.col("__due")
    fits = pl.when(pl.col("amount").is_null()).then(due.is_between(0, _LARGEST_DUE)).otherwise(
        (due - _whole("amount", _STEPS) * _UNITS).abs() <= _CENT
    )  # fmt: skip
    return pl.all_horizontal(
        pl.col("sale_id").str.contains(_CODE),
        pl.col("customer_code").is_null() | pl.col("customer_code").str.contains(_CODE),
        pl.col("sold_at").str.contains(_MOMENT),
        pl.col("channel").fill_null(context.channel).str.contains(_WORD),
        pl.coalesce("currency", pl.lit(context.default_currency, pl.String)).eq_missing(context.currency)
        | (pl.col("currency").is_null() & (context.default_currency is None)),
        pl.col("product_key").str.contains(_CODE),
        pl.col("label").is_null() | pl.col("label").str.contains(_TEXT),
        pl.col("quantity").str.contains(_QUANTITY) & (_whole("quantity", _UNITS) > 0),
        pl.col("unit_price").str.contains(_MONEY),
        pl.col("discount").str.contains(_AMOUNT),
        pl.col("amount").is_null() | pl.col("amount").str.contains(_AMOUNT),
        fits,
    )


def _line(amount: pl.Expr) -> pl.Expr:
    return pl.concat_str(
        pl.lit("{"), _optional("label"), pl.lit('"product_key":"'), "product_key", pl.lit('","quantity":"'), "quantity",
        pl.lit('","unit_price":"'), "unit_price", pl.lit('","discount":"'), "discount", pl.lit('","amount":"'), amount,
        pl.lit('"}'),
    )  # fmt: skip


def _whole(column: str, steps: int) -> pl.Expr:
    """A decimal number as a whole number of steps; exact up to 13 digits, null for what is no number."""
    return (pl.col(column).cast(pl.Float64, strict=False) * steps).round().cast(pl.Int64, strict=False)


def _money(steps: pl.Expr) -> pl.Expr:
    return pl.format("{}.{}", steps // _STEPS, (steps % _STEPS).cast(pl.String).str.pad_start(4, "0"))


def _half_even(product: pl.Expr) -> pl.Expr:
    quotient, rest = product // _UNITS, product % _UNITS
    half = _UNITS // 2
    up = (rest > half) | ((rest == half) & (quotient % 2 == 1))
    return quotient + up.cast(pl.Int64)
