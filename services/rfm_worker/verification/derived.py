"""Derived rows against the ledger: search entries, rhythms, customers of products, sums of periods.

Customers who are queued and periods whose days changed since are left out: nobody relies on what is stored of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import polars as pl

from services.rfm_worker.verification.compare import Report, compare, without_zeros
from services.rfm_worker.verification.load import MONEY, UNITS, Tables, in_steps
from services.rfm_worker.verification.profiles import SCALE, Profiles
from services.rfm_worker.verification.recompute import SUMS, Expected, by_two
from services.rfm_worker.verification.snapshot import Snapshot, Types

BETWEEN = "\x1f"
"""Stands between the families of a customer: names are printable, so it is in none of them."""
_OF_CUSTOMERS: Mapping[str, tuple[str, Types]] = {
    "queued": (
        "select distinct code as customer_code from customer_queue q, unnest(q.customer_codes) as x(code) "
        "where q.tenant_id = $1 and ($2::text[] is null or code = any($2))",
        {},
    ),
    "moved": (
        "select distinct product_key from customer_queue q, unnest(q.product_keys) as x(product_key) "
        "where q.tenant_id = $1 and ($2::text[] is null or true)",
        {},
    ),
    "search": (
        "select n.customer_code, nullif(array_to_string(n.families, E'\\x1f'), '') as families, (n.tags = c.tags and "
        "n.words = lower(concat_ws(' ', c.customer_code, c.first_name, c.last_name, c.email) collate pg_c_utf8))::int "
        "as copied from customer_search n left join customer c using (tenant_id, customer_code) "
        "where n.tenant_id = $1 and ($2::text[] is null or n.customer_code = any($2))",
        {"copied": pl.Int64},
    ),
    "rhythm": (
        "select customer_code, usual_interval_days, next_order_expected_at - date '1970-01-01' as "
        "next_order_expected_at from rhythm where tenant_id = $1 and ($2::text[] is null or customer_code = any($2))",
        {"usual_interval_days": pl.Float64, "next_order_expected_at": pl.Int32},
    ),
    "misplaced": (
        "select coalesce(p.customer_code, k.customer_code) as customer_code from "
        "(select * from segment_path where tenant_id = $1 and ($2::text[] is null or customer_code = any($2))) p "
        "full join rfm.segment_paths($1, $2) k on k.customer_code = p.customer_code "
        "where (p.known_at, p.moments, p.states) is distinct from (k.known_at, k.moments, k.states) order by 1",
        {},
    ),
}
# Of a sample, which has no days, nothing is asked here.
_OF_DAYS: Mapping[str, tuple[str, Types]] = {
    "period": (
        "select grain, start - date '1970-01-01' as start, revision, customers from period "
        "where tenant_id = $1 and $2::text[] is null",
        {"start": pl.Int32, "revision": pl.Int64, "customers": pl.Int64},
    ),
    "product_period": (
        "select grain, start - date '1970-01-01' as start, product_key, orders, units, revenue as amount "
        "from product_period where tenant_id = $1 and $2::text[] is null",
        {"start": pl.Int32, "orders": pl.Int64, "units": UNITS, "amount": MONEY},
    ),
}
_LENGTHS = {"day": "1d", "week": "1w", "month": "1mo", "quarter": "1q"}
_GRAIN = pl.Enum(sorted(_LENGTHS))


@dataclass(frozen=True, slots=True)
class Derived:
    """What is stored of a tenant."""

    queued: pl.DataFrame
    """customer_code of everybody whom the refresher has still to look at."""
    moved: pl.DataFrame
    """product_key of everything whose buyers it has still to look at."""
    search: pl.DataFrame
    rhythm: pl.DataFrame
    misplaced: pl.DataFrame
    """customer_code of everybody whose path of segments is not that of the history."""
    period: pl.DataFrame
    product_period: pl.DataFrame


async def load_derived(seen: Snapshot, tenant_id: UUID, codes: Sequence[str] | None) -> Derived:
    """Reads the derived rows of a tenant.

    Args:
        codes: of these customers alone, and then no periods; None for everything.
    """
    wanted, queries = list(codes) if codes is not None else None, {**_OF_CUSTOMERS, **_OF_DAYS}
    read = [seen.frame(query, types, tenant_id, wanted) for query, types in queries.values()]
    return Derived(**dict(zip(queries, map(_dated, await asyncio.gather(*read)), strict=True)))


def _dated(frame: pl.DataFrame) -> pl.DataFrame:
    days = [name for name in ("start", "next_order_expected_at") if name in frame.columns]
    grains = [name for name in ("grain",) if name in frame.columns]
    return in_steps(frame.with_columns(pl.col(days).cast(pl.Date), pl.col(grains).cast(_GRAIN)))


def compare_derived(
    report: Report, tenant_id: UUID, stored: Derived, tables: Tables, expected: Expected, *, profiles: Profiles
) -> None:
    """Notes each derived row of customers that differs.

    Args:
        profiles: as they should be: the rhythm of a customer is that of the profile.
    """
    at_rest = tables.customer.select("customer_code").join(stored.queued, on="customer_code", how="anti")
    _compare_rhythms(report, tenant_id, stored, at_rest, profiles)
    _compare_search(report, tenant_id, stored, tables, expected, at_rest=at_rest)
    report.add_rows(stored.misplaced, lambda row: f"segment_path {tenant_id} {row['customer_code']}: not the history's")


def compare_sums(report: Report, tenant_id: UUID, stored: Derived, tables: Tables, expected: Expected) -> None:
    """Notes each count of a product's customers, and each sum of a period that holds, that differs."""
    bought = expected.customer_product.filter(pl.col("orders") > 0)
    counted = bought.group_by("product_key").agg(customers=pl.len().cast(pl.Int64))
    computed = _counted(tables.product.select("product_key"), counted)
    compare(report, f"product {tenant_id}", ["product_key"], stored=tables.product, computed=computed,
            columns=["customers"])  # fmt: skip
    revisions = _by_grain(tables.day, pl.col("revision").sum())
    held = stored.period.join(revisions, on=["grain", "start", "revision"])
    _compare_counts(report, tenant_id, held, expected)
    _compare_sold(report, tenant_id, stored.product_period, held, expected)
    report.count("period", stored.period.height)
    report.count("product_period", stored.product_period.height)


def _compare_rhythms(
    report: Report, tenant_id: UUID, stored: Derived, at_rest: pl.DataFrame, profiles: Profiles
) -> None:
    computed = at_rest.join(profiles.plain, on="customer_code", how="left").with_columns(
        pl.col("usual_interval_days").cast(pl.Float64) / 10**SCALE
    )
    mine = stored.rhythm.join(stored.queued, on="customer_code", how="anti")
    columns = ("usual_interval_days", "next_order_expected_at")
    compare(report, f"rhythm {tenant_id}", ["customer_code"], stored=mine, computed=computed, columns=columns)
    report.count("rhythm", stored.rhythm.height)


def _compare_search(
    report: Report, tenant_id: UUID, stored: Derived, tables: Tables, expected: Expected, *, at_rest: pl.DataFrame
) -> None:
    """Buyers of a product that changed its family are about to be looked at, as if they were queued."""
    buyers = tables.customer_product.join(stored.moved, on="product_key", how="semi")
    families = (
        expected.customer_product.filter(pl.col("amount") > 0)
        .join(tables.product.select("product_key", "family"), on="product_key", how="left")
        .select("customer_code", pl.col("family").fill_null("unknown")).unique()
        .sort("family").group_by("customer_code", maintain_order=True)
        .agg(pl.col("family").str.join(BETWEEN).alias("families"))
    )  # fmt: skip
    computed = (
        at_rest.join(buyers, on="customer_code", how="anti")
        .join(families, on="customer_code", how="left")
        .with_columns(copied=pl.lit(1, pl.Int64))
    )
    mine = stored.search.join(stored.queued, on="customer_code", how="anti")
    mine = mine.join(buyers, on="customer_code", how="anti")
    name, columns = f"customer_search {tenant_id}", ("families", "copied")
    compare(report, name, ["customer_code"], stored=mine, computed=computed, columns=columns)
    report.count("customer_search", stored.search.height)


def _compare_counts(report: Report, tenant_id: UUID, held: pl.DataFrame, expected: Expected) -> None:
    counting = expected.sale.filter((pl.col("counts") == 1) & pl.col("counted").is_not_null())
    buyers = counting.select("day", "counted").unique()
    counted = _by_grain(buyers, pl.col("counted").n_unique().cast(pl.Int64).alias("customers"))
    computed = _counted(held.select("grain", "start"), counted)
    compare(report, f"period {tenant_id}", ["grain", "start"], stored=held, computed=computed, columns=["customers"])


def _compare_sold(
    report: Report, tenant_id: UUID, stored: pl.DataFrame, held: pl.DataFrame, expected: Expected
) -> None:
    sold = _sold_by_grain(expected)
    both = [without_zeros(frame).join(held, on=["grain", "start"], how="semi") for frame in (stored, sold)]
    keys, columns = ["grain", "start", "product_key"], ("orders", "units", "amount")
    compare(report, f"product_period {tenant_id}", keys, stored=both[0], computed=both[1], columns=columns)


def _counted(rows: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """These rows with their `customers`, none where nobody was counted."""
    return rows.join(counted, on=rows.columns, how="left").with_columns(pl.col("customers").fill_null(0))


def _sold_by_grain(expected: Expected) -> pl.DataFrame:
    """What was sold of each product (`grain`, `start`, `product_key`): longer periods from sums of shorter ones."""
    pair = ["start", "product_key"]
    by_day = by_two(expected.part.select("product_key", "orders", "units", "amount", start="day"), pair, SUMS)

    def longer(frame: pl.DataFrame, grain: str) -> pl.DataFrame:
        return by_two(frame.with_columns(pl.col("start").dt.truncate(_LENGTHS[grain])), pair, SUMS)

    by_month = longer(by_day, "month")
    frames = {"day": by_day, "week": longer(by_day, "week"), "month": by_month, "quarter": longer(by_month, "quarter")}
    return pl.concat(frame.with_columns(grain=pl.lit(grain, _GRAIN)) for grain, frame in frames.items())


def _by_grain(frame: pl.DataFrame, summed: pl.Expr) -> pl.DataFrame:
    """Sums by day, ISO week, month and quarter (`grain`, `start`) of the column `day`."""
    return pl.concat(
        frame.group_by(pl.col("day").dt.truncate(length).alias("start"))
        .agg(summed)
        .with_columns(grain=pl.lit(grain, _GRAIN))
        for grain, length in _LENGTHS.items()
    )
