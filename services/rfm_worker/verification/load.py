"""The ledger and the worker's tables as Polars frames, read in one snapshot through COPY."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import polars as pl

from services.rfm_worker.repository.raw import Raw

MONEY, UNITS = pl.Decimal(38, 4), pl.Decimal(38, 3)
_TIME = pl.Datetime("us", "UTC")
_QUERIES: Mapping[str, tuple[str, dict[str, pl.DataType | type[pl.DataType]]]] = {
    "sale": (
        "select tenant_id, sale_id, customer_code, to_char(sold_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') "
        "as sold_at, day, gross, net, cancelled::int as cancelled, returned::int as returned from sale {where} "
        "and recorded",
        {"sold_at": _TIME, "day": pl.Date, "gross": MONEY, "net": MONEY},
    ),
    "line": (
        "select s.tenant_id, s.sale_id, l.n, l.product_key, l.quantity, l.unit_price, l.amount from sale s, "
        "unnest(coalesce(s.effective_keys, s.product_keys), s.quantities, s.unit_prices, s.amounts) with ordinality "
        "as l(product_key, quantity, unit_price, amount, n) {where_s} and s.recorded",
        {"n": pl.Int64, "quantity": UNITS, "unit_price": MONEY, "amount": MONEY},
    ),
    "back": (
        "select s.tenant_id, s.sale_id, rfm.effective_key(l.product_key, sold.product_keys, sold.effective_keys) "
        "as product_key, l.quantity, l.amount from sale_return s "
        "join sale sold on sold.tenant_id = s.tenant_id and sold.sale_id = s.sale_id, "
        "unnest(s.product_keys, s.quantities, s.amounts) as l(product_key, quantity, amount) {where_s}",
        {"quantity": UNITS, "amount": MONEY},
    ),
    "cancellation": ("select tenant_id, sale_id from sale_cancellation {where}", {}),
    "pseudonym": ("select tenant_id, pseudonym as customer_code from erasure {where}", {}),
    "customer": (
        "select tenant_id, customer_code, master_version, frequency, monetary, "
        "to_char(first_order_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') as first_order_at, "
        "to_char(last_order_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') as last_order_at, "
        "last_order_day, r, f, m, segment from customer {where}",
        {
            "master_version": pl.Int64, "frequency": pl.Int64, "monetary": MONEY, "first_order_at": _TIME,
            "last_order_at": _TIME, "last_order_day": pl.Date, "r": pl.Int64, "f": pl.Int64, "m": pl.Int64,
        },
    ),
    "customer_product": (
        "select tenant_id, customer_code, product_key, orders, units, amount, spend_weight::float8 as weight, "
        "(spend_weight = 0)::int as weightless from customer_product {where}",
        {"orders": pl.Int64, "units": UNITS, "amount": MONEY, "weight": pl.Float64},
    ),
    "product": (
        "select tenant_id, product_key, master_version, family, orders, units, revenue as amount, "
        "units_weight::float8 as weight from product {where}",
        {
            "master_version": pl.Int64, "orders": pl.Int64, "units": UNITS, "amount": MONEY, "weight": pl.Float64,
        },
    ),
    "day": (
        "select tenant_id, day, orders, units, revenue as amount from day {where}",
        {"day": pl.Date, "orders": pl.Int64, "units": UNITS, "amount": MONEY},
    ),
    "history": (
        "select distinct on (tenant_id, customer_code) tenant_id, customer_code, segment as last_segment "
        "from segment_change {where} order by tenant_id, customer_code, id desc",
        {},
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tables:
    """One frame per table; tenant ids are text, money has 4 decimals, units 3, times are UTC."""

    frames: Mapping[str, pl.DataFrame]

    def __getitem__(self, name: str) -> pl.DataFrame:
        return self.frames[name]

    def of(self, tenant_id: UUID) -> "Tables":
        """The tables of one tenant."""
        mine = pl.col("tenant_id") == str(tenant_id)
        return Tables({name: frame.filter(mine) for name, frame in self.frames.items()})


async def load_tables(raw: Raw, tenant_id: UUID | None) -> Tables:
    """Reads every table, of one tenant or of all."""
    return Tables({name: await _read(raw, name, tenant_id) for name in _QUERIES})


async def _read(raw: Raw, name: str, tenant_id: UUID | None) -> pl.DataFrame:
    query, types = _QUERIES[name]
    where = {
        key: f"where {alias}tenant_id = '{tenant_id}'" if tenant_id else "where true"
        for key, alias in (("where", ""), ("where_s", "s."))
    }
    buffer = io.BytesIO()
    await raw.copy_from_query(query.format(**where), output=buffer, format="csv", header=True)
    buffer.seek(0)
    frame = pl.read_csv(buffer, infer_schema=False)
    return frame.with_columns(_typed(column, type_) for column, type_ in types.items())


def _typed(column: str, type_: pl.DataType | type[pl.DataType]) -> pl.Expr:
    if type_ == _TIME:
        return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S%.6f", time_unit="us", time_zone="UTC")
    if type_ == pl.Date:
        return pl.col(column).str.to_date("%Y-%m-%d")
    return pl.col(column).cast(type_)
