"""What an exception means for a batch."""

import asyncio

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shared.messaging.errors import (
    BrokerUnavailable,
    DeadReason,
    Fatal,
    IsFatal,
    IsPoison,
    IsTransient,
    Poison,
    PoisonedItems,
    classify,
    sqlstate,
)


def wrapped(error: Exception) -> Exception:
    """As SQLAlchemy hands on a driver's error: dialect error inside its own, the original as cause."""
    dialect = Exception(str(error))
    dialect.__cause__ = error
    outer = DBAPIError("select 1", None, dialect)
    outer.__cause__ = dialect
    return outer


BY_DATA = [
    asyncpg.DataError("x"),
    asyncpg.CheckViolationError("x"),
    asyncpg.NotNullViolationError("x"),
    asyncpg.NumericValueOutOfRangeError("x"),
    asyncpg.ProgramLimitExceededError("x"),
]
OUTAGES = [
    asyncpg.ConnectionDoesNotExistError("x"),
    asyncpg.AdminShutdownError("x"),
    asyncpg.CannotConnectNowError("x"),
    asyncpg.TooManyConnectionsError("x"),
    asyncpg.DeadlockDetectedError("x"),
    asyncpg.SerializationError("x"),
    asyncpg.LockNotAvailableError("x"),
    asyncpg.QueryCanceledError("x"),
    asyncpg.DiskFullError("x"),
    asyncpg.InvalidCachedStatementError("x"),
    asyncpg.InterfaceError("connection is closed"),
]
MISTAKES = [
    asyncpg.UndefinedTableError("x"),
    asyncpg.PostgresSyntaxError("x"),
    asyncpg.InsufficientPrivilegeError("x"),
    asyncpg.InvalidPasswordError("x"),
    asyncpg.InFailedSQLTransactionError("x"),
]


@pytest.mark.parametrize("wrap", [lambda e: e, wrapped], ids=["driver", "sqlalchemy"])
@pytest.mark.parametrize("error", BY_DATA, ids=lambda e: type(e).__name__)
def test_what_the_database_says_about_data_is_poison(error, wrap):
    outcome = classify(wrap(error))
    assert isinstance(outcome, IsPoison)
    assert outcome.reason is DeadReason.DATA_ERROR


@pytest.mark.parametrize("wrap", [lambda e: e, wrapped], ids=["driver", "sqlalchemy"])
@pytest.mark.parametrize("error", OUTAGES, ids=lambda e: type(e).__name__)
def test_an_outage_of_the_database_is_never_poison(error, wrap):
    assert isinstance(classify(wrap(error)), IsTransient)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        OSError("Multiple exceptions: connect failed"),
        PoolTimeoutError("x"),
        KafkaConnectionError("x"),
        BrokerUnavailable("x"),
        asyncio.IncompleteReadError(b"", 1),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_outage_of_the_network_or_broker_is_never_poison(error):
    assert isinstance(classify(error), IsTransient)


@pytest.mark.parametrize("wrap", [lambda e: e, wrapped], ids=["driver", "sqlalchemy"])
@pytest.mark.parametrize("error", MISTAKES, ids=lambda e: type(e).__name__)
def test_a_mistake_in_code_or_deployment_is_fatal(error, wrap):
    assert isinstance(classify(wrap(error)), IsFatal)


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), TypeError("x"), AttributeError("x"), FileNotFoundError("x"), MemoryError(), Fatal("x")],
    ids=lambda e: type(e).__name__,
)
def test_what_is_not_known_is_fatal(error):
    assert isinstance(classify(error), IsFatal)


def test_poison_keeps_its_reason_and_detail():
    assert classify(Poison(DeadReason.CURRENCY_MISMATCH, "currency")) == IsPoison(
        DeadReason.CURRENCY_MISMATCH, "currency"
    )


def test_the_detail_names_the_constraint_and_never_the_value():
    error = asyncpg.CheckViolationError('new row violates check constraint "amount_positive"')
    error.constraint_name = "amount_positive"
    error.detail = "Failing row contains (jane@example.com)"
    outcome = classify(wrapped(error))
    assert outcome == IsPoison(DeadReason.DATA_ERROR, "sqlstate 23514 (amount_positive)")


def test_sqlstate_of_something_else_is_none():
    assert sqlstate(ValueError("x")) is None


def test_poisoned_items_must_name_one():
    with pytest.raises(ValueError, match="at least one"):
        PoisonedItems({})
