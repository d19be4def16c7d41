"""Tables that every service schema has: its outbox and, for consumers, the offsets that it has applied."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB


def outbox_table(metadata: MetaData) -> Table:
    """Events to publish, written in the transaction that changed the state; ids ascend within a message key."""
    return Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("topic", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("value", LargeBinary),
        Column("headers", JSONB, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("published_at", DateTime(timezone=True)),
        Column("partition", Integer),
        Column("offset", BigInteger),
        Index("outbox_unpublished", "id", postgresql_where=text("published_at is null")),
        Index("outbox_published_at", "published_at", postgresql_where=text("published_at is not null")),
    )


def applied_offset_table(metadata: MetaData) -> Table:
    """Per topic and partition, the offset after the last applied record; written in the batch's transaction."""
    return Table(
        "applied_offset",
        metadata,
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("next_offset", BigInteger, nullable=False),
        Column("applied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
