"""Caches, windows, cursors, reasons: the parts that every request meets."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import available_timezones

import polars as pl
import pytest
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from services.api_gateway.errors import Problem, to_problem, validation_problem
from services.api_gateway.expiring import Expiring
from services.api_gateway.pagination import decode_cursor, encode_cursor
from services.api_gateway.reasons import field_reasons
from services.api_gateway.security.keyring import ApiKeyring, StoredKey, hash_key, new_key
from services.api_gateway.security.login_limits import LoginLimits
from services.api_gateway.security.rate_limits import RateLimiter
from services.api_gateway.settings import GatewaySettings
from services.api_gateway.tenant_cache import TenantCache, TenantState
from services.api_gateway.views.accounts import PasswordChange
from services.api_gateway.views.tenants import merge_patch
from shared.events.payloads import SaleRecordedV1
from shared.events.tenant_settings import TenantSettings

TENANT = uuid.uuid4()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_cache_forgets_in_time_and_never_grows_beyond_its_bound() -> None:
    clock = Clock()
    cache: Expiring[int, str] = Expiring(3, clock)
    for number in range(5):
        cache.put(number, str(number), 60)
    assert (len(cache), cache.get(1), cache.get(4)) == (3, None, "4")
    clock.now += 60
    assert (cache.get(4), cache.stale(4)) == (None, "4")


def test_a_caller_has_its_requests_per_window_and_others_have_theirs() -> None:
    clock = Clock()
    limiter = RateLimiter(3, 60, clock)
    assert [limiter.hit("a").allowed for _ in range(4)] == [True, True, True, False]
    assert limiter.hit("b").remaining == 2
    assert limiter.hit("a").reset_s == 20  # windows end at multiples of their length
    clock.now += 20
    assert limiter.hit("a").allowed


async def test_logins_are_limited_per_account_and_per_address_and_success_clears_the_account() -> None:
    limits = LoginLimits(GatewaySettings(login_attempts_per_account=3, login_failures_per_address=4, login_window_s=60))
    for _ in range(3):
        await limits.attempt("ana", "1.1.1.1")
    with pytest.raises(Problem) as refused:
        await limits.attempt("ana", "2.2.2.2")
    assert refused.value.status_code == 429
    assert refused.value.headers == {"Retry-After": "60"}
    await limits.succeeded("ana")
    await limits.attempt("ana", "1.1.1.1")
    for _ in range(4):
        await limits.failed("3.3.3.3")
    with pytest.raises(Problem):
        await limits.attempt("somebody else", "3.3.3.3")
    await limits.attempt("somebody else", "1.1.1.1")


async def test_a_key_is_looked_up_once_per_lifetime_and_guesses_do_not_push_it_out() -> None:
    key, asked = new_key(), list[bytes]()

    async def load(key_hash: bytes) -> StoredKey | None:
        asked.append(key_hash)
        if key_hash != key.key_hash:
            return None
        return StoredKey(uuid.uuid4(), TENANT, frozenset({"read"}), None, None)

    keyring = ApiKeyring(load, lifetime_s=60, entries=100)
    assert await keyring.find(key.secret) is not None
    for _ in range(300):
        guess = new_key().secret
        assert await keyring.find(guess) is None
        assert await keyring.find(guess) is None
    assert await keyring.find(key.secret) is not None
    assert len(asked) == 301
    assert await keyring.find("iak_short") is None
    assert await keyring.find(key.secret + "\0") is None
    assert len(asked) == 301
    keyring.forget(hash_key(key.secret))
    await keyring.find(key.secret)
    assert len(asked) == 302


async def test_an_expired_or_revoked_key_finds_nobody_even_from_the_cache() -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for expires, revoked in ((past, None), (None, past)):
        key = new_key()

        async def load(_: bytes, expires: Any = expires, revoked: Any = revoked) -> StoredKey:
            return StoredKey(uuid.uuid4(), TENANT, frozenset({"read"}), expires, revoked)

        keyring = ApiKeyring(load, lifetime_s=60, entries=100)
        assert await keyring.find(key.secret) is None
        assert keyring.take_used() == {}


async def test_a_tenant_outlives_an_outage_in_the_cache_for_facts_only() -> None:
    state = TenantState(TENANT, "A", "active", TenantSettings(), 1)
    away, asked = False, 0

    async def load(tenant_id: uuid.UUID) -> TenantState | None:
        nonlocal asked
        asked += 1
        if away:
            raise ConnectionRefusedError
        return state if tenant_id == TENANT else None

    cache = TenantCache(load, lifetime_s=0.0, entries=10)
    assert await cache.get(TENANT) == state
    away = True
    assert await cache.known(TENANT) == state
    assert await cache.known(uuid.uuid4()) is None
    assert await cache.known(TENANT) == state
    assert asked == 2  # a failure is not repeated for every request
    with pytest.raises(ConnectionRefusedError):
        await cache.get(TENANT)


def test_a_cursor_comes_back_with_its_types_for_its_own_list_and_tenant_only() -> None:
    values = ("é:1", 7, datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.50"), TENANT, None)
    types = (str, int, datetime, Decimal, uuid.UUID, str)
    cursor = encode_cursor("list", TENANT, values)
    assert decode_cursor(cursor, "list", TENANT, types) == values
    assert decode_cursor(None, "list", TENANT, types) is None
    forged = ("", "x", "é", "=" * 9, cursor[:-3], cursor + "AAAA", encode_cursor("list", TENANT, ["a"]))
    for wrong in (*forged, encode_cursor("other", TENANT, values), encode_cursor("list", uuid.uuid4(), values)):
        with pytest.raises(Problem) as refused:
            decode_cursor(wrong, "list", TENANT, types)
        assert refused.value.status_code == 400


@pytest.mark.parametrize(
    ("types", "values"),
    [((int,), ["1"]), ((datetime,), ["x"]), ((Decimal,), ["NaN"]), ((uuid.UUID,), ["x"]), ((str,), ["a\0"])],
)
def test_a_forged_cursor_with_values_of_other_types_is_refused(types: tuple[type, ...], values: list[Any]) -> None:
    with pytest.raises(Problem):
        decode_cursor(encode_cursor("list", TENANT, values), "list", TENANT, types)


def test_a_merge_patch_lays_objects_over_each_other_and_null_takes_away() -> None:
    stored = {"a": {"b": 1, "c": 2}, "d": 3, "e": [1]}
    assert merge_patch(stored, {"a": {"b": None, "x": {"y": None}}, "e": [2], "d": {"f": 1}}) == {
        "a": {"c": 2, "x": {}}, "d": {"f": 1}, "e": [2],
    }  # fmt: skip
    assert stored["a"] == {"b": 1, "c": 2}


def _reasons(body: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        SaleRecordedV1.model_validate(body)
    problem = validation_problem(caught.value)
    assert problem.status_code == 422
    return {entry["field"]: entry["reason"] for entry in problem.errors}


def test_reasons_name_every_field_in_words_without_patterns_links_or_values() -> None:
    line = {"product_key": "a\nb", "quantity": "-1", "unit_price": "NaN", "discount": "1.23456", "amount": "x"}
    found = _reasons(
        {
            "sale_id": "", "customer_code": "secret@example.org", "sold_at": "2026-01-01T00:00:00",
            "channel": "x" * 65, "currency": "XXX", "lines": [line], "nope": 1, "metadata": {"k": 1},
        }
    )  # fmt: skip
    assert found == {
        "sale_id": "must be 1 to 64 printable characters",
        "customer_code": "must not look like an e-mail address: personal data stays out of codes and labels",
        "sold_at": "must carry an offset, such as +01:00 or Z",
        "channel": "must have at most 64 characters",
        "currency": "must be an ISO 4217 currency code",
        "lines.0.product_key": "must be 1 to 64 printable characters",
        "lines.0.quantity": "must be greater than 0",
        "lines.0.unit_price": "must be a finite number",
        "lines.0.discount": "must have at most 4 decimals",
        "lines.0.amount": "must be a number",
        "metadata.k": "must be a string",
        "nope": "is not a known field",
    }


def test_reasons_for_what_is_missing_or_too_many() -> None:
    assert _reasons({"lines": []}) == {
        "sale_id": "is required", "sold_at": "is required", "lines": "must have at least 1 item",
    }  # fmt: skip
    line = {"product_key": "p", "quantity": "1", "unit_price": "1"}
    found = _reasons({"sale_id": "s", "sold_at": "9999-01-01T00:00:00Z", "lines": [line] * 501})
    assert found == {
        "lines": "must have at most 500 items", "sold_at": "must lie between 1900-01-01 and 2099-12-31",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError("select 1", {}, ConnectionRefusedError()), 503),
        (ConnectionRefusedError(), 503),
        (TimeoutError(), 503),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), 422),
        (RuntimeError("a secret"), 500),
        (ZeroDivisionError(), 500),
    ],
)
def test_every_exception_becomes_a_problem_that_tells_no_secret(error: Exception, status: int) -> None:
    problem = to_problem(error)
    assert problem.status_code == status
    assert "secret" not in f"{problem.detail}{problem.errors}"


@pytest.mark.parametrize("day", ["0001-01-01", "1899-12-31", "2100-01-01", "9999-12-31"])
def test_a_reference_date_lies_where_databases_can_place_it_in_any_time_zone(day: str) -> None:
    with pytest.raises(ValidationError, match="must lie between 1900-01-01 and 2099-12-31"):
        TenantSettings.model_validate({"reference_date": day})


def test_lengths_of_secrets_are_told_in_characters() -> None:
    with pytest.raises(ValidationError) as caught:
        PasswordChange.model_validate({"current_password": "x", "new_password": "short"})
    assert field_reasons(caught.value.errors()) == [
        {"field": "new_password", "reason": "must have at least 10 characters"}
    ]


def test_verify_can_read_every_time_zone_that_a_tenant_may_have() -> None:
    moments = pl.DataFrame({"at": [datetime(2026, 7, 1, tzinfo=UTC)]})
    for name in available_timezones():
        try:
            TenantSettings(timezone=name)
        except ValidationError:
            continue
        moments.select(pl.col("at").dt.convert_time_zone(name).dt.date())
