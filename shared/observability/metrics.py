"""The one catalogue of Prometheus metrics. Labels come from closed sets: never a tenant, a customer or an id."""

from typing import Any

from prometheus_client import Counter, Gauge, Histogram, make_asgi_app

FAST = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: fine around the 50 ms that a sale may take from request to commit."""
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

# --- Gateway: requests
HTTP_REQUESTS = Counter("iacrm_http_requests_total", "HTTP requests answered.", ["method", "route", "status"])
HTTP_SECONDS = Histogram(
    "iacrm_http_request_seconds",
    "Seconds from the first byte of a request to its answer.",
    ["method", "route"],
    buckets=FAST,
)
HTTP_IN_FLIGHT = Gauge("iacrm_http_in_flight", "Requests that are being worked on now.")
RATE_LIMITED = Counter("iacrm_rate_limited_total", "Requests refused because a limit was reached.", ["limit"])
LOGINS = Counter("iacrm_logins_total", "Attempts to log in or refresh, by outcome.", ["outcome"])
EVENTS_ACCEPTED = Counter("iacrm_events_accepted_total", "Facts accepted and acknowledged by the broker.", ["type"])
EVENTS_REJECTED = Counter("iacrm_events_rejected_total", "Facts refused because they were invalid.", ["type"])
CONSISTENCY_WAITS = Counter(
    "iacrm_consistency_waits_total",
    "Reads that carried a consistency token, by outcome (fresh, waited, late).",
    ["outcome"],
)
CONSISTENCY_WAIT_SECONDS = Histogram(
    "iacrm_consistency_wait_seconds", "Seconds that a read waited for its consistency token.", buckets=FAST
)

# --- Producer
PUBLISHED = Counter("iacrm_published_total", "Records acknowledged by the broker.", ["topic"])
PUBLISH_SECONDS = Histogram(
    "iacrm_publish_seconds",
    "Seconds from handing over one record or one batch to its acknowledgement.",
    buckets=FAST,
)
PUBLISH_FAILURES = Counter(
    "iacrm_publish_failures_total", "Records not acknowledged, by cause (deadline, rejected, producer).", ["cause"]
)
PRODUCER_RECREATED = Counter("iacrm_producer_recreated_total", "Times a producer was replaced after a fatal error.")

# --- Consumer and delivery
CONSUMED = Counter("iacrm_consumed_total", "Records read by a worker, redelivered ones included.", ["topic"])
APPLIED = Counter("iacrm_applied_total", "Records applied in a committed transaction.")
DEAD_LETTERS = Counter("iacrm_dead_letters_total", "Records written to a dead-letter topic.", ["topic", "reason"])
BATCH_RECORDS = Histogram("iacrm_batch_records", "Records per applied batch.", buckets=SIZES)
APPLY_SECONDS = Histogram(
    "iacrm_apply_seconds", "Seconds of one transaction that applies a batch, failed ones included.", buckets=FAST
)
APPLY_RETRIES = Counter(
    "iacrm_apply_retries_total", "Attempts to apply a batch that failed for a passing reason.", ["cause"]
)
BISECTIONS = Counter("iacrm_bisections_total", "Batches that were split to find a record the database refuses.")
FRESHNESS_SECONDS = Histogram(
    "iacrm_freshness_seconds",
    "Seconds from a batch's oldest record to the commit that applied it.",
    ["topic"],
    buckets=(*FAST, 60.0, 3600.0),
)
OFFSET_COMMIT_SECONDS = Histogram("iacrm_offset_commit_seconds", "Seconds to commit offsets to Kafka.", buckets=FAST)
OFFSET_COMMIT_FAILURES = Counter(
    "iacrm_offset_commit_failures_total",
    "Offset commits that failed after the batch was applied (its records come again, which is harmless).",
    ["cause"],
)
REDELIVERIES = Counter("iacrm_redeliveries_total", "Batches put back to be read again after their retries ran out.")
REBALANCES = Counter("iacrm_rebalances_total", "Times partitions were assigned to this worker.")
LAG = Gauge("iacrm_consumer_lag_records", "Records waiting in a partition for this worker.", ["topic", "partition"])
LAST_APPLIED = Gauge("iacrm_last_applied_timestamp_seconds", "When this worker last committed a batch.")

# --- Outbox relay
OUTBOX_PENDING = Gauge("iacrm_outbox_pending", "Rows written to the outbox and not yet acknowledged.", ["schema"])
OUTBOX_RELAYED = Counter("iacrm_outbox_relayed_total", "Outbox rows acknowledged by the broker.", ["schema"])
OUTBOX_DELAY_SECONDS = Histogram(
    "iacrm_outbox_delay_seconds",
    "Seconds from writing an outbox row to its acknowledgement (oldest of a batch).",
    ["schema"],
    buckets=SLOW,
)
OUTBOX_FAILURES = Counter("iacrm_outbox_failures_total", "Relay rounds that failed, by cause.", ["schema", "cause"])
OUTBOX_LEADER = Gauge("iacrm_outbox_leader", "1 while this process relays the schema's outbox, else 0.", ["schema"])

# --- Importer
IMPORTS_ENDED = Counter("iacrm_imports_ended_total", "Imports that ended, by state.", ["state"])
IMPORT_PARTS = Counter("iacrm_import_parts_total", "Parts of files that were imported and written down.")

# --- rfm worker
CUTOFF_SECONDS = Histogram("iacrm_cutoff_seconds", "Seconds to find the cut-offs of one tenant.", buckets=FAST)
SEGMENT_CHANGES = Counter("iacrm_segment_changes_total", "Customers that changed their segment.", ["segment"])
VERIFICATIONS = Counter(
    "iacrm_verifications_total", "Comparisons of the tables with the ledger (all or a sample).", ["scope", "outcome"]
)
VERIFICATION_DIFFERENCES = Gauge(
    "iacrm_verification_differences", "Differences that the last verification found.", ["scope"]
)
VERIFICATION_SECONDS = Histogram("iacrm_verification_seconds", "Seconds of a verification.", ["scope"], buckets=SLOW)
LAST_VERIFIED = Gauge("iacrm_last_verified_timestamp_seconds", "When a verification last came to its end.", ["scope"])

# --- rfm worker: background jobs
JOB_RUNS = Counter("iacrm_job_runs_total", "Runs of background jobs, one tenant each, by outcome.", ["job", "outcome"])
JOB_SECONDS = Histogram("iacrm_job_seconds", "Seconds of a background job's run for one tenant.", ["job"], buckets=SLOW)
JOB_LAST_RUN = Gauge(
    "iacrm_job_last_run_timestamp_seconds", "When a background job last ended for any tenant.", ["job"]
)
JOB_TENANTS = Gauge("iacrm_job_tenants", "Tenants by the outcome of a job's last run for them.", ["job", "outcome"])
SELF_CHECK_DIFFERENCES = Gauge(
    "iacrm_self_check_differences", "Differences that the last nightly self-check found, over all tenants."
)


def asgi_app() -> Any:
    """The ASGI application that answers GET /metrics in the Prometheus text format."""
    return make_asgi_app()
