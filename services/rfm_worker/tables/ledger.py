"""The ledger: sales with what was returned and cancelled, under which keys products and erased people stand in it."""

from sqlalchemy import Boolean, Column, Date, Index, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from services.rfm_worker.tables.common import KEY, MONEY, QUANTITY, TIME, metadata

sale = Table(
    "sale",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("sale_id", KEY, primary_key=True),
    Column("recorded", Boolean, nullable=False),
    Column("customer_code", KEY),
    Column("sold_at", TIME),
    Column("day", Date),
    Column("channel", Text),
    Column("currency", Text),
    Column("gross", MONEY, nullable=False, server_default="0"),
    Column("net", MONEY, nullable=False, server_default="0"),
    Column("cancelled", Boolean, nullable=False, server_default="false"),
    Column("returned", Boolean, nullable=False, server_default="false"),
    Column("event_time", TIME),
    Column("event_id", Text),
    Column("product_keys", ARRAY(KEY), comment="as they were sent"),
    Column("effective_keys", ARRAY(KEY), comment="the products that these stand for; null: themselves"),
    Column("labels", ARRAY(Text)),
    Column("quantities", ARRAY(QUANTITY)),
    Column("unit_prices", ARRAY(MONEY)),
    Column("discounts", ARRAY(MONEY)),
    Column("amounts", ARRAY(MONEY)),
    Column("metadata", JSONB),
    Index("sale_of_customer", "tenant_id", "customer_code", "sold_at", "sale_id"),
    Index("sale_by_time", "tenant_id", "sold_at", "sale_id"),
    Index("sale_by_day", "tenant_id", "day", postgresql_include=["customer_code", "net"]),
    comment="The ledger: one row a sale with its lines as parallel arrays; recorded = false waits for its sale.",
)

sale_return = Table(
    "sale_return",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("return_id", KEY, primary_key=True),
    Column("sale_id", KEY, nullable=False),
    Column("returned_at", TIME, nullable=False),
    Column("event_time", TIME, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("product_keys", ARRAY(KEY), nullable=False),
    Column("quantities", ARRAY(QUANTITY), nullable=False),
    Column("amounts", ARRAY(MONEY), nullable=False),
    Index("sale_return_of_sale", "tenant_id", "sale_id"),
    Index("sale_return_by_time", "tenant_id", "returned_at"),
)

sale_cancellation = Table(
    "sale_cancellation",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("sale_id", KEY, primary_key=True),
    Column("cancelled_at", TIME, nullable=False),
    Column("reason", Text),
    Column("event_time", TIME, nullable=False),
    Column("event_id", Text, nullable=False),
    Index("sale_cancellation_by_time", "tenant_id", "cancelled_at"),
)

erasure = Table(
    "erasure",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
    Column("erased_at", TIME, primary_key=True),
    Column("pseudonym", KEY, nullable=False),
    Index("erasure_pseudonym", "tenant_id", "pseudonym", unique=True),
    comment="Sales made up to erased_at by the code with this hash stand in the ledger under the pseudonym.",
)

product_alias = Table(
    "product_alias",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("alias", KEY, primary_key=True),
    Column("product_key", KEY, nullable=False),
    Column("version", Integer, nullable=False),
    comment="Keys that tills and shops send, and the products that they stand for.",
)

alias_move = Table(
    "alias_move",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("alias", KEY, primary_key=True),
    Column("position", KEY, nullable=False, server_default=""),
    comment="Aliases whose history has not moved yet; orders up to the sale_id in position have.",
)
