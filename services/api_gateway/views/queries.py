"""Query and path parameters that several routes share, each with its limits."""

import contextlib
import hashlib
import re
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import AwareDatetime, BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from shared.events.fields import EARLIEST, LATEST, Code, Moment, Word

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SEARCH = r"^[^\p{C}\p{Zl}\p{Zp}]+$"
CustomerCode = Annotated[Code, Path(description="the tenant's own code of the customer", examples=["C-1042"])]
ProductKey = Annotated[Code, Path(description="the tenant's own key of the product", examples=["P-88"])]
Search = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_SEARCH)] | None,
    Query(description="part of code or name, in any case", examples=["ruiz"]),
]
WordFilter = Annotated[Word | None, Query()]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=100, description="ETag of the version to change", examples=['"3"']),
]


def _when(value: Any) -> Any:
    """A date stays a date; what has a time of day becomes a moment and needs an offset."""
    if not isinstance(value, str):
        return value
    try:
        if len(value) == 10:
            found = date.fromisoformat(value)
            return found if EARLIEST.date() <= found < LATEST.date() else _refuse()
        # A plus sign that was not escaped arrives as a space.
        moment = datetime.fromisoformat(value.replace(" ", "+") if "T" in value else value)
    except ValueError:
        _refuse()
    if moment.tzinfo is None or not EARLIEST <= moment < LATEST:
        _refuse()
    return moment


def _refuse() -> Any:
    raise PydanticCustomError("when", "must be a date, or a time with an offset, between 1900-01-01 and 2099-12-31")


When = Annotated[AwareDatetime | date, BeforeValidator(_when)]
Since = Annotated[
    When | None, Query(alias="from", description="first local day, or earliest moment", examples=["2026-11-01"])
]
Until = Annotated[
    When | None, Query(alias="to", description="last local day, or the moment before which", examples=["2026-11-30"])
]


def _day(value: Any) -> Any:
    """Only a plain date: numbers would be taken for seconds, and weeks (2026-W05-1) are dates to Python too."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        with contextlib.suppress(ValueError):
            found = date.fromisoformat(value)
            if EARLIEST.date() <= found < LATEST.date():
                return found
    raise PydanticCustomError("day", "must be a date between 1900-01-01 and 2099-12-31")


Day = Annotated[date, BeforeValidator(_day)]
AsOf = Annotated[
    Day | None,
    Query(
        description="local day of the tenant, today or earlier: the state from what was sold, returned and cancelled "
        "up to its end",
        examples=["2026-01-31"],
    ),
]
FirstDay = Annotated[
    Day | None,
    Query(alias="from", description="first local day; without it 30 days up to the last", examples=["2026-11-01"]),
]
LastDay = Annotated[
    Day | None,
    Query(alias="to", description="last local day; without it the reference date", examples=["2026-11-30"]),
]


def cursor_kind(name: str, *filters: object) -> str:
    """Names a list with all that its cursor depends on, so that a cursor fits these parameters alone."""
    return f"{name}:{hashlib.sha256(repr(filters).encode()).hexdigest()[:16]}" if any(filters) else name


__all__ = [
    "AsOf",
    "CustomerCode",
    "Day",
    "FirstDay",
    "IfMatch",
    "LastDay",
    "Moment",
    "ProductKey",
    "Search",
    "Since",
    "Until",
    "When",
    "WordFilter",
    "cursor_kind",
]
