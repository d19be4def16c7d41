"""Derived rows: search entries, rhythms, customers of products, sums of days and months, against the ledger.

Customers who are queued and periods that changed since are left out: nobody relies on what is stored of them.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.verification.compare import Report, differences
from services.rfm_worker.verification.load import MONEY, UNITS, Tables
from services.rfm_worker.verification.recompute import Expected

LOOK_BACK = 50
_LENGTHS = {"day": "1d", "week": "1w", "month": "1mo"}
_Types = Mapping[str, Any]
_QUEUED = (
    "select distinct x.code as customer_code from customer_queue q, unnest(q.customer_codes) as x(code) "
    "where q.tenant_id = '{tenant}'"
)
_MOVED = "select 1 as n from customer_queue where tenant_id = '{tenant}' and product_keys <> '{{}}' limit 1"
_SEARCH = (
    "select n.customer_code, nullif(array_to_string(n.families, chr(10)), '') as families, (n.tags = c.tags and "
    "n.words = lower(concat_ws(' ', c.customer_code, c.first_name, c.last_name, c.email) collate pg_c_utf8))::int "
    "as copied from customer_search n left join customer c using (tenant_id, customer_code) "
    "where n.tenant_id = '{tenant}'"
)
_RHYTHM = (
    "select customer_code, usual_interval_days as usual, next_order_expected_at as expected from rhythm "
    "where tenant_id = '{tenant}'"
)
_REVISIONS = "select day, revision from day where tenant_id = '{tenant}'"
_PERIODS = "select grain, start, revision, customers from period where tenant_id = '{tenant}'"
_PRODUCT_PERIODS = (
    "select grain, start, product_key, orders, units, revenue as amount from product_period "
    "where tenant_id = '{tenant}'"
)
_BUYERS = "select product_key, customers from product where tenant_id = '{tenant}'"


async def compare_derived(
    raw: Raw, tenant: Mapping[str, Any], tables: Tables, expected: Expected, report: Report
) -> None:
    """Adds what differs to the report."""
    reader = _Reader(raw, str(tenant["tenant_id"]))
    queued = await reader.read(_QUEUED, {})
    customers = tables["customer"].select("tenant_id", "customer_code").join(queued, on="customer_code", how="anti")
    rhythm = await reader.read(_RHYTHM, {"usual": pl.Float64, "expected": pl.Date})
    report.add(_rhythm_differences(customers, rhythm.join(queued, on="customer_code", how="anti"), expected))
    report.count("rhythm", rhythm.height)
    search = await reader.read(_SEARCH, {"copied": pl.Int64})
    if (await reader.read(_MOVED, {})).is_empty():
        stored = search.join(queued, on="customer_code", how="anti")
        report.add(_search_differences(customers, stored, tables, expected))
    report.count("customer_search", search.height)
    report.add(_buyer_differences(await reader.read(_BUYERS, {"customers": pl.Int64}), expected))
    await _compare_periods(reader, expected, report)


class _Reader:
    """Reads a query of one tenant through COPY."""

    def __init__(self, raw: Raw, tenant_id: str) -> None:
        self._raw, self._tenant_id = raw, tenant_id

    async def read(self, query: str, types: _Types) -> pl.DataFrame:
        buffer = io.BytesIO()
        await self._raw.copy_from_query(query.format(tenant=self._tenant_id), output=buffer, format="csv", header=True)
        buffer.seek(0)
        frame = pl.read_csv(buffer, infer_schema=False)
        return frame.with_columns(pl.lit(self._tenant_id).alias("tenant_id")).with_columns(
            pl.col(name).str.to_date("%Y-%m-%d") if kind == pl.Date else pl.col(name).cast(kind)
            for name, kind in types.items()
        )


def _rhythm_differences(customers: pl.DataFrame, stored: pl.DataFrame, expected: Expected) -> Iterable[str]:
    bought = expected.sale.filter((pl.col("counts") == 1) & pl.col("counted").is_not_null())
    days = (
        bought.select(pl.col("counted").alias("customer_code"), "day").unique()
        .sort(["customer_code", "day"], descending=[False, True])
        .group_by("customer_code", maintain_order=True).head(LOOK_BACK)
        .with_columns((pl.col("day").shift(1).over("customer_code") - pl.col("day")).dt.total_days().alias("gap"))
    )  # fmt: skip
    found = days.group_by("customer_code").agg(pl.col("gap").median().alias("usual"), pl.col("day").max())
    right = customers.join(found, on="customer_code", how="left").with_columns(
        pl.col("day").dt.offset_by((pl.col("usual") + 0.5).floor().cast(pl.Int64).cast(pl.String) + "d")
        .alias("expected")
    )  # fmt: skip
    return differences("rhythm", ["tenant_id", "customer_code"], stored, right, ("usual", "expected"))


def _search_differences(
    customers: pl.DataFrame, stored: pl.DataFrame, tables: Tables, expected: Expected
) -> Iterable[str]:
    families = (
        expected.customer_product.filter(pl.col("amount") > 0)
        .join(tables["product"].select("product_key", "family"), on="product_key", how="left")
        .with_columns(pl.col("family").fill_null("unknown"))
        .group_by("customer_code").agg(pl.col("family").unique().sort().str.join("\n").alias("families"))
    )  # fmt: skip
    right = customers.join(families, on="customer_code", how="left").with_columns(pl.lit(1, pl.Int64).alias("copied"))
    return differences("customer_search", ["tenant_id", "customer_code"], stored, right, ("families", "copied"))


def _buyer_differences(stored: pl.DataFrame, expected: Expected) -> Iterable[str]:
    counted = (
        expected.customer_product.filter(pl.col("orders") > 0)
        .group_by("product_key").agg(pl.len().cast(pl.Int64).alias("customers"))
    )  # fmt: skip
    right = stored.select("tenant_id", "product_key").join(counted, on="product_key", how="left")
    right = right.with_columns(pl.col("customers").fill_null(0))
    return differences("product", ["tenant_id", "product_key"], stored, right, ("customers",))


async def _compare_periods(reader: _Reader, expected: Expected, report: Report) -> None:
    revisions = await reader.read(_REVISIONS, {"day": pl.Date, "revision": pl.Int64})
    kept = await reader.read(_PERIODS, {"start": pl.Date, "revision": pl.Int64, "customers": pl.Int64})
    held = kept.join(_by_grain(revisions, pl.col("revision").sum()), on=["grain", "start", "revision"])
    buyers = expected.sale.filter((pl.col("counts") == 1) & pl.col("counted").is_not_null())
    counted = _by_grain(buyers, pl.col("counted").n_unique().cast(pl.Int64).alias("customers"))
    right = held.select("tenant_id", "grain", "start").join(counted, on=["grain", "start"], how="left")
    right = right.with_columns(pl.col("customers").fill_null(0))
    report.add(differences("period", ["tenant_id", "grain", "start"], held, right, ("customers",)))
    report.count("period", kept.height)
    sums = await reader.read(
        _PRODUCT_PERIODS,
        {"start": pl.Date, "orders": pl.Int64, "units": UNITS, "amount": MONEY},
    )
    part = expected.part.filter((pl.col("units") > 0) | (pl.col("amount") > 0))
    sold = _by_grain(
        part, pl.col("orders").sum(), pl.col("units").sum().cast(UNITS), pl.col("amount").sum().cast(MONEY),
        by=["product_key"],
    )  # fmt: skip
    held = held.filter(pl.col("grain") != "week").select("tenant_id", "grain", "start")
    keys, columns = ["tenant_id", "grain", "start", "product_key"], ("orders", "units", "amount")
    mine, other = sums.join(held, on=keys[:3], how="semi"), sold.join(held, on=["grain", "start"])
    report.add(differences("product_period", keys, mine, other, columns))
    report.count("product_period", sums.height)


def _by_grain(frame: pl.DataFrame, *sums: pl.Expr, by: Iterable[str] = ()) -> pl.DataFrame:
    """Sums by day, ISO week and month of the column `day`."""
    return pl.concat(
        frame.group_by(pl.col("day").dt.truncate(length).alias("start"), *by)
        .agg(*sums)
        .with_columns(pl.lit(grain).alias("grain"))
        for grain, length in _LENGTHS.items()
    )
