"""COPY's text format for the rows of the stage. Done by hand because it is the one loop over every line of a sale."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

NULL = "\\N"


def text(value: str | None) -> str:
    """A text value. Codes and labels are printable, so only the backslash needs escaping."""
    if value is None:
        return NULL
    return value.replace("\\", "\\\\") if "\\" in value else value


def moment(value: datetime | None) -> str:
    """A time with its zone."""
    return NULL if value is None else value.isoformat()


def binary(value: bytes | None) -> str:
    """Bytes."""
    return NULL if value is None else f"\\\\x{value.hex()}"


def numbers(values: Iterable[str]) -> str:
    """An array of decimals, each in decimal text."""
    return "{" + ",".join(values) + "}"


def texts(values: Sequence[str]) -> str:
    """An array of texts without nulls."""
    joined = '","'.join(values)
    if "\\" in joined or joined.count('"') != 2 * (len(values) - 1):
        joined = '","'.join([value.replace("\\", "\\\\").replace('"', '\\"') for value in values])
        joined = joined.replace("\\", "\\\\")
    return '{"' + joined + '"}' if values else "{}"


def texts_or_nulls(values: Sequence[str | None]) -> str:
    """An array of texts with nulls."""
    if not any(value is not None for value in values):
        return "{" + ",".join(["NULL"] * len(values)) + "}"
    parts = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
    ]
    return ("{" + ",".join(parts) + "}").replace("\\", "\\\\")


def document(value: Mapping[str, str]) -> str:
    """A JSON object; an empty one is kept as null."""
    return json.dumps(value, ensure_ascii=False).replace("\\", "\\\\") if value else NULL
