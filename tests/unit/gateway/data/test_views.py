"""How numbers, patches, entity tags and the state of a worker look."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.api_gateway.errors import Problem
from services.api_gateway.master_writes import check_match
from services.api_gateway.routes.status import worker_status
from services.api_gateway.views.customers import CustomerPatch, rfm_of
from services.api_gateway.views.numbers import money, number, quantity
from services.api_gateway.views.products import ProductPatch
from services.api_gateway.views.queries import When
from services.api_gateway.views.rfm import distribution_of
from shared.db.applied import Applied
from shared.events.payloads import CustomerFields, ProductFields

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.0000", "0"),
        ("0", "0"),
        ("431.2000", "431.20"),
        ("61.6", "61.60"),
        ("12.34568", "12.34568"),
        ("1E+5", "100000.00"),
        ("-3.5", "-3.50"),
        ("99999999999999999999.9999", "99999999999999999999.9999"),
    ],
)
def test_money_is_a_decimal_string_that_loses_nothing(value: str, shown: str) -> None:
    assert money(Decimal(value)) == shown


@pytest.mark.parametrize(("value", "shown"), [("2.000", "2"), ("0.500", "0.5"), ("100", "100"), ("1E+3", "1000")])
def test_a_quantity_has_no_needless_zeros(value: str, shown: str) -> None:
    assert quantity(Decimal(value)) == shown


def test_whole_numbers_are_integers() -> None:
    assert [repr(number(Decimal(value))) for value in ("3.0", "3.4")] == ["3", "3.4"]


def test_a_customer_without_a_counting_order_is_a_prospect() -> None:
    names = "r f m frequency monetary segment segment_since first_order_at last_order_at last_order_day"
    row = SimpleNamespace(**dict.fromkeys(names.split()), reference_date=date(2026, 11, 23), cutoffs_at=NOW)
    shown = rfm_of(row).model_dump(mode="json")
    assert (shown["frequency"], shown["monetary"], shown["segment"]) == (0, "0", "prospect")
    assert {shown[name] for name in ("r", "f", "m", "rfm_code", "rfm_score", "recency_days")} == {None}


def test_recency_counts_from_the_reference_date_and_is_never_negative() -> None:
    columns: dict[str, Any] = {
        "r": 5,
        "f": 4,
        "m": 4,
        "frequency": 7,
        "monetary": Decimal("431.2"),
        "segment": "champions",
        "segment_since": NOW,
        "first_order_at": NOW,
        "last_order_at": NOW,
        "cutoffs_at": NOW,
        "reference_date": date(2026, 11, 23),
    }
    shown = rfm_of(SimpleNamespace(**columns, last_order_day=date(2026, 11, 11)))
    assert (shown.recency_days, shown.rfm_code, shown.rfm_score) == (12, "544", 13)
    assert rfm_of(SimpleNamespace(**columns, last_order_day=date(2026, 11, 25))).recency_days == 0


def test_the_distribution_always_has_twelve_segments_in_their_order() -> None:
    counts = {
        "lost": SimpleNamespace(customers=1, revenue=Decimal(3)),
        "prospect": SimpleNamespace(customers=2, revenue=Decimal(0)),
    }
    shown = distribution_of(counts, None)
    assert [one.segment for one in shown.segments][:2] == ["champions", "loyal"]
    assert len(shown.segments) == 12
    assert {one.segment: one.share for one in shown.segments if one.customers} == {"lost": 0.3333, "prospect": 0.6667}
    assert {one.share for one in distribution_of({}, None).segments} == {0.0}


def patched(stored: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = CustomerPatch.model_validate(patch).apply(CustomerFields.model_validate(stored))
    return merged.model_dump(mode="json", exclude_defaults=True)


def test_a_patch_merges() -> None:
    stored = {
        "first_name": "Ana",
        "email": "ana@example.org",
        "tags": ["a"],
        "attributes": {"x": "1", "y": "2"},
        "consents": {"sms": {"status": "opted_in", "at": "2026-01-01T00:00:00Z", "source": "s"}},
    }
    assert patched(stored, {}) == stored
    assert patched(stored, {"email": None, "attributes": {"x": None, "z": "3"}, "tags": ["b"]}) == {
        **{name: stored[name] for name in ("first_name", "consents")},
        "tags": ["b"],
        "attributes": {"y": "2", "z": "3"},
    }
    email = {"status": "opted_out", "at": "2026-02-01T00:00:00Z", "source": "s"}
    both = patched(stored, {"consents": {"email": email}})["consents"]
    assert both["email"] == email
    assert both["sms"] is not None
    assert patched(stored, {"tags": None, "attributes": None, "consents": None}) == {
        "first_name": "Ana",
        "email": "ana@example.org",
    }


def test_a_patch_cannot_break_a_limit() -> None:
    stored = CustomerFields(attributes={f"k{number}": "v" for number in range(50)})
    with pytest.raises(ValidationError):
        CustomerPatch(attributes={"one more": "v"}).apply(stored)


def test_null_makes_a_product_active_again() -> None:
    assert ProductPatch(active=None, price=None).apply(ProductFields(active=False, price=Decimal(2))) == ProductFields()


@pytest.mark.parametrize(
    ("tag", "version"), [(None, None), ("*", 1), ('"3"', 3), ("3", 3), ('W/"3"', 3), ('"1", "3"', 3)]
)
def test_a_matching_tag_lets_a_change_pass(tag: str | None, version: int | None) -> None:
    check_match(tag, version)


@pytest.mark.parametrize(
    ("tag", "version", "status"),
    [('"2"', 3, 412), ("*", None, 412), ('"1"', None, 412), ("new", 1, 400), ('"', 1, 400), ("", 1, 400)],
)
def test_another_tag_does_not(tag: str, version: int | None, status: int) -> None:
    with pytest.raises(Problem) as caught:
        check_match(tag, version)
    assert caught.value.status_code == status


@pytest.mark.parametrize("value", ["2026-11-01", "2026-11-01T10:00:00Z", "2026-11-01T10:00:00 01:00"])
def test_a_bound_of_time_is_a_date_or_a_moment(value: str) -> None:
    found = TypeAdapter(When).validate_python(value)
    assert isinstance(found, datetime) == (len(value) > 10)


@pytest.mark.parametrize(
    "value",
    ["", "x", "2026-13-01", "9999-01-01", "0001-01-01", "2026-11-01T10:00:00", "9999-12-31T23:59:59-14:00", "1"],
)
def test_other_bounds_of_time_are_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(When).validate_python(value)


def test_a_worker_is_ready_behind_stalled_or_unknown() -> None:
    place = ("sales", 0)

    def state(next_offset: int, end: int, ago_s: int) -> tuple[str, int | None]:
        applied = {place: Applied(next_offset, NOW - timedelta(seconds=ago_s))}
        shown = worker_status(applied, {place: end}, NOW)
        return shown.state, shown.lag

    assert state(5, 5, 3600) == ("ready", 0)
    assert state(5, 9, 1) == ("ready", 4)
    assert state(5, 9, 10) == ("behind", 4)
    assert state(5, 9, 60) == ("stalled", 4)
    assert worker_status(None, {place: 1}, NOW).state == "unknown"
    assert worker_status({}, None, NOW).lag is None
    assert worker_status({}, {place: 0}, NOW).state == "ready"
