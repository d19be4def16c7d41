"""The stage: one temporary table per connection, filled by COPY, that the set-based statements of a batch read.

Each row is an order's contribution with a sign. A new sale stands there once, with its ledger row; an order that
changed stands there twice, as it was (sign -1) and as it is (sign +1).
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from services.rfm_worker.repository.raw import Raw

COLUMNS = (
    "n", "sign", "tenant_id", "sale_id", "recorded", "customer_code", "counted", "code_hash", "sold_at", "channel",
    "currency", "event_time", "event_id", "product_keys", "effective_keys", "labels", "quantities", "unit_prices",
    "discounts", "amounts", "metadata", "orders", "units", "net", "spend_weight", "units_weight", "part_keys",
    "part_units", "part_amounts", "day",
)  # fmt: skip

_CREATE = """
create temp table if not exists stage (
    n int, sign smallint, tenant_id uuid, sale_id text collate "C", recorded boolean,
    customer_code text collate "C", counted text collate "C", code_hash bytea,
    sold_at timestamptz, channel text, currency text, event_time timestamptz, event_id text,
    product_keys text[] collate "C", effective_keys text[] collate "C", labels text[],
    quantities numeric(18,3)[], unit_prices numeric(18,4)[],
    discounts numeric(18,4)[], amounts numeric(18,4)[], metadata jsonb,
    orders int, units numeric, net numeric(18,4), spend_weight numeric, units_weight numeric,
    part_keys text[] collate "C", part_units numeric[], part_amounts numeric[],
    day date
) on commit delete rows
"""


async def open_stage(raw: Raw) -> None:
    """Makes the table on a connection's first use; it is empty at the start of every transaction."""
    if not await raw.fetchval("select to_regclass('pg_temp.stage') is not null"):
        # Unanalysed temporary tables mislead the planner into compiling statements that run for a millisecond.
        await raw.execute("set jit = off")
        await raw.execute(_CREATE)


async def copy_rows(raw: Raw, rows: Sequence[str]) -> None:
    """Appends rows, each a line of COPY's text format in the order of `COLUMNS`."""
    if rows:
        await raw.copy_to_table("stage", source=_whole("".join(rows).encode()), columns=COLUMNS, format="text")


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    """In one piece, from here: the driver reads a file in a thread, which takes a small batch twice as long as COPY."""
    yield data


async def drop_rows(raw: Raw, numbers: Iterable[int]) -> None:
    """Takes rows off the stage again."""
    await raw.execute("delete from stage where n = any($1::int[])", list(numbers))
