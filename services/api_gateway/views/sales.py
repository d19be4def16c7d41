"""Sales in requests and answers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from services.api_gateway.problem_docs import OffendingField
from services.api_gateway.views.numbers import Amount, Quantity
from shared.events.fields import MOST_LINES, Code, Moment, Text
from shared.events.payloads import Payload, ReturnLine, SaleRecordedV1


class ReturnBody(Payload):
    """Body of POST /sales/{sale_id}/returns."""

    return_id: Code
    customer_code: Code | None = Field(None, description="of the sale, when known: only a routing hint")
    returned_at: Moment
    lines: list[ReturnLine] = Field(min_length=1, max_length=MOST_LINES)


class CancellationBody(Payload):
    """Body of POST /sales/{sale_id}/cancellation."""

    customer_code: Code | None = Field(None, description="of the sale, when known: only a routing hint")
    cancelled_at: Moment
    reason: Text | None = None


class SalesBatch(Payload):
    """Body of POST /sales/batch."""

    sales: list[SaleRecordedV1] = Field(max_length=5000)


class Accepted(BaseModel):
    """A fact that the event log has acknowledged; `event_id` is the id of its event."""

    sale_id: str
    event_id: str


class ReturnAccepted(Accepted):
    """A return that the event log has acknowledged."""

    return_id: str


class RejectedSale(BaseModel):
    """A sale of a batch that was not accepted, and why."""

    index: int
    sale_id: str | None
    errors: list[OffendingField]


class BatchResult(BaseModel):
    """How many of a batch were accepted, and which were not."""

    accepted: int
    rejected: list[RejectedSale]


class LineView(BaseModel):
    """A line of a sale."""

    product_key: str
    label: str | None
    quantity: Quantity
    unit_price: Amount
    discount: Amount
    amount: Amount


class ReturnLineView(BaseModel):
    """What came off one product."""

    product_key: str
    quantity: Quantity
    amount: Amount


class ReturnView(BaseModel):
    """A return of a sale."""

    return_id: str
    returned_at: datetime
    lines: list[ReturnLineView]


class CancellationView(BaseModel):
    """The cancellation of a sale."""

    cancelled_at: datetime
    reason: str | None


class Sale(BaseModel):
    """A sale of the ledger. `gross` sums its lines; `net` is what counts after returns and cancellation."""

    sale_id: str
    customer_code: str | None
    sold_at: datetime
    channel: str | None
    currency: str | None
    lines: list[LineView]
    gross: Amount
    net: Amount
    returns: list[ReturnView]
    cancellation: CancellationView | None
    metadata: dict[str, str]


def sale_of(row: Any, returns: Sequence[Any], cancellation: Any | None) -> Sale:
    """One sale, from its row of the ledger (lines as parallel arrays) and those of its returns and cancellation."""
    lines = zip(row.product_keys, row.labels, row.quantities, row.unit_prices, row.discounts, row.amounts, strict=True)
    names = tuple(LineView.model_fields)
    return Sale(
        sale_id=row.sale_id,
        customer_code=row.customer_code,
        sold_at=row.sold_at,
        channel=row.channel,
        currency=row.currency,
        lines=[LineView(**dict(zip(names, line, strict=True))) for line in lines],
        gross=row.gross,
        net=row.net,
        returns=[_return_of(found) for found in returns],
        cancellation=None
        if cancellation is None
        else CancellationView(cancelled_at=cancellation.cancelled_at, reason=cancellation.reason),
        metadata=row.metadata or {},
    )


def _return_of(row: Any) -> ReturnView:
    lines = zip(row.product_keys, row.quantities, row.amounts, strict=True)
    return ReturnView(
        return_id=row.return_id,
        returned_at=row.returned_at,
        lines=[ReturnLineView(product_key=key, quantity=units, amount=amount) for key, units, amount in lines],
    )
