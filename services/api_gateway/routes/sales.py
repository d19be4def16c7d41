"""Facts: a sale, return or cancellation is accepted once every in-sync replica of the event log has it."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from services.api_gateway import consistency_token, examples
from services.api_gateway.batches import BatchParser, Parsed, Rejected, all_or_nothing
from services.api_gateway.consistency import HEADER
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Services, ServicesDep, get_services, require_scope
from services.api_gateway.direct_route import DirectRoute
from services.api_gateway.errors import Problem, problem_responses
from services.api_gateway.known_parameters import refuse_all
from services.api_gateway.outgoing import fact
from services.api_gateway.raw_bodies import documented, parse
from services.api_gateway.reasons import FieldReason
from services.api_gateway.security.callers import Caller
from services.api_gateway.views.sales import (
    Accepted,
    BatchResult,
    CancellationBody,
    ReturnAccepted,
    ReturnBody,
    SalesBatch,
)
from shared.events.fields import Code
from shared.events.payloads import SaleCancelledV1, SaleRecordedV1, SaleReturnedV1
from shared.messaging.record import Message
from shared.observability import metrics

router = APIRouter(prefix="/v1/sales", tags=["sales"])
_direct = APIRouter(prefix="/v1/sales", tags=["sales"], route_class=DirectRoute)
_may_write = require_scope("sales:write")
Writer = Annotated[Caller, Depends(_may_write)]
SaleId = Annotated[Code, Path(description="the tenant's own id of the sale", examples=["T7-2026-001"])]
Atomic = Annotated[bool, Query(description="accept all or nothing")]
RECORDED, RETURNED, CANCELLED = "sale.recorded.v1", "sale.returned.v1", "sale.cancelled.v1"
_accepted = {type_: metrics.EVENTS_ACCEPTED.labels(type_) for type_ in (RECORDED, RETURNED, CANCELLED)}
_PARSER = BatchParser(SaleRecordedV1, field="sales", id_field="sale_id")


@_direct.post(
    "",
    status_code=202,
    response_model=Accepted,
    summary="Record a sale",
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(SaleRecordedV1, {"sale": examples.SALE, "anonymous": examples.ANONYMOUS_SALE}),
    dependencies=[Depends(_may_write)],
)
async def record_sale(request: Request) -> Response:
    """Accepts one sale. Sending it again with the same `sale_id` and content changes nothing."""
    caller, services = await _may_write(request), get_services(request)
    refuse_all(request)
    sale = await parse(request, SaleRecordedV1)
    foreign = _foreign_currency(sale, await _currency(services, caller.tenant_id))
    if foreign is not None:
        metrics.EVENTS_REJECTED.labels(RECORDED).inc()
        raise Problem(422, "validation", "Some fields are not valid", "The currency is wrong.", errors=[foreign])
    event_id, message = _recorded(caller, sale, context_of(request.scope).request_id)
    return await _publish(services, RECORDED, [message], {"sale_id": sale.sale_id, "event_id": event_id})


router.routes.extend(_direct.routes)


@router.post(
    "/batch",
    status_code=202,
    response_model=BatchResult,
    summary="Record up to 5,000 sales",
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(
        SalesBatch, {"batch": {"sales": [examples.SALE, examples.ANONYMOUS_SALE]}}, ndjson=SaleRecordedV1
    ),
)
async def record_batch(request: Request, caller: Writer, services: ServicesDep, atomic: Atomic = False) -> Response:
    """Accepts many sales, as JSON or as NDJSON. A bad sale rejects itself alone; with `atomic` it rejects all.

    On 503 some of the sales may have been accepted: send the whole batch again, which is harmless.
    """
    body = await request.body()
    ndjson = request.headers.get("content-type", "").lower().startswith("application/x-ndjson")
    parsed = _PARSER.ndjson(body) if ndjson else _PARSER.json(body)
    parsed = _refuse_foreign(parsed, await _currency(services, caller.tenant_id))
    if parsed.rejected:
        metrics.EVENTS_REJECTED.labels(RECORDED).inc(len(parsed.rejected))
    if atomic:
        all_or_nothing(parsed.rejected, "sales")
    request_id = context_of(request.scope).request_id
    messages = [_recorded(caller, sale, request_id)[1] for sale in parsed.items]
    rejected = [{"index": bad.index, "sale_id": bad.id, "errors": bad.errors} for bad in parsed.rejected]
    return await _publish(services, RECORDED, messages, {"accepted": len(messages), "rejected": rejected})


@router.post(
    "/{sale_id:path}/returns",
    status_code=202,
    response_model=ReturnAccepted,
    summary="Record a return",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(ReturnBody, {"return": examples.RETURN}),
)
async def record_return(request: Request, caller: Writer, services: ServicesDep, sale_id: SaleId) -> Response:
    """Accepts goods brought back, also before their sale. `customer_code`, when known, speeds it up."""
    body = await parse(request, ReturnBody)
    payload = SaleReturnedV1.model_construct(sale_id=sale_id, **dict(body))
    event_id, message = fact(
        RETURNED,
        caller.tenant_id,
        body.customer_code or sale_id,
        payload,
        subject=body.return_id,
        request_id=context_of(request.scope).request_id,
    )
    answer = {"sale_id": sale_id, "return_id": body.return_id, "event_id": event_id}
    return await _publish(services, RETURNED, [message], answer)


@router.post(
    "/{sale_id:path}/cancellation",
    status_code=202,
    response_model=Accepted,
    summary="Cancel a sale",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(CancellationBody, {"cancellation": examples.CANCELLATION}),
)
async def record_cancellation(request: Request, caller: Writer, services: ServicesDep, sale_id: SaleId) -> Response:
    """Accepts that a sale is void as a whole, also before it arrives. A sale is cancelled at most once."""
    body = await parse(request, CancellationBody)
    payload = SaleCancelledV1.model_construct(sale_id=sale_id, **dict(body))
    event_id, message = fact(
        CANCELLED,
        caller.tenant_id,
        body.customer_code or sale_id,
        payload,
        subject=sale_id,
        request_id=context_of(request.scope).request_id,
    )
    return await _publish(services, CANCELLED, [message], {"sale_id": sale_id, "event_id": event_id})


def _recorded(caller: Caller, sale: SaleRecordedV1, request_id: str) -> tuple[str, Message]:
    return fact(
        RECORDED,
        caller.tenant_id,
        sale.customer_code or sale.sale_id,
        sale,
        subject=sale.sale_id,
        request_id=request_id,
    )


async def _publish(services: Services, type_: str, messages: Sequence[Message], answer: dict[str, Any]) -> Response:
    acknowledged = await services.producer.publish_many(messages) if messages else []
    _accepted[type_].inc(len(messages))
    token = consistency_token.of_records(acknowledged)
    return Response(orjson.dumps(answer), 202, {HEADER: token}, media_type="application/json")


async def _currency(services: Services, tenant_id: UUID) -> str | None:
    """The tenant's currency; None while it cannot be known, when the worker decides."""
    state = await services.tenants.known(tenant_id)
    return None if state is None else state.settings.currency


def _foreign_currency(sale: SaleRecordedV1, currency: str | None) -> FieldReason | None:
    if currency is None or sale.currency is None or sale.currency == currency:
        return None
    return {"field": "currency", "reason": f"must be {currency}, the tenant's currency, or absent"}


def _refuse_foreign(parsed: Parsed[SaleRecordedV1], currency: str | None) -> Parsed[SaleRecordedV1]:
    if currency is None or all(sale.currency is None or sale.currency == currency for sale in parsed.items):
        return parsed
    items, indexes, rejected = [], [], list(parsed.rejected)
    for sale, index in zip(parsed.items, parsed.indexes, strict=True):
        foreign = _foreign_currency(sale, currency)
        if foreign is None:
            items.append(sale)
            indexes.append(index)
        else:
            rejected.append(Rejected(index, sale.sale_id, [foreign]))
    return Parsed(items, indexes, sorted(rejected, key=lambda bad: bad.index))
