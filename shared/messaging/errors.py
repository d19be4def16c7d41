"""What can go wrong with a record or a batch, and what to do about it: outcomes are types, reasons a closed set."""

from collections.abc import Iterator, Mapping
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


ONE_SENDERS_OWN = frozenset({DeadReason.CURRENCY_MISMATCH})
"""Reasons that only the content of one sender's records gives; no deploy of ours makes them, however many come."""


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


class PoisonedItems(Exception):  # noqa: N818 - the domain's word
    """Raised by `apply` when it knows which of its items can never be applied; spares the search for them.

    `items` maps positions in the sequence that `apply` was given to the reason.
    """

    def __init__(self, items: Mapping[int, Poison]) -> None:
        if not items:
            raise ValueError("name at least one poisoned item")
        super().__init__(f"{len(items)} poisoned items")
        self.items = dict(items)


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
    state = sqlstate(error)
    if _passes(error) or (state is None and _is_lost_connection(error)):
        return IsTransient(type(error).__name__)
    return IsFatal(type(error).__name__) if state is None else _by_sqlstate(state, error)


def _passes(error: BaseException) -> bool:
    """Kafka's errors, a full pool, and a prepared plan that a migration made stale."""
    return isinstance(error, Transient | KafkaError | PoolTimeoutError) or any(
        isinstance(layer, asyncpg.InvalidCachedStatementError) for layer in _layers(error)
    )


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE of a database error, found through SQLAlchemy's and the dialect's wrappers."""
    for layer in _layers(error):
        state = getattr(layer, "sqlstate", None)
        if isinstance(state, str) and len(state) == 5:
            return state
    return None


def _layers(error: BaseException) -> Iterator[BaseException]:
    layer: BaseException | None = error
    for _ in range(5):
        if layer is None:
            return
        yield layer
        layer = getattr(layer, "orig", None) or layer.__cause__


def _by_sqlstate(state: str, error: BaseException) -> Outcome:
    if state.startswith(POISON_CLASSES):
        return IsPoison(DeadReason.DATA_ERROR, f"sqlstate {state}{_constraint(error)}")
    if state.startswith(FATAL_CLASSES) or state in FATAL_STATES:
        return IsFatal(f"sqlstate {state}")
    return IsTransient(f"sqlstate {state}")


def _constraint(error: BaseException) -> str:
    for layer in _layers(error):
        name = getattr(layer, "constraint_name", None)
        if isinstance(name, str) and name:
            return f" ({name})"
    return ""


def _is_lost_connection(error: BaseException) -> bool:
    for layer in _layers(error):
        if isinstance(layer, DBAPIError) and layer.connection_invalidated:
            return True
        if isinstance(layer, asyncpg.InterfaceError) and "closed" in str(layer):
            return True
        if isinstance(layer, OSError | EOFError) and not isinstance(layer, NOT_AN_OUTAGE):
            return True
    return False
