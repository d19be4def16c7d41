"""Periods: what is chosen for what is left out, what is refused, and that days, weeks and months cover a period."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api_gateway.errors import Problem
from services.api_gateway.periods import MOST_DAYS, DayRange, choose, spans

TODAY = date(2026, 11, 24)
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
    ("first", "last", "field"),
    [(date(2026, 2, 2), date(2026, 2, 1), "to"), (TODAY - timedelta(days=MOST_DAYS), TODAY, "from")],
)
def test_unordered_and_too_long_periods_are_refused(first: date, last: date, field: str) -> None:
    with pytest.raises(Problem) as refused:
        choose(first, last, TODAY)
    assert refused.value.status_code == 422
    assert refused.value.errors[0]["field"] == field
    longest = choose(TODAY - timedelta(days=MOST_DAYS - 1), TODAY, TODAY)
    assert longest.days == MOST_DAYS


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
