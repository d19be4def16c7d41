"""Real baskets of The Complete Journey, as bodies of POST /sales."""

from pathlib import Path
from typing import Any

import orjson
import polars as pl

from cli.demo_data import baskets, data_folder

__all__ = ["bodies", "data_folder", "from_table", "load"]


def load(count: int) -> list[dict[str, Any]]:
    """The first `count` baskets in time order, each a body of POST /sales; lines without a quantity are left out."""
    return from_table(_purchases(data_folder()), count)


def from_table(table: pl.DataFrame, count: int | None = None) -> list[dict[str, Any]]:
    """The first `count` baskets of a table with columns as in `transactions.parquet`, or all of them."""
    return [orjson.loads(body) for body in baskets(table)["body"].head(count or table.height)]


def bodies(baskets: list[dict[str, Any]]) -> list[bytes]:
    """Each basket as JSON."""
    return [orjson.dumps(basket) for basket in baskets]


def _purchases(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "transactions.parquet").filter(pl.col("quantity") > 0)
