"""Periods: what is chosen for what is left out, what is refused, and that days, weeks and months cover a period."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.api_gateway.errors import Problem
from services.api_gateway.periods import MOST_DAYS, Between, DayRange, choose, read_bounds, spans
from services.api_gateway.views.queries import When

TODAY = date(2026, 11, 24)
WHEN: TypeAdapter[date | None] = TypeAdapter(When | None)
DAYS = st.dates(date(1900, 1, 1), date(2099, 12, 31))


@pytest.mark.parametrize(
    ("first", "last", "chosen"),
    [
        (None, None, (date(2026, 10, 26), TODAY)),
        (None, date(2026, 1, 31), (date(2026, 1, 2), date(2026, 1, 31))),
        (date(2026, 11, 1), None, (date(2026, 11, 1), TODAY)),
        (date(2026, 12, 1), None, (date(2026, 12, 1), date(2026, 12, 1))),
        (TODAY, TODAY, (TODAY, TODAY)),
    ],
)
def test_what_is_left_out_is_chosen(first: date | None, last: date | None, chosen: tuple[date, date]) -> None:
    period = choose(first, last, TODAY)
    assert (period.first, period.last) == chosen


@pytest.mark.parametrize(
    ("first", "last", "fields"),
    [(date(2026, 2, 2), date(2026, 2, 1), ["from", "to"]), (TODAY - timedelta(days=MOST_DAYS), TODAY, ["from"])],
)
def test_unordered_and_too_long_periods_are_refused(first: date, last: date, fields: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        choose(first, last, TODAY)
    assert refused.value.status_code == 422
    assert [error["field"] for error in refused.value.errors] == fields
    longest = choose(TODAY - timedelta(days=MOST_DAYS - 1), TODAY, TODAY)
    assert longest.days == MOST_DAYS


@pytest.mark.parametrize(
    ("since", "until", "good"),
    [
        ("2026-11-02", "2026-11-02", True),
        ("2026-11-02", "2026-11-01", False),
        ("2026-11-02T10:00:00Z", "2026-11-02T10:00:00Z", True),
        ("2026-11-02T10:00:01Z", "2026-11-02T11:00:00+01:00", False),
        # A day against a moment: in Kiribati the 2nd begins at 10:00 of the 1st in UTC, and on Baker Island it ends at
        # 12:00 of the 3rd.
        ("2026-11-02", "2026-11-01T10:00:01Z", True),
        ("2026-11-02", "2026-11-01T10:00:00Z", False),
        ("2026-11-03T11:59:59Z", "2026-11-02", True),
        ("2026-11-03T12:00:00Z", "2026-11-02", False),
        ("2099-12-31", None, True),
        (None, "1900-01-01", True),
        ("1900-01-01T00:00:00Z", "2099-12-31", True),
        ("2099-12-31", "1900-01-01T00:00:00Z", False),
    ],
)
async def test_bounds_are_refused_where_nothing_could_lie_between_them(
    since: str | None, until: str | None, good: bool
) -> None:
    bounds = [WHEN.validate_python(bound) for bound in (since, until)]
    if good:
        assert await read_bounds(*bounds) == Between(*bounds)
        return
    with pytest.raises(Problem) as refused:
        await read_bounds(*bounds)
    assert refused.value.status_code == 422
    assert [error["field"] for error in refused.value.errors] == ["from", "to"]


@given(DAYS, st.integers(0, 800))
def test_the_period_before_is_as_long_and_directly_before(first: date, more: int) -> None:
    period = DayRange(first, first + timedelta(days=more))
    before = period.before()
    assert before.days == period.days
    assert before.last + timedelta(days=1) == period.first


@given(DAYS, st.integers(0, 800), st.sampled_from(["day", "week", "month"]))
def test_every_day_lies_in_exactly_one_span(first: date, more: int, grain: str) -> None:
    period = DayRange(first, first + timedelta(days=more))
    found = spans(period, grain)  # type: ignore[arg-type]
    days = [span.inside.first + timedelta(days=n) for span in found for n in range(span.inside.days)]
    assert days == [period.first + timedelta(days=n) for n in range(period.days)]
    label = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}[grain]
    for span in found:
        assert {span.inside.first.strftime(label), span.inside.last.strftime(label)} == {span.label}
        outside = {span.start, span.start + timedelta(days=-1)}
        assert sum(day.strftime(label) == span.label for day in outside) == 1
        following = span.inside.last + timedelta(days=1)
        complete = span.inside.first == span.start and following.strftime(label) != span.label
        assert span.whole == complete


def test_iso_weeks_around_the_turn_of_a_year() -> None:
    labels = [span.label for span in spans(DayRange(date(2026, 12, 27), date(2027, 1, 4)), "week")]
    assert labels == ["2026-W52", "2026-W53", "2027-W01"]
