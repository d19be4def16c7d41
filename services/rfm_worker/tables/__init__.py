"""Tables of the schema `rfm`, which this worker alone writes."""

from services.rfm_worker.tables.common import SCHEMA, metadata
from services.rfm_worker.tables.customers import (
    customer,
    customer_product,
    customer_queue,
    customer_search,
    rhythm,
    segment_change,
    segment_path,
)
from services.rfm_worker.tables.jobs import job_run, lifetime_model, lifetime_value
from services.rfm_worker.tables.ledger import alias_move, erasure, product_alias, sale, sale_cancellation, sale_return
from services.rfm_worker.tables.products import day, period, product, product_period
from services.rfm_worker.tables.scoring import cutoffs, quantile_mark, recompute, score_request, tenant
from shared.db.common_tables import applied_offset_table, outbox_table

outbox = outbox_table(metadata)
applied_offset = applied_offset_table(metadata)

TENANT_TABLES = tuple(table.name for table in metadata.sorted_tables if "tenant_id" in table.c)

REBUILT_TABLES = (
    "tenant", "sale", "sale_return", "sale_cancellation", "erasure", "customer", "customer_product", "product", "day",
    "cutoffs", "quantile_mark", "recompute", "product_alias", "alias_move",
)  # fmt: skip
"""What follows from the events alone: a rebuild fills them anew and puts them in the place of the old ones."""
EMPTIED_TABLES = ("score_request",)
"""What a rebuild has done with: everybody is scored by it."""
KEPT_TABLES = (
    "segment_change", "segment_path", "outbox", "applied_offset", "job_run", "lifetime_model", "lifetime_value",
    "customer_queue", "customer_search", "rhythm", "period", "product_period",
)  # fmt: skip
"""What a rebuild leaves as it is: what was told and is to be told, how far the worker has come, what jobs made, and
what the refresher derives anew once everybody is queued."""

__all__ = [
    "EMPTIED_TABLES",
    "KEPT_TABLES",
    "REBUILT_TABLES",
    "SCHEMA",
    "TENANT_TABLES",
    "alias_move",
    "applied_offset",
    "customer",
    "customer_product",
    "customer_queue",
    "customer_search",
    "cutoffs",
    "day",
    "erasure",
    "job_run",
    "lifetime_model",
    "lifetime_value",
    "metadata",
    "outbox",
    "period",
    "product",
    "product_alias",
    "product_period",
    "quantile_mark",
    "recompute",
    "rhythm",
    "sale",
    "sale_cancellation",
    "sale_return",
    "score_request",
    "segment_change",
    "segment_path",
    "tenant",
]
