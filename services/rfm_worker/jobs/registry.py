"""The jobs as data: another one is one more line."""

from collections.abc import Sequence

from services.rfm_worker.jobs.job import Job
from services.rfm_worker.jobs.lifetime import compute_lifetime_values
from services.rfm_worker.jobs.self_check import check_tenant
from services.rfm_worker.jobs.settings import RfmJobsSettings


def jobs_of(settings: RfmJobsSettings) -> Sequence[Job]:
    """All jobs, in the order in which they are looked at."""
    return (
        Job("lifetime_value", settings.lifetime_every_days, settings.lifetime_growth, compute_lifetime_values),
        Job("self_check", 1, None, check_tenant),
    )
