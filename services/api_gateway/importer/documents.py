"""Sales and returns as bodies of the REST API, checked by the very models that check them there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl
from pydantic import BaseModel, ValidationError

from services.api_gateway.importer.records import Context, Made, refusal
from services.api_gateway.importer.sources import DOCUMENT, ROW, Reject
from services.api_gateway.outgoing import to_bytes
from services.api_gateway.reasons import field_reasons
from shared.events.payloads import Payload, SaleRecordedV1, SaleReturnedV1
from shared.messaging.record import Message


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of record that many rows make: what its rows share, what each of them adds, and how it is told."""

    key: str
    head: tuple[str, ...]
    line: tuple[str, ...]
    moment: str
    numbers: tuple[str, ...]
    event_type: str
    model: type[Payload]
    routed_by: Callable[[Any], str]

    @property
    def fields(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.head, *self.line)


SALE = Shape(
    key="sale_id",
    head=("sale_id", "customer_code", "sold_at", "channel", "currency"),
    line=("product_key", "label", "quantity", "unit_price", "discount", "amount"),
    moment="sold_at",
    numbers=("quantity", "unit_price", "discount", "amount"),
    event_type="sale.recorded.v1",
    model=SaleRecordedV1,
    routed_by=lambda sale: sale.customer_code or sale.sale_id,
)
RETURN = Shape(
    key="return_id",
    head=("return_id", "sale_id", "customer_code", "returned_at"),
    line=("product_key", "quantity", "amount"),
    moment="returned_at",
    numbers=("quantity", "amount"),
    event_type="sale.returned.v1",
    model=SaleReturnedV1,
    routed_by=lambda back: back.customer_code or back.sale_id,
)
SHAPES = {"sales": SALE, "returns": RETURN}


def from_documents(frame: pl.DataFrame, shape: Shape, context: Context) -> Made:
    """Records that are whole bodies, one per row."""
    made = Made()
    for row, document in frame.select(ROW, DOCUMENT).iter_rows():
        message = check(document.encode(), [row], shape, context, made, nested=True)
        if message is not None:
            made.messages.append(message)
    made.records = len(made.messages)
    return made


def check(
    body: bytes, rows: Sequence[int], shape: Shape, context: Context, made: Made, *, nested: bool = False
) -> Message | None:
    """The event of one body, or None and its reasons in `made`.

    Args:
        body: JSON.
        rows: of the file, in the order of the body's lines; `nested` when the body is one row.
        shape: what it is.
        context: of the import.
        made: takes the reasons.
        nested: whether reasons name the line.
    """
    try:
        record: Any = shape.model.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        made.refuse(refusal(list(rows), _reasons(error, rows, nested=nested)))
        return None
    currency = getattr(record, "currency", None)
    if currency is not None and currency != context.currency:
        reason = f"must be {context.currency}, the tenant's currency, or absent"
        made.refuse(refusal(list(rows), [Reject(rows[0], "currency", reason)]))
        return None
    key = getattr(record, shape.key)
    return context.event(shape.event_type, key, shape.routed_by(record), to_bytes(record))


def _reasons(error: ValidationError, rows: Sequence[int], *, nested: bool) -> list[Reject]:
    found = []
    for reason in field_reasons(error.errors(include_url=False)):
        first, _, rest = reason["field"].partition(".")
        number, _, name = rest.partition(".")
        if first == "lines" and number.isdigit() and not nested:
            found.append(Reject(rows[int(number)], name, reason["reason"]))
        else:
            found.append(Reject(rows[0], reason["field"], reason["reason"]))
    return found


def body_of(shape: Shape, head: dict[str, Any], lines: list[dict[str, Any]]) -> bytes:
    """A body as JSON; what is absent is left out."""
    said = {name: value for name, value in head.items() if value is not None}
    return orjson.dumps({**said, "lines": [{k: v for k, v in line.items() if v is not None} for line in lines]})


def validated(model: type[BaseModel], body: bytes) -> Any:
    """The model of a body.

    Raises:
        ValidationError: it does not fit.
    """
    return model.__pydantic_validator__.validate_json(body)
