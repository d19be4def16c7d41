"""What was wrong with which field, in words for people: never a value, a pattern or a link into a library."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict

LONGEST_FIELD = 200
MOST_REASONS = 1000
CODES = frozenset({"sale_id", "customer_code", "product_key", "return_id", "alias"})
_CODE = "must be 1 to 64 printable characters"
_BRANCH = re.compile(r"[a-z-]+\[.*\]", re.DOTALL)
_PLACES = ("body", "query", "path", "header", "cookie")


class FieldReason(TypedDict):
    """One offending field: its path with dots ("lines.0.quantity"; empty for the whole body) and the reason."""

    field: str
    reason: str


Context = Mapping[str, Any]


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _part(context: Context) -> str:
    """What a length counts: pydantic calls a secret text "Value", and everything else by its type."""
    return "character" if context.get("field_type") == "Value" else "item"


_REASONS: dict[str, Callable[[Context], str]] = {
    "missing": lambda _: "is required",
    "default_factory_not_called": lambda _: "is required, or what it is made of must be valid",
    "extra_forbidden": lambda _: "is not a known field",
    "string_type": lambda _: "must be a string",
    "string_unicode": lambda _: "must be valid Unicode text",
    "string_too_short": lambda c: f"must have at least {_plural(c['min_length'], 'character')}",
    "string_too_long": lambda c: f"must have at most {_plural(c['max_length'], 'character')}",
    "string_pattern_mismatch": lambda _: "has characters or a form that are not allowed here",
    "too_short": lambda c: f"must have at least {_plural(c['min_length'], _part(c))}",
    "too_long": lambda c: f"must have at most {_plural(c['max_length'], _part(c))}",
    "greater_than": lambda c: f"must be greater than {c['gt']}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']}",
    "less_than": lambda c: f"must be less than {c['lt']}",
    "less_than_equal": lambda c: f"must be at most {c['le']}",
    "multiple_of": lambda c: f"must be a multiple of {c['multiple_of']}",
    "decimal_max_places": lambda c: f"must have at most {_plural(c['decimal_places'], 'decimal')}",
    "decimal_max_digits": lambda c: f"must have at most {_plural(c['max_digits'], 'digit')}",
    "decimal_whole_digits": lambda c: f"must have at most {_plural(c['whole_digits'], 'digit')} before the point",
    "finite_number": lambda _: "must be a finite number",
    "int_from_float": lambda _: "must be a whole number",
    "timezone_aware": lambda _: "must carry an offset, such as +01:00 or Z",
    "literal_error": lambda c: f"must be one of {c['expected']}",
    "enum": lambda c: f"must be one of {c['expected']}",
    "none_required": lambda _: "must be null",
    "json_invalid": lambda _: "is not valid JSON",
    "union_tag_invalid": lambda _: "is of an unknown kind",
}
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("int_", "must be a whole number"),
    ("float_", "must be a number"),
    ("decimal_", "must be a number"),
    ("bool_", "must be true or false"),
    ("datetime_", "must be an RFC 3339 time, such as 2026-11-20T10:31:00+01:00"),
    ("date_from", "must be a date, such as 2026-11-20"),
    ("date_type", "must be a date, such as 2026-11-20"),
    ("date_pars", "must be a date, such as 2026-11-20"),
    ("time_", "must be a time of day, such as 20:00"),
    ("uuid_", "must be a UUID"),
    ("list_type", "must be a list"),
    ("dict_type", "must be an object"),
    ("model_", "must be an object"),
    ("bytes_", "must be text"),
    ("url_", "must be a URL"),
)


def field_reasons(errors: Iterable[Any], prefix: Sequence[str | int] = ()) -> list[FieldReason]:
    """Reasons for pydantic's error dictionaries (`ValidationError.errors()`), at most 1,000 of them.

    Args:
        errors: dictionaries with `type`, `loc`, `msg` and `ctx`.
        prefix: put before each field's path.
    """
    found: dict[str, str] = {}
    details = [(_place(error["loc"]), error) for error in errors]
    unions = {loc[:i] for loc, error in details for i, part in enumerate(loc) if _is_branch(part, error)}
    for loc, error in details:
        cut = next((i for i in range(len(loc)) if loc[:i] in unions), len(loc))
        path, words = _path((*prefix, *loc[:cut])), reason(error)
        if path in found and cut < len(loc):
            words = f"{found[path]}, or {words}"
        found[path] = words
        if len(found) == MOST_REASONS:
            break
    return [{"field": path, "reason": words} for path, words in found.items()]


def _place(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    return tuple(loc[1:] if loc and loc[0] in _PLACES else loc)


def _is_branch(part: str | int, error: Mapping[str, Any]) -> bool:
    """Whether this part of a path names a branch of a union, which is our own affair, and not a field."""
    return isinstance(part, str) and error["type"] != "extra_forbidden" and bool(_BRANCH.fullmatch(part))


def reason(error: Mapping[str, Any]) -> str:
    """One reason in words, from one of pydantic's error dictionaries."""
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "extra_forbidden" and error["loc"][0] == "query":
        return "is not a known parameter"
    if kind.startswith("string_") and kind != "string_type" and _last_name(error["loc"]) in CODES:
        return _CODE
    if kind in _REASONS:
        return _REASONS[kind](context)
    for prefix, words in _PREFIXES:
        if kind.startswith(prefix):
            return words
    if kind == "value_error":
        # Messages of plain ValueErrors may repeat the value; the only one that users meet is an e-mail address.
        return "must be a valid e-mail address" if "email" in error["msg"] else "is not valid"
    return str(error["msg"]).replace("Input should be", "must be")


def _last_name(loc: Sequence[str | int]) -> str | int:
    return next((part for part in reversed(loc) if isinstance(part, str)), "")


def _path(loc: Sequence[str | int]) -> str:
    # Names of unknown fields come from the sender: cut, and made encodable.
    path = ".".join(str(part) for part in loc)[:LONGEST_FIELD]
    return path.encode("utf-8", "replace").decode()
