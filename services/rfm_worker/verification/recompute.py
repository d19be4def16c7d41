"""What the tables of one tenant should hold, computed from its ledger alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from services.rfm_worker.verification.load import Ledger

LANDMARK_S = 1_577_836_800
"""2020-01-01T00:00Z in seconds since 1970."""
SUMS = tuple(pl.col(name).sum() for name in ("orders", "units", "amount"))


@dataclass(frozen=True, slots=True)
class Expected:
    """Frames with the same columns as the tables that they are compared with; `i` is the place of a sale."""

    sale: pl.DataFrame
    customer: pl.DataFrame
    customer_product: pl.DataFrame
    product: pl.DataFrame
    day: pl.DataFrame
    part: pl.DataFrame
    """What each order comes to per product: `i`, product_key, day, orders, units, amount."""


def recompute(ledger: Ledger, timezone: str) -> Expected:
    """Everything that is summed from contributions, for a tenant with this time zone."""
    sale = _sales(ledger, timezone)
    part = _parts(ledger, sale)
    return Expected(sale, _customers(sale), _customer_products(part), _products(part), _days(sale, part), part)


def _sales(ledger: Ledger, timezone: str) -> pl.DataFrame:
    sold = ledger.line.group_by("i").agg(pl.col("amount").sum().alias("gross"), lines=pl.len())
    back = ledger.back.group_by("sale_id").agg(pl.col("amount").sum().alias("back"))
    cancelled = ledger.cancellation.with_columns(pl.lit(1, pl.Int64).alias("cancelled"))
    erased = ledger.pseudonym.with_columns(pl.lit(True).alias("erased"))
    seconds = pl.col("sold_at").dt.epoch("us").floordiv(1_000_000) - LANDMARK_S
    return (
        ledger.sale.select("i", "sale_id", "customer_code", "sold_at")
        .join(sold, on="i", how="left", maintain_order="left")
        .join(back, on="sale_id", how="left", maintain_order="left")
        .join(cancelled, on="sale_id", how="left", maintain_order="left")
        .join(erased, on="customer_code", how="left", maintain_order="left")
        .with_columns(
            pl.col("cancelled").fill_null(0),
            pl.col("back").is_not_null().cast(pl.Int64).alias("returned"),
            pl.when(pl.col("erased").is_null()).then("customer_code").alias("counted"),
            pl.col("sold_at").dt.convert_time_zone(timezone).dt.date().alias("day"),
            pl.lit(2.0).pow(seconds / (180 * 86_400)).alias("spend_factor"),
            pl.lit(2.0).pow(seconds / (90 * 86_400)).alias("units_factor"),
        )
        .with_columns(_left("gross", "back").alias("net"))
        .with_columns((pl.col("net") > 0).cast(pl.Int64).alias("counts"))
    )  # fmt: skip


def _parts(ledger: Ledger, sale: pl.DataFrame) -> pl.DataFrame:
    """Net units and amount per order and product."""
    back = (
        ledger.back.join(sale.select("sale_id", "i"), on="sale_id")
        .group_by("i", "product_key")
        .agg(pl.col("quantity").sum().alias("units_back"), pl.col("amount").sum().alias("back"))
    )

    of_order = ("counted", "day", "counts", "cancelled", "spend_factor", "units_factor")
    sold = _once(ledger.line.select("i", "product_key", "amount", units="quantity"))
    sold = sold.join(back, on=["i", "product_key"], how="left")
    return (
        sold.hstack(sale.select(of_order)[sold["i"]])
        .with_columns(
            _left("units", "units_back").alias("units"),
            _left("amount", "back").alias("amount"),
        )
        .with_columns((pl.col("counts") * (pl.col("units") > 0).cast(pl.Int64)).alias("orders"))
    )


def _left(sold: str, returned: str) -> pl.Expr:
    """What is left of what was sold: nothing if more came back, or if it was cancelled."""
    left = (pl.col(sold) - pl.col(returned).fill_null(0)).clip(lower_bound=0)
    return pl.when(pl.col("cancelled") == 1).then(0).otherwise(left)


def _customers(sale: pl.DataFrame) -> pl.DataFrame:
    counting = pl.col("counts") == 1
    return (
        sale.filter(pl.col("counted").is_not_null())
        .group_by(pl.col("counted").alias("customer_code"))
        .agg(
            pl.col("counts").sum().alias("frequency"), pl.col("net").sum().alias("monetary"),
            pl.col("sold_at").filter(counting).min().alias("first_order_at"),
            pl.col("sold_at").filter(counting).max().alias("last_order_at"),
            pl.col("day").filter(counting).sort_by(pl.col("sold_at").filter(counting)).last().alias("last_order_day"),
        )
    )  # fmt: skip


def _once(line: pl.DataFrame) -> pl.DataFrame:
    """One row per order and product: most orders name a product once."""
    if line.select(_pair("i", "product_key").n_unique()).item() == line.height:
        return line
    return by_two(line, ["i", "product_key"], [pl.col("units").sum(), pl.col("amount").sum()])


def by_two(frame: pl.DataFrame, keys: Sequence[str], sums: Sequence[pl.Expr]) -> pl.DataFrame:
    """Sums per pair of two columns of 32 bits each, sorted as one number: quicker than by hashes of pairs."""
    pair = _pair(*keys).alias("pair")
    return (
        frame.with_columns(pair).sort("pair").group_by("pair", maintain_order=True)
        .agg(pl.col(keys).first(), *sums).drop("pair")
    )  # fmt: skip


def _pair(first: str, second: str) -> pl.Expr:
    return pl.col(first).to_physical().cast(pl.Int64) * 2**32 + pl.col(second).to_physical()


def _customer_products(part: pl.DataFrame) -> pl.DataFrame:
    weight = pl.col("amount") / 10**4 * pl.col("spend_factor")
    bought = part.filter(pl.col("counted").is_not_null()).select(
        "product_key", "orders", "units", "amount", customer_code="counted", weight=weight
    )
    return by_two(bought, ["customer_code", "product_key"], [*SUMS, pl.col("weight").sum()])


def _products(part: pl.DataFrame) -> pl.DataFrame:
    weight = pl.col("units") / 10**3 * pl.col("units_factor")
    return part.group_by("product_key").agg(*SUMS, weight.sum().alias("weight"))


def _days(sale: pl.DataFrame, part: pl.DataFrame) -> pl.DataFrame:
    units = part.group_by("day").agg(pl.col("units").sum())
    return (
        sale.group_by("day")
        .agg(pl.col("counts").sum().alias("orders"), pl.col("net").sum().alias("amount"))
        .join(units, on="day", how="left")
        .with_columns(pl.col("units").fill_null(0))
        .select("day", "orders", "units", "amount")
    )
