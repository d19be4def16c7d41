"""Customers: master data of the gateway, joined with what the rfm worker found."""

import functools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from services.api_gateway import examples
from services.api_gateway.batches import BatchParser, all_or_nothing
from services.api_gateway.consistency import FRESH, WaitDep, add_token
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import SOURCE, Reader, Services, ServicesDep, require_scope
from services.api_gateway.errors import not_found, problem_responses
from services.api_gateway.master_writes import CUSTOMERS_KIND, MasterWriter, as_json, etag, last_of_each
from services.api_gateway.outgoing import to_bytes
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.periods import BetweenDep
from services.api_gateway.raw_bodies import documented
from services.api_gateway.repository import customer_order, customer_search
from services.api_gateway.repository import customers as repository
from services.api_gateway.repository.customer_order import Sort
from services.api_gateway.repository.customer_search import CustomerFilter
from services.api_gateway.repository.sales import SaleFilter
from services.api_gateway.routes.ledger import sales_page
from services.api_gateway.security.callers import Caller
from services.api_gateway.views.customers import (
    Customer,
    CustomerBody,
    CustomerPatch,
    CustomerRecord,
    CustomersBulk,
    CustomersResult,
    CustomerSummary,
    RejectedCustomer,
    SegmentChange,
    change_of,
    customer_of,
    fields_of,
    record_of,
    summary_of,
)
from services.api_gateway.views.lifetime import lifetime_of
from services.api_gateway.views.queries import (
    AsOf,
    CustomerCode,
    IfMatch,
    Search,
    WordFilter,
    cursor_kind,
)
from services.api_gateway.views.sales import Sale
from shared.db.engine import transaction
from shared.events.catalogue import CUSTOMERS
from shared.events.envelope import Envelope
from shared.events.erasure import customer_hash
from shared.events.payloads import CustomerErasedV1, CustomerFields, Segment
from shared.messaging.record import Message

router = APIRouter(prefix="/v1/customers", tags=["customers"])
Writer = Annotated[Caller, Depends(require_scope("customers:write"))]
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)
READ_ONE_ERRORS = problem_responses(400, 401, 403, 404, 422, 425, 429, 503)
_PARSER = BatchParser(CustomerBody, field="customers", id_field="customer_code")
MinSpend = Annotated[Decimal | None, Query(ge=0, le=10**12, max_digits=18, decimal_places=4, allow_inf_nan=False)]
RfmCode = Annotated[str | None, Query(pattern="^[1-5]{3}$", description="the three scores", examples=["545"])]


@router.post(
    "",
    status_code=201,
    summary="Add a customer",
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
)
async def add_customer(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[CustomerBody, Body(openapi_examples={"customer": {"value": examples.CUSTOMER}})],
) -> CustomerRecord:
    """Stores a new customer; 409 when the code exists."""
    change = await _writer(request, caller, services).create(as_json(body))
    response.headers["Location"] = f"{router.prefix}/{quote(body.customer_code, safe='')}"
    return _stored(response, change.rows[0], change.ids)


@router.post(
    "/bulk",
    summary="Add or replace up to 5,000 customers",
    response_model=CustomersResult,
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(CustomersBulk, {"bulk": {"customers": [examples.CUSTOMER]}}),
)
async def bulk_customers(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    atomic: Annotated[bool, Query(description="store all or nothing")] = False,
) -> CustomersResult:
    """Stores all good customers in one transaction; a bad one rejects itself alone, with `atomic` it rejects all."""
    parsed = _PARSER.json(await request.body())
    if atomic:
        all_or_nothing(parsed.rejected, "customers")
    ids: list[int] = []
    if parsed.items:
        rows = last_of_each(parsed.items, "customer_code")
        ids = (await _writer(request, caller, services).replace(rows)).ids
    add_token(response, ids)
    rejected = [RejectedCustomer(index=r.index, customer_code=r.id, errors=r.errors) for r in parsed.rejected]
    return CustomersResult(accepted=len(parsed.items), rejected=rejected)


@router.get("", summary="List and search customers", responses=READ_ERRORS, dependencies=FRESH)
async def list_customers(
    caller: Reader,
    services: ServicesDep,
    q: Search = None,
    segment: Annotated[Segment | None, Query(description="key of a segment")] = None,
    family: WordFilter = None,
    min_spend: MinSpend = None,
    tag: WordFilter = None,
    rfm_code: RfmCode = None,
    sort: Annotated[Sort, Query(description="a minus sign sorts from the top")] = "code",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[CustomerSummary]:
    """Customers known from master data or sales. `family` means net purchases in it, `min_spend` monetary value.

    Customers without a value of the order come first, and last from the top; ties by code. While data change, whoever
    keeps his value is listed exactly once over all pages; whoever changes it is listed once more where he moves to
    what is still to come, and not at all where he moves to what has gone. The expected next order follows a sale by
    some seconds, and so do new customers in its order.
    """
    wanted = CustomerFilter(q, segment, family, min_spend, tag, None if rfm_code is None else int(rfm_code))
    kind = cursor_kind("customers", sort, wanted)
    after = decode_cursor(cursor, kind, caller.tenant_id, customer_order.sort_types(sort))
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        rows = await customer_search.search(connection, caller.tenant_id, wanted, sort, after=after, count=limit + 1)
    items = [summary_of(row) for row in rows[:limit]]
    following = None
    if len(rows) > limit:
        following = encode_cursor(kind, caller.tenant_id, customer_order.sort_values(sort, rows[limit - 1]))
    return Page(items=items, next_cursor=following)


@router.get("/{customer_code:path}/sales", summary="Sales of a customer", responses=READ_ONE_ERRORS, dependencies=FRESH)
async def customer_sales(
    caller: Reader,
    services: ServicesDep,
    customer_code: CustomerCode,
    between: BetweenDep,
    channel: WordFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Sale]:
    """The customer's part of the ledger, newest first."""
    wanted = SaleFilter(customer_code, channel, between.since, between.until)
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        if await repository.get_customer(connection, caller.tenant_id, customer_code) is None:
            raise not_found("customer")
        return await sales_page(connection, caller.tenant_id, wanted, limit=limit, cursor=cursor)


@router.get(
    "/{customer_code:path}/history", summary="Segments over time", responses=READ_ONE_ERRORS, dependencies=FRESH
)
async def customer_history(
    caller: Reader, services: ServicesDep, customer_code: CustomerCode, limit: Limit = 50, cursor: Cursor = None
) -> Page[SegmentChange]:
    """Every change of segment with its cause, newest first."""
    kind = cursor_kind("history", customer_code)
    (before,) = decode_cursor(cursor, kind, caller.tenant_id, (int,)) or (None,)
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        if await repository.get_customer(connection, caller.tenant_id, customer_code) is None:
            raise not_found("customer")
        rows = await repository.segment_history(
            connection, caller.tenant_id, customer_code, before=before, count=limit + 1
        )
    following = encode_cursor(kind, caller.tenant_id, (rows[limit - 1].id,)) if len(rows) > limit else None
    return Page(items=[change_of(row) for row in rows[:limit]], next_cursor=following)


@router.get("/{customer_code:path}", summary="Get a customer", responses=READ_ONE_ERRORS, dependencies=FRESH)
async def get_customer(
    response: Response,
    caller: Reader,
    services: ServicesDep,
    wait: WaitDep,
    customer_code: CustomerCode,
    as_of: AsOf = None,
) -> Customer:
    """Identity, RFM and profile; with `as_of` RFM and profile as they were at the end of that day, and the identity of
    today. With a token, a customer's first scores are waited for too."""
    if as_of is not None:
        customer = await services.past.customer(caller.tenant_id, customer_code, as_of, anew=wait.asked)
    else:
        customer = await _read_one(services, caller, customer_code)
    if as_of is None and wait.asked and customer.rfm.r is None and customer.rfm.frequency > 0:
        await wait.applied(scored=True)
        customer = await _read_one(services, caller, customer_code)
    if customer.version is not None:
        response.headers["ETag"] = etag(customer.version)
    return customer


@router.put(
    "/{customer_code:path}",
    summary="Create or replace a customer",
    responses={
        201: {"model": CustomerRecord, "description": "Created"},
        **problem_responses(400, 401, 403, 404, 412, 413, 415, 422, 429, 503),
    },
)
async def put_customer(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    customer_code: CustomerCode,
    body: Annotated[CustomerFields, Body(openapi_examples={"customer": {"value": examples.CUSTOMER_FIELDS}})],
    if_match: IfMatch = None,
) -> CustomerRecord:
    """Stores exactly these fields; what is left out is cleared."""
    row = {"customer_code": customer_code, **as_json(body)}
    change = await _writer(request, caller, services).replace([row], if_match=if_match)
    if change.rows[0].version == 1:
        response.status_code = 201
    return _stored(response, change.rows[0], change.ids)


@router.patch(
    "/{customer_code:path}",
    summary="Change some fields of a customer",
    responses=problem_responses(400, 401, 403, 404, 412, 413, 415, 422, 429, 503),
)
async def patch_customer(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    customer_code: CustomerCode,
    body: Annotated[CustomerPatch, Body(openapi_examples={"change": {"value": examples.CUSTOMER_PATCH}})],
    if_match: IfMatch = None,
) -> CustomerRecord:
    """Merges: fields left out stay, null clears. Send the ETag as If-Match so that no other change is lost."""
    change = await _writer(request, caller, services).patch(
        customer_code,
        lambda stored: body.apply(fields_of(stored)),
        if_match=if_match,
        may_begin=functools.partial(repository.is_known_from_sales, tenant_id=caller.tenant_id, code=customer_code),
    )
    return _stored(response, change.rows[0], change.ids)


@router.delete(
    "/{customer_code:path}",
    status_code=204,
    summary="Erase a customer",
    responses=problem_responses(400, 401, 403, 404, 412, 422, 425, 429, 503),
    dependencies=FRESH,
)
async def erase_customer(
    request: Request, caller: Writer, services: ServicesDep, customer_code: CustomerCode, if_match: IfMatch = None
) -> Response:
    """Erases the person: master data at once, and in the ledger a pseudonym takes the place of the code.

    Sales that the code makes later belong to a new customer. A customer who is known from sales alone has no version.
    """
    place: dict[str, Any] = {"tenant_id": caller.tenant_id, "code": customer_code}
    change = await _writer(request, caller, services).remove(
        customer_code,
        if_match=if_match,
        known=functools.partial(repository.is_known_from_sales, **place),
        before=functools.partial(repository.blank_events, **place),
        also=[_erasure(request, services, caller, customer_code)],
    )
    response = Response(status_code=204)
    add_token(response, change.ids)
    return response


def _erasure(request: Request, services: Services, caller: Caller, code: str) -> Message:
    secret = services.settings.erasure_secret.get_secret_value()
    hashed = customer_hash(secret, caller.tenant_id, code).hex()
    envelope = Envelope.new(
        "customer.erased.v1", caller.tenant_id, source=SOURCE, request_id=context_of(request.scope).request_id
    )
    payload = CustomerErasedV1(customer_hash=hashed, erased_at=datetime.now(UTC))
    key = f"{caller.tenant_id}:erased:{hashed}".encode()
    return Message(CUSTOMERS.name, key, to_bytes(payload), envelope.to_headers())


async def _read_one(services: Services, caller: Caller, code: str) -> Customer:
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.get_customer(connection, caller.tenant_id, code)
        if row is None:
            raise not_found("customer")
        profile = await repository.get_profile(connection, caller.tenant_id, code)
        lifetime = await repository.get_lifetime(connection, caller.tenant_id, code)
    return customer_of(row, profile, lifetime_of(lifetime, row.frequency or 0))


def _writer(request: Request, caller: Caller, services: Services) -> MasterWriter:
    return MasterWriter(services, caller, context_of(request.scope).request_id, CUSTOMERS_KIND)


def _stored(response: Response, row: Any, ids: list[int]) -> CustomerRecord:
    response.headers["ETag"] = etag(row.version)
    add_token(response, ids)
    return record_of(row)
