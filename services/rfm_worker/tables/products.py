"""Sums of products, days, weeks and months."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from services.rfm_worker.tables.common import KEY, SUM, UNITS, WEIGHT, metadata

POPULARITY_CLASS = (
    "case when units_weight > 0 then floor(log(units_weight::float8) * 1.66)::smallint else (-32768)::smallint end"
)
"""The largest weight of a tenant is found among the few products of its highest class."""
FIRST_REVISION = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
"""In microseconds, so that a day's row that was deleted and made again has grown all the same."""

product = Table(
    "product",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("product_key", KEY, primary_key=True),
    Column("master_version", Integer),
    Column("name", Text),
    Column("family", Text),
    Column("orders", Integer, nullable=False, server_default="0"),
    Column("units", UNITS, nullable=False, server_default="0"),
    Column("revenue", SUM, nullable=False, server_default="0"),
    Column("units_weight", WEIGHT, nullable=False, server_default="0"),
    Column("customers", Integer, nullable=False, server_default="0"),
    Column("popularity_class", SmallInteger, Computed(POPULARITY_CLASS, persisted=True), nullable=False),
    Index("product_by_popularity", "tenant_id", "popularity_class"),
    comment="Net contributions per product; units_weight decays with a half-life of 90 days.",
)

day = Table(
    "day",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("units", UNITS, nullable=False),
    Column("revenue", SUM, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text(FIRST_REVISION)),
)

period = Table(
    "period",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("grain", Text, CheckConstraint("grain in ('day', 'week', 'month', 'quarter')"), primary_key=True),
    Column("start", Date, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("customers", Integer, nullable=False),
    comment=(
        "Distinct customers of a day, ISO week, month or quarter; holds as long as the revisions of its days add up to "
        "revision."
    ),
)

product_period = Table(
    "product_period",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("grain", Text, CheckConstraint("grain in ('day', 'week', 'month', 'quarter')"), primary_key=True),
    Column("start", Date, primary_key=True),
    Column("product_key", KEY, primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("units", UNITS, nullable=False),
    Column("revenue", SUM, nullable=False),
    comment="What was sold of a product in a period; holds as long as its period.",
)
