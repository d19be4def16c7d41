"""Batches: parsed whole when all is well, and item by item only when it is not, so that one bad item rejects itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import from_json, to_json

from services.api_gateway.errors import Problem
from services.api_gateway.raw_bodies import body_problem
from services.api_gateway.reasons import FieldReason, field_reasons

MOST_ITEMS = 5_000
MOST_ERRORS_PER_ITEM = 50
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that is not accepted: its place in the batch, its id as far as it can be read, and what is wrong."""

    index: int
    id: str | None
    errors: list[FieldReason]


@dataclass(frozen=True, slots=True)
class Parsed(Generic[M]):
    """A batch: the good items with their places, and the rejected ones."""

    items: Sequence[M]
    indexes: Sequence[int]
    rejected: list[Rejected]


@dataclass(frozen=True, slots=True)
class _Bad:
    id: str | None
    errors: list[FieldReason]


class BatchParser(Generic[M]):
    """Reads batches of `model`.

    Args:
        model: of one item.
        field: member of the JSON object that holds the list.
        id_field: member of an item that names it in the answer.
    """

    def __init__(self, model: type[M], *, field: str, id_field: str) -> None:
        self._field, self._id_field = field, id_field
        self._item = model.__pydantic_validator__
        self._whole = _batch_of(field, model)
        self._shape = _batch_of(field, Any)

    def json(self, body: bytes) -> Parsed[M]:
        """Reads `{"<field>": [...]}`.

        Raises:
            Problem: 400 or 422 when the body as a whole cannot be read.
        """
        try:
            items = getattr(self._whole.validate_json(body), self._field)
        except ValidationError:
            return self._item_by_item(body)
        return Parsed(items, range(len(items)), [])

    def ndjson(self, body: bytes) -> Parsed[M]:
        """Reads one item per line; empty lines are skipped and do not count.

        Raises:
            Problem: 422 when there are too many.
        """
        lines = [line for line in body.split(b"\n") if line and not line.isspace()]
        if len(lines) > MOST_ITEMS:
            reason: FieldReason = {"field": self._field, "reason": f"must have at most {MOST_ITEMS} items"}
            raise Problem(422, "validation", "Some fields are not valid", "The batch is too large.", errors=[reason])
        return self._sort(self._line(line) for line in lines)

    def _line(self, line: bytes) -> M | _Bad:
        try:
            return cast(M, self._item.validate_json(line))
        except ValidationError as error:
            try:
                value = from_json(line)
            except ValueError:
                value = None
            return self._bad(value, error)

    def _item_by_item(self, body: bytes) -> Parsed[M]:
        try:
            values = getattr(self._shape.validate_json(body), self._field)
        except ValidationError as error:
            raise body_problem(error, body) from None
        # Validating JSON is several times quicker than validating Python objects, and decides alike.
        return self._sort(self._line(to_json(value, inf_nan_mode="constants")) for value in values)

    def _sort(self, found: Iterable[M | _Bad]) -> Parsed[M]:
        items: list[M] = []
        indexes: list[int] = []
        rejected: list[Rejected] = []
        for index, item in enumerate(found):
            if isinstance(item, _Bad):
                rejected.append(Rejected(index, item.id, item.errors))
            else:
                items.append(item)
                indexes.append(index)
        return Parsed(items, indexes, rejected)

    def _bad(self, value: Any, error: ValidationError) -> _Bad:
        name = value.get(self._id_field) if isinstance(value, dict) else None
        readable = name.encode("utf-8", "replace").decode()[:64] if isinstance(name, str) else None
        return _Bad(readable, field_reasons(error.errors(include_url=False)[:MOST_ERRORS_PER_ITEM]))


def _batch_of(field: str, item: Any) -> TypeAdapter[Any]:
    members: Any = {field: Annotated[list[item], Field(max_length=MOST_ITEMS)]}
    return TypeAdapter(create_model("Batch", __config__=ConfigDict(extra="forbid"), **members))


def all_or_nothing(rejected: Sequence[Rejected], field: str) -> None:
    """Refuses a whole batch when one item is bad.

    Raises:
        Problem: 422 with the errors of every rejected item.
    """
    if not rejected:
        return
    errors: list[FieldReason] = [
        {"field": f"{field}.{item.index}.{error['field']}".rstrip("."), "reason": error["reason"]}
        for item in rejected
        for error in item.errors
    ]
    raise Problem(
        422,
        "validation",
        "Some fields are not valid",
        "Nothing was accepted: the batch is atomic.",
        errors=errors[:1000],
    )
