"""What a job is: a name, when it is due, what it does for one tenant, and how that ended."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.jobs.settings import RfmJobsSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: a word from the job's closed set, and figures without personal data."""

    word: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a job may use."""

    engine: AsyncEngine
    settings: RfmJobsSettings
    now: Callable[[], datetime]
    check: Callable[[], None]
    """To be called now and then from a job's thread: says that work goes on, and raises when the process stops."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work that returns for each tenant.

    Attributes:
        every_days: nights between two runs.
        growth: share of new orders after which it runs before its night; None: it runs at night only, also at first.
        run: does it for one tenant; raises when it fails.
    """

    name: str
    every_days: int
    growth: float | None
    run: Callable[[Context, UUID], Awaitable[Outcome]]
