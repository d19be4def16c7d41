"""Periods of local days: the one asked for, the one before it, and its days, ISO weeks or months."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal

from fastapi import Depends

from services.api_gateway.errors import Problem, invalid, invalid_fields
from services.api_gateway.views.queries import Since, Until

Grain = Literal["day", "week", "month"]
USUAL_DAYS = 30
MOST_DAYS = 731
"""Two years, for figures of a whole period and for points of a day."""
MOST_DAYS_OF_LONG_GRAINS = 3660
"""Ten years, for points of a week or month."""
_DAY = timedelta(days=1)
_EARLIEST_ZONE, _LATEST_ZONE = timedelta(hours=14), timedelta(hours=-12)
"""Where a local day begins first and ends last, as offsets from UTC."""


@dataclass(frozen=True, slots=True)
class Between:
    """`from` and `to` of a list or export: days are local and both included, of moments the later one is not."""

    since: date | datetime | None
    until: date | datetime | None


async def read_bounds(since: Since = None, until: Until = None) -> Between:
    """The bounds of a request.

    Raises:
        Problem: 422 that names both where nothing could lie between them.
    """
    if since is not None and until is not None and _is_after(since, until):
        raise _reversed()
    return Between(since, until)


BetweenDep = Annotated[Between, Depends(read_bounds)]


def _is_after(since: date | datetime, until: date | datetime) -> bool:
    """Whether `since` lies behind `until`; a day against a moment only where it does so in every time zone."""
    if isinstance(since, datetime) == isinstance(until, datetime):
        return since > until
    if isinstance(since, datetime):
        return since >= datetime.combine(until + _DAY, time(), UTC) - _LATEST_ZONE
    assert isinstance(until, datetime)  # noqa: S101 - the other one of the two
    return until <= datetime.combine(since, time(), UTC) - _EARLIEST_ZONE


def _reversed() -> Problem:
    return invalid_fields(
        [
            {"field": "from", "reason": "must not lie after to"},
            {"field": "to", "reason": "must not lie before from"},
        ]
    )


@dataclass(frozen=True, slots=True)
class DayRange:
    """Local days, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.last - self.first).days + 1

    def before(self) -> "DayRange":
        """As many days, directly before."""
        return DayRange(self.first - self.days * _DAY, self.first - _DAY)


@dataclass(frozen=True, slots=True)
class Span:
    """A day, week or month as far as it lies in a period.

    Attributes:
        label: as answers name it: 2026-11-20, 2026-W47, 2026-11.
        start: its own first day, which may lie before the period.
        inside: its days in the period.
        whole: whether these are all of its days.
    """

    label: str
    start: date
    inside: DayRange
    whole: bool


def choose(first: date | None, last: date | None, today: date, most_days: int = MOST_DAYS) -> DayRange:
    """The period asked for; what is left out is chosen so that the period ends at `today` or has 30 days.

    Raises:
        Problem: 422 for days in the wrong order, or too many of them.
    """
    end = last or max(today, first or today)
    begin = first or end - (USUAL_DAYS - 1) * _DAY
    if begin > end:
        raise _reversed()
    if (end - begin).days >= most_days:
        raise invalid("from", f"must lie less than {most_days} days before to")
    return DayRange(begin, end)


def spans(period: DayRange, grain: Grain) -> Sequence[Span]:
    """The days, ISO weeks or months that a period touches, in order."""
    found, day = [], period.first
    while day <= period.last:
        start, following = _bounds(day, grain)
        inside = DayRange(day, min(period.last, following - _DAY))
        found.append(Span(_label(start, grain), start, inside, inside == DayRange(start, following - _DAY)))
        day = following
    return found


def _bounds(day: date, grain: Grain) -> tuple[date, date]:
    """First day, and the day after the last one."""
    if grain == "day":
        return day, day + _DAY
    if grain == "week":
        monday = day - day.weekday() * _DAY
        return monday, monday + 7 * _DAY
    first = day.replace(day=1)
    return first, (first + 31 * _DAY).replace(day=1)


def _label(start: date, grain: Grain) -> str:
    if grain == "day":
        return start.isoformat()
    if grain == "month":
        return f"{start:%Y-%m}"
    year, week, _ = start.isocalendar()
    return f"{year:04}-W{week:02}"
