"""Knobs of the rfm worker, beside those that every process has."""

from pydantic import Field

from shared.settings import CommonSettings


class RfmWorkerSettings(CommonSettings):
    """Environment variables `IACRM_*` of this process. `IACRM_DATABASE_URL` names the role iacrm_rfm."""

    database_pool_size: int = Field(
        10, ge=8, le=100, description="connections kept open by this process; the scorer uses up to six"
    )
    lanes: int = Field(
        2,
        ge=1,
        le=16,
        description="batches applied at once, each of its own partitions; more than there are partitions stay idle",
    )
    batch_max_records: int = Field(
        1500,
        ge=1,
        le=5000,
        description="most records in one transaction; only a backlog fills it, and drains faster so",
    )
    score_interval_s: float = Field(
        1.3, ge=0.05, le=60, description="least seconds between two runs that move one tenant's cut-offs"
    )
    refresh_interval_s: float = Field(
        1.0, ge=0.05, le=60, description="seconds between two looks for customers and periods to refresh"
    )
    max_dead_run: int = Field(
        100, ge=1, le=1_000_000, description="dead records in a row after which the worker stops loudly"
    )
    session_timeout_s: float = Field(
        10.0, ge=1, le=300, description="seconds without a sign of life after which others get its partitions"
    )
