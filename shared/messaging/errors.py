"""What can go wrong with a record or a batch, and what to do about it: outcomes are types, reasons a closed set."""

import socket
from dataclasses import dataclass
from enum import StrEnum

import asyncpg
from aiokafka.errors import KafkaError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class DeadReason(StrEnum):
    """Why a record went to the dead-letter topic. Dashboards key on these words."""

    UNDECODABLE = "undecodable"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_ENVELOPE = "invalid_envelope"
    INVALID_PAYLOAD = "invalid_payload"
    KEY_MISMATCH = "key_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    DATA_ERROR = "data_error"


class Poison(Exception):  # noqa: N818 - the domain's word
    """This record can never be applied as it is.

    `detail` names error types and field locations and never repeats a value: it is read by operators and must
    not carry personal data.
    """

    def __init__(self, reason: DeadReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class Transient(Exception):  # noqa: N818 - the domain's word
    """Something that the record depends on is away; the same batch may succeed later."""


class Fatal(Exception):  # noqa: N818 - the domain's word
    """A programming or deployment error: going on would hide it or spoil data, so the process stops."""


class BrokerUnavailable(Transient):
    """The broker did not acknowledge within the deadline. The record may still land later."""


class PublishRejected(Exception):  # noqa: N818 - states what happened
    """The broker or the client refuses this record for good (too large, unknown topic, not authorised)."""


@dataclass(frozen=True, slots=True)
class IsPoison:
    """The batch holds a record that the database refuses: find it and dead-letter it."""

    reason: DeadReason
    detail: str


@dataclass(frozen=True, slots=True)
class IsTransient:
    """Try again later; `cause` is a short name for logs and metrics."""

    cause: str


@dataclass(frozen=True, slots=True)
class IsFatal:
    """Stop the process; `cause` is a short name for logs and metrics."""

    cause: str


Outcome = IsPoison | IsTransient | IsFatal

POISON_CLASSES = ("22", "23", "54")
"""SQLSTATE classes that come from the data: data exception, integrity violation, program limit (row too wide)."""
FATAL_CLASSES = ("0A", "28", "2F", "38", "39", "3D", "3F", "42", "44", "P0")
"""SQLSTATE classes that come from code or deployment: syntax, missing tables, missing rights, wrong password."""
FATAL_STATES = ("25P02",)
NOT_AN_OUTAGE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def classify(error: BaseException) -> Outcome:
    """Says what an exception raised while applying a batch means.

    An outage of database or broker is never poison; what is not known is fatal, so that a programming error
    neither drains a topic into its dead-letter topic nor loops quietly.
    """
    match error:
        case Poison():
            return IsPoison(error.reason, error.detail)
        case Fatal():
            return IsFatal(str(error) or "fatal")
        case Transient() | KafkaError() | PoolTimeoutError():
            return IsTransient(type(error).__name__)
    state = sqlstate(error)
    if state is not None:
        return _by_sqlstate(state, error)
    if _is_lost_connection(error):
        return IsTransient(type(error).__name__)
    return IsFatal(type(error).__name__)


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE of a database error, found through SQLAlchemy's and the dialect's wrappers."""
    seen: BaseException | None = error
    for _ in range(5):
        if seen is None:
            return None
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str) and len(state) == 5:
            return state
        seen = getattr(seen, "orig", None) or seen.__cause__
    return None


def _by_sqlstate(state: str, error: BaseException) -> Outcome:
    if state.startswith(POISON_CLASSES):
        return IsPoison(DeadReason.DATA_ERROR, f"sqlstate {state}{_constraint(error)}")
    if state.startswith(FATAL_CLASSES) or state in FATAL_STATES:
        return IsFatal(f"sqlstate {state}")
    return IsTransient(f"sqlstate {state}")


def _constraint(error: BaseException) -> str:
    seen: BaseException | None = error
    for _ in range(5):
        if seen is None:
            break
        name = getattr(seen, "constraint_name", None)
        if isinstance(name, str) and name:
            return f" ({name})"
        seen = getattr(seen, "orig", None) or seen.__cause__
    return ""


def _is_lost_connection(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and _is_lost_connection(error.orig))
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "released back" in str(error)
    if isinstance(error, OSError | socket.gaierror | EOFError):
        return not isinstance(error, NOT_AN_OUTAGE)
    return error.__cause__ is not None and isinstance(error.__cause__, asyncpg.InterfaceError | OSError) and (
        _is_lost_connection(error.__cause__)
    )
