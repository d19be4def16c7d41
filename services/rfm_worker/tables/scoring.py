"""Settings of tenants, their cut-offs, and what there is to score or compute anew."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.rfm_worker.tables.common import KEY, TIME, metadata

tenant = Table(
    "tenant",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False, server_default="active"),
    Column("timezone", Text, nullable=False, server_default="Europe/Paris"),
    Column("currency", Text),
    Column("reference_date", Text, nullable=False, server_default="now"),
    Column("rfm_method", Text, nullable=False, server_default="quintile"),
    Column("rfm_bounds", JSONB),
    Column("active_days", Integer, nullable=False, server_default="90"),
    Column("version", Integer, nullable=False, server_default="0"),
    comment="What this worker needs of each tenant; version 0 stands for one whose event has not arrived.",
)

cutoffs = Table(
    "cutoffs",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("method", Text, nullable=False),
    Column("reference_date", Date, nullable=False),
    Column("customers", Integer, nullable=False),
    Column("recency_days", ARRAY(Numeric), nullable=False),
    Column("frequency", ARRAY(Numeric), nullable=False),
    Column("monetary", ARRAY(Numeric), nullable=False),
    Column("average_basket", ARRAY(Numeric), nullable=False),
    Column("computed_at", TIME, nullable=False),
    Column("moving_low", ARRAY(Numeric)),
    Column("moving_high", ARRAY(Numeric)),
    comment="Current bounds: four per axis, two terciles of the average basket; empty without a counting order.",
)

quantile_mark = Table(
    "quantile_mark",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("axis", Text, primary_key=True),
    Column("k", SmallInteger, primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("value", Numeric, nullable=False),
    Column("customer_code", KEY, nullable=False),
    comment="Per quantile a place in the order of the customers, and how many stand before it; days count from 1970.",
)

score_request = Table(
    "score_request",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("folded", Boolean, nullable=False, server_default="false"),
    Column("codes", ARRAY(KEY), nullable=False, server_default="{}"),
    Column("was_frequency", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("was_monetary", ARRAY(Numeric), nullable=False, server_default="{}"),
    Column("was_day", ARRAY(Date), nullable=False, server_default="{}"),
    Column("now_frequency", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("now_monetary", ARRAY(Numeric), nullable=False, server_default="{}"),
    Column("now_day", ARRAY(Date), nullable=False, server_default="{}"),
    Index("score_request_of_tenant", "tenant_id", "id"),
    comment="Appended by each batch that changed a tenant: whose values, from what to what. Removed by the scorer.",
)

recompute = Table(
    "recompute",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("requested_at", TIME, nullable=False),
    Column("cause", Text, CheckConstraint("cause in ('settings', 'repair')"), nullable=False),
    Column("step", Text, CheckConstraint("step in ('days', 'customers', 'scores')"), nullable=False),
    Column("after", KEY, nullable=False, server_default=""),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("updated_at", TIME, nullable=False),
    comment="Tenants that are looked at as a whole: why, which step is at work, and how far it is.",
)
