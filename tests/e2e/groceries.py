"""A few hundred real baskets of The Complete Journey, with their products and made-up people."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from benchmarks.baskets import data_folder, from_table

ZONE, REFERENCE = "America/New_York", date(2017, 3, 15)
HOUSEHOLDS, UNTIL = 40, datetime(2017, 3, 1)
MOST_BASKETS = 12


@dataclass(frozen=True)
class Groceries:
    """What a shop sends: products, customers, sales; and the table that they were made of."""

    products: list[dict[str, Any]]
    customers: list[dict[str, Any]]
    sales: list[dict[str, Any]]
    table: pl.DataFrame

    @property
    def families(self) -> dict[str, str]:
        """Product -> family."""
        return {product["product_key"]: product["family"] for product in self.products if product["family"]}


def load() -> Groceries:
    """Two months of 40 households that came between 2 and 12 times."""
    table = (
        pl.scan_parquet(data_folder() / "transactions.parquet")
        .filter(pl.col("quantity") > 0, pl.col("transaction_timestamp") < UNTIL)
        .select("basket_id", "household_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
        .sort("transaction_timestamp", "basket_id")
        .collect()
    )
    visits = table.group_by("household_id").agg(pl.col("basket_id").n_unique().alias("baskets"))
    chosen = visits.filter(pl.col("baskets").is_between(2, MOST_BASKETS)).sort("household_id").head(HOUSEHOLDS)
    table = table.filter(pl.col("household_id").is_in(chosen["household_id"].implode()))
    wanted = table["product_id"].unique().implode()
    catalogue = pl.scan_parquet(data_folder() / "products.parquet").filter(pl.col("product_id").is_in(wanted)).collect()
    products = [
        {"product_key": str(row["product_id"]), "name": row["product_type"], "family": row["department"]}
        for row in catalogue.iter_rows(named=True)
    ]
    customers = [
        {"customer_code": str(household), "first_name": "Household", "last_name": f"No {household}", "tags": ["real"]}
        for household in chosen["household_id"]
    ]
    return Groceries(products, customers, from_table(table), table)
