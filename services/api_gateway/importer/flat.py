"""Rows of a table, one per line of a sale or return, put together into records; their order is of no account.

Numbers and moments are read column by column. A record all of whose values are plainly within the rules is written
straight away (`plain_sales`); every other one goes to the model, which alone decides what is valid.
"""

from collections.abc import Sequence

import polars as pl

from services.api_gateway.importer import plain_sales
from services.api_gateway.importer.documents import SALE, Shape, body_of, check
from services.api_gateway.importer.plain_sales import PLAIN
from services.api_gateway.importer.records import Context, Made, refusal
from services.api_gateway.importer.sources import ROW, Reject
from services.api_gateway.importer.spill import MOST_ROWS_PER_KEY, too_many
from services.api_gateway.importer.values import moments, number, why_no_moment

_ORDER = "__order"
_RAW_MOMENT = "__moment"
_SEPARATOR = "\x1f"


def from_rows(frame: pl.DataFrame, shape: Shape, context: Context) -> Made:
    """The records of rows that hold all rows of each."""
    rows = _read(frame, shape, context)
    grouped = _group(rows, shape)
    good = _consistent(grouped, shape)
    made = Made()
    plain = good.filter(PLAIN)
    if shape is SALE and plain.height:
        made.messages += plain_sales.write(plain, context)
    left = grouped.join(plain.select(shape.key), on=shape.key, how="anti") if plain.height else grouped
    if left.height:
        _one_by_one(
            rows.join(left.select(shape.key), on=shape.key, how="semi", maintain_order="left"), shape, context, made
        )
    made.messages.sort(key=lambda message: (message.key, message.value))
    made.records = len(made.messages)
    return made


def _read(frame: pl.DataFrame, shape: Shape, context: Context) -> pl.DataFrame:
    """Every field as a column, values in the form of the REST API, lines in an order that the file's cannot change."""
    absent = [pl.lit(None, pl.String).alias(name) for name in shape.fields if name not in frame.columns]
    frame = frame.with_columns(absent).with_columns(
        *(number(name, context.notation.decimal) for name in shape.numbers),
        pl.col(shape.moment).alias(_RAW_MOMENT),
    )
    frame = moments(frame, shape.moment, context.notation)
    if shape is SALE:
        frame = plain_sales.priced(frame)
    order = pl.concat_str([pl.col(name).fill_null("") for name in shape.line], separator=_SEPARATOR)
    frame = frame.with_columns(order.alias(_ORDER)).sort(shape.key, _ORDER, ROW)
    return plain_sales.judged(frame, context) if shape is SALE else frame.with_columns(pl.lit(False).alias(PLAIN))


def _group(rows: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """One row per record: lowest and highest of what its rows should share, their number, whether all are plain."""
    shared = [name for name in shape.head if name != shape.key]
    aggregates = [
        pl.len().alias("rows"),
        pl.col(PLAIN).all(),
        *(pl.col(name).min().alias(name) for name in shared),
        *(pl.col(name).max().alias(f"{name} most") for name in shared),
    ]
    if shape is SALE:
        aggregates.append(pl.col(plain_sales.LINE).str.join(",").alias(plain_sales.LINES))
    return rows.group_by(shape.key, maintain_order=True).agg(aggregates)


def _consistent(grouped: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """Records whose rows agree, of a size that a record may have."""
    shared = [name for name in shape.head if name != shape.key]
    agree = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} most")) for name in shared)
    return grouped.filter(agree & (pl.col("rows") <= MOST_ROWS_PER_KEY))


def _one_by_one(rows: pl.DataFrame, shape: Shape, context: Context, made: Made) -> None:
    defaults = {"channel": context.channel, "currency": context.default_currency}
    for record in rows.partition_by(shape.key, maintain_order=True):
        numbers = record[ROW].to_list()
        against = _against(record, shape, context)
        if against:
            made.refuse(refusal(numbers, against))
            continue
        head = {name: _shared(record[name]) or defaults.get(name) for name in shape.head}
        message = check(body_of(shape, head, record.select(shape.line).to_dicts()), numbers, shape, context, made)
        if message is not None:
            made.messages.append(message)


def _against(record: pl.DataFrame, shape: Shape, context: Context) -> list[Reject]:
    """What the model cannot see: too many rows, rows that do not agree, moments that could not be read."""
    if record.height > MOST_ROWS_PER_KEY:
        return [Reject(row, shape.key, too_many()) for row in record[ROW]]
    unread = record.filter(pl.col(shape.moment).is_null() & pl.col(_RAW_MOMENT).is_not_null())
    if unread.height:
        return [Reject(row, shape.moment, why_no_moment(context.notation)) for row in unread[ROW]]
    for name in shape.head:
        if record[name].drop_nulls().n_unique() > 1:
            return [Reject(row, name, f"differs between rows with the same {shape.key}") for row in record[ROW]]
    return []


def _shared(values: pl.Series) -> str | None:
    said: Sequence[str] = values.drop_nulls().head(1).to_list()
    return said[0] if said else None
