"""Knobs of the process that runs the background jobs, beside those that every process has."""

from pydantic import Field

from shared.settings import CommonSettings


class RfmJobsSettings(CommonSettings):
    """Environment variables `IACRM_*` of this process. `IACRM_DATABASE_URL` names the role iacrm_rfm."""

    night_hour: int = Field(
        3, ge=0, le=23, description="hour of each tenant's own day after which its nightly jobs are due"
    )
    lifetime_every_days: int = Field(1, ge=1, le=90, description="nights between two fits of the lifetime value")
    lifetime_growth: float = Field(
        0.02, ge=0.001, le=100, description="share of orders that must have come (an import) to be fitted before night"
    )
    lifetime_pause_s: float = Field(
        60.0, ge=1, le=86_400, description="least seconds between two fits of one tenant for that reason"
    )
    lifetime_horizon_days: int = Field(365, ge=30, le=1825, description="days ahead that a lifetime value covers")
    lifetime_least_days: int = Field(
        180, ge=60, le=3650, description="days of history below which no lifetime value is given"
    )
    lifetime_least_buyers: int = Field(
        100, ge=30, le=1_000_000, description="customers with orders on two days below which none is given"
    )
    self_check_customers: int = Field(
        500, ge=1, le=100_000, description="customers whose numbers the nightly self-check computes again"
    )
    jobs_look_s: float = Field(15.0, ge=0.05, le=3600, description="seconds between two looks for jobs that are due")
    jobs_retry_s: float = Field(3600.0, ge=1, le=86_400, description="seconds after which a failed job is tried again")
