"""Applied offsets: what a consumer has taken into its state, kept in the transaction that took it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Applied:
    """`next_offset` is one past the last applied record; everything before it is applied."""

    next_offset: int
    applied_at: datetime


async def save_applied(
    connection: AsyncConnection, schema: str | None, next_offsets: Mapping[TopicPartition, int]
) -> None:
    """Raises the applied offsets; never lowers them, so that a redelivered batch cannot turn the clock back.

    Args:
        schema: whose; None for the first one of the connection's search path.
    """
    if not next_offsets:
        return
    ordered, prefix = sorted(next_offsets.items()), f"{schema}." if schema else ""
    await connection.execute(
        text(
            f"insert into {prefix}applied_offset as a (topic, partition, next_offset, applied_at) "  # noqa: S608
            "select * from unnest(cast(:topics as text[]), cast(:partitions as int[]), cast(:offsets as bigint[])), "
            "lateral (select clock_timestamp()) t "
            "on conflict (topic, partition) do update set "
            "next_offset = greatest(a.next_offset, excluded.next_offset), applied_at = excluded.applied_at"
        ),
        {
            "topics": [topic for (topic, _), _ in ordered],
            "partitions": [partition for (_, partition), _ in ordered],
            "offsets": [offset for _, offset in ordered],
        },
    )


async def load_applied(connection: AsyncConnection, schema: str) -> dict[TopicPartition, Applied]:
    """All applied offsets of a schema."""
    rows = await connection.execute(
        text(f"select topic, partition, next_offset, applied_at from {schema}.applied_offset")  # noqa: S608
    )
    return {(r.topic, r.partition): Applied(r.next_offset, r.applied_at) for r in rows}
