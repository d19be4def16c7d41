"""The ledger and the worker's tables of one tenant as Polars frames."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import polars as pl

from services.rfm_worker.verification.snapshot import Snapshot, Types

MONEY, UNITS = pl.Decimal(38, 4), pl.Decimal(38, 3)
"""As they come. In all frames they are whole steps of the last place: 12.34 is 123,400 as money, and 12,340 units."""
TIME = pl.Datetime("us", "UTC")
_BETWEEN = "\x1f"
"""Stands between the product keys of a sale: codes are printable, so it is in none of them."""
_PIECES = {
    "mine": "tenant_id = $1 and ($2::text[] is null or customer_code = any($2))",
    "of_mine": "s.tenant_id = $1 and ($2::text[] is null or s.customer_code = any($2))",
    "us": "* 1000000)::int8",
    "epoch": "date '1970-01-01'",
}
"""What several queries share; $1 is the tenant, $2 the customers that are wanted or null for all."""

_QUERIES: Mapping[str, tuple[str, Types]] = {
    "sale": (
        "select sale_id, customer_code, (extract(epoch from sold_at) {us} as sold_at, day - {epoch} as day, gross, "
        "net, cancelled::int as cancelled, returned::int as returned, "
        "array_to_string(coalesce(effective_keys, product_keys), E'\\x1f') as line_key, "
        "array_to_string(quantities, ' ') as quantity, array_to_string(unit_prices, ' ') as unit_price, "
        "array_to_string(amounts, ' ') as line_amount from sale where {mine} and recorded",
        {
            "sold_at": pl.Int64, "day": pl.Int32, "gross": MONEY, "net": MONEY, "cancelled": pl.Int64,
            "returned": pl.Int64,
        },
    ),
    "back": (
        "select r.sale_id, rfm.effective_key(l.product_key, s.product_keys, s.effective_keys) as product_key, "
        "l.quantity, l.amount from sale_return r join sale s using (tenant_id, "
        "sale_id), unnest(r.product_keys, r.quantities, r.amounts) as l(product_key, quantity, amount) "
        "where {of_mine}",
        {"quantity": UNITS, "amount": MONEY},
    ),
    "cancellation": (
        "select c.sale_id from sale_cancellation c join sale s using (tenant_id, sale_id) where {of_mine}", {},
    ),
    "pseudonym": (
        "select pseudonym as customer_code from erasure where tenant_id = $1 and ($2::text[] is null or true)", {},
    ),
    "customer": (
        "select customer_code, master_version, frequency, monetary, (extract(epoch from first_order_at) {us} as "
        "first_order_at, (extract(epoch from last_order_at) {us} as last_order_at, last_order_day - {epoch} as "
        "last_order_day, r, f, m, segment from customer where {mine}",
        {
            "master_version": pl.Int64, "frequency": pl.Int64, "monetary": MONEY, "first_order_at": pl.Int64,
            "last_order_at": pl.Int64, "last_order_day": pl.Int32, "r": pl.Int64, "f": pl.Int64, "m": pl.Int64,
        },
    ),
    "customer_product": (
        "select customer_code, product_key, orders, units, amount, spend_weight as weight from customer_product "
        "where {mine}",
        {"orders": pl.Int64, "units": UNITS, "amount": MONEY, "weight": pl.Float64},
    ),
    "product": (
        "select product_key, family, orders, units, revenue as amount, units_weight as weight, customers from product "
        "where tenant_id = $1 and ($2::text[] is null or product_key in (select product_key from customer_product "
        "where {mine}))",
        {"orders": pl.Int64, "units": UNITS, "amount": MONEY, "weight": pl.Float64, "customers": pl.Int64},
    ),
    "day": (
        "select day - {epoch} as day, orders, units, revenue as amount, revision from day "
        "where tenant_id = $1 and $2::text[] is null",
        {"day": pl.Int32, "orders": pl.Int64, "units": UNITS, "amount": MONEY, "revision": pl.Int64},
    ),
    "history": (
        "select distinct on (customer_code) customer_code, segment as last_segment from segment_change "
        "where {mine} order by customer_code, id desc",
        {},
    ),
}  # fmt: skip
_OF_THE_LEDGER = ("sale", "back", "cancellation", "pseudonym")
_MOMENTS, _DAYS = ("sold_at", "first_order_at", "last_order_at"), ("day", "last_order_day")


@dataclass(frozen=True, slots=True)
class Ledger:
    """What everything is computed from. Money and units are in whole steps, times are UTC."""

    sale: pl.DataFrame
    """With its place `i` among the sales: the first row has 0."""
    line: pl.DataFrame
    """Of the sale at `i`, in the order of the sale: product_key, quantity, unit_price, amount."""
    back: pl.DataFrame
    cancellation: pl.DataFrame
    pseudonym: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Tables:
    """What the batches keep: one frame per table of a tenant."""

    customer: pl.DataFrame
    customer_product: pl.DataFrame
    product: pl.DataFrame
    day: pl.DataFrame
    history: pl.DataFrame
    """The segment of each customer's last change."""


async def load_ledger(seen: Snapshot, tenant_id: UUID, codes: Sequence[str] | None) -> Ledger:
    """Reads the ledger of a tenant.

    Args:
        codes: only the sales of these customers; None for all.
    """
    frames = await _load(seen, _OF_THE_LEDGER, tenant_id, codes)
    sale = frames.pop("sale").with_row_index("i")
    packed = ["line_key", "quantity", "unit_price", "line_amount"]
    return Ledger(sale=sale.drop(packed), line=await asyncio.to_thread(_lines, sale, seen.code), **frames)


async def load_tables(seen: Snapshot, tenant_id: UUID, codes: Sequence[str] | None) -> Tables:
    """Reads what the batches keep of a tenant.

    Args:
        codes: only what concerns these customers (then without days, and with the products that they bought); None
            for everything.
    """
    return Tables(**await _load(seen, [name for name in _QUERIES if name not in _OF_THE_LEDGER], tenant_id, codes))


async def _load(
    seen: Snapshot, names: Sequence[str], tenant_id: UUID, codes: Sequence[str] | None
) -> dict[str, pl.DataFrame]:
    wanted = list(codes) if codes is not None else None
    read = (seen.frame(_QUERIES[name][0].format(**_PIECES), _QUERIES[name][1], tenant_id, wanted) for name in names)
    return dict(zip(names, map(_timed, await asyncio.gather(*read)), strict=True))


def _timed(frame: pl.DataFrame) -> pl.DataFrame:
    moments = [pl.from_epoch(name, "us").dt.replace_time_zone("UTC") for name in _MOMENTS if name in frame.columns]
    days = [pl.col(name).cast(pl.Date) for name in _DAYS if name in frame.columns]
    return in_steps(frame.with_columns(*moments, *days))


def in_steps(frame: pl.DataFrame) -> pl.DataFrame:
    """Decimals as whole steps of their last place: of 64 bits, which is twice as quick, where any sum of them fits."""
    decimals = [column.to_physical() for column in frame.get_columns() if column.dtype.is_decimal()]
    return frame.with_columns(
        column.cast(pl.Int64) if (column.abs().sum() or 0) < 2**63 else column for column in decimals
    )


def _lines(sale: pl.DataFrame, code: pl.Categorical) -> pl.DataFrame:
    line = (
        sale.select(
            "i", product_key=pl.col("line_key").str.split(_BETWEEN), quantity=pl.col("quantity").str.split(" "),
            unit_price=pl.col("unit_price").str.split(" "), amount=pl.col("line_amount").str.split(" "),
        )
        .explode("product_key", "quantity", "unit_price", "amount")
        .with_columns(
            pl.col("i").set_sorted(), pl.col("product_key").cast(code), pl.col("quantity").cast(UNITS),
            pl.col("unit_price", "amount").cast(MONEY),
        )
    )  # fmt: skip
    return in_steps(line)
