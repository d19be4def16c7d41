"""What the jobs of the night leave: their runs and the lifetime values."""

from sqlalchemy import BigInteger, Column, Date, Double, Integer, Numeric, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.rfm_worker.tables.common import KEY, SUM, TIME, metadata

job_run = Table(
    "job_run",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("job", Text, primary_key=True),
    Column("finished_at", TIME, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("figures", JSONB, nullable=False),
    comment="The last run of a job for a tenant, the counting orders it met, and figures without personal data.",
)

lifetime_model = Table(
    "lifetime_model",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("fitted_at", TIME, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("reference_date", Date, nullable=False),
    Column("history_days", Integer, nullable=False),
    Column("horizon_days", Integer, nullable=False),
    Column("customers", Integer, nullable=False),
    Column("expected_orders", SUM),
    Column("expected_value", SUM),
    Column("dependence", Double),
    Column("parameters", JSONB),
    Column("holdout", JSONB),
    Column("deciles", JSONB),
    comment="The last fit: parameters and holdout errors, or the reason why no values are given.",
)

lifetime_value = Table(
    "lifetime_value",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("probability_alive", Numeric(5, 4), nullable=False),
    Column("expected_orders", Numeric(12, 4), nullable=False),
    Column("expected_value", SUM, nullable=False),
    Column("low", SUM, nullable=False),
    Column("high", SUM, nullable=False),
    Column("computed_at", TIME, nullable=False),
    comment="What each customer is expected to bring within the horizon of the model, with an 80 % interval.",
)
