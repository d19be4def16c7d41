"""`./iacrm verify`: recomputes every value from the ledger with Polars and compares it with every row.

It shares no SQL and no arithmetic with the batches: sums in Polars decimals, quantiles in fractions.
"""

from services.rfm_worker.verification.compare import Report
from services.rfm_worker.verification.run import NoSuchTenantError, run_alone, verify, verify_sample

__all__ = ["NoSuchTenantError", "Report", "run_alone", "verify", "verify_sample"]
