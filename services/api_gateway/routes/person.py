"""All that is held on one person, as one document, streamed: somebody's history may be longer than memory."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.consistency import FRESH
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Reader, Services, ServicesDep
from services.api_gateway.errors import not_found, problem_responses
from services.api_gateway.exports.response import ExportResponse, headers_of
from services.api_gateway.repository import customers as repository
from services.api_gateway.repository.sales import SaleFilter
from services.api_gateway.routes.ledger import sales_page
from services.api_gateway.security.callers import Caller
from services.api_gateway.views.customers import Customer, SegmentChange, change_of, customer_of
from services.api_gateway.views.lifetime import lifetime_of
from services.api_gateway.views.queries import CustomerCode
from services.api_gateway.views.sales import Sale
from shared.db.engine import transaction

router = APIRouter(prefix="/v1/customers", tags=["customers"])
PAGE = 500
NAME = "customer"
FORMAT = "json"
_TIME = TypeAdapter(datetime)


class PersonExport(BaseModel):
    """All that is held on a person. There is none for one who was erased: nothing held leads back to the person."""

    exported_at: datetime
    customer: Customer
    segment_history: list[SegmentChange]
    sales: list[Sale]


@router.get(
    "/{customer_code:path}/export",
    summary="All that is held on a person",
    response_model=PersonExport,
    responses=problem_responses(400, 401, 403, 404, 422, 425, 429, 503),
    dependencies=FRESH,
)
async def export_person(
    request: Request, caller: Reader, services: ServicesDep, customer_code: CustomerCode
) -> Response:
    """Identity, consents, values, profile, every change of segment and every sale with its returns; newest first."""
    if context_of(request.scope).bodiless:
        async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
            await _customer(connection, caller, customer_code)
        return Response(headers=headers_of(NAME, FORMAT))
    place = services.export_slots.one(caller.tenant_id)
    return ExportResponse(_document(services, caller, customer_code, place), NAME, FORMAT)


async def _document(
    services: Services, caller: Caller, code: str, place: AbstractContextManager[None]
) -> AsyncGenerator[bytes]:
    """The parts of the document, all of one moment."""
    snapshot = services.engine.execution_options(isolation_level="REPEATABLE READ")
    with place:
        async with transaction(snapshot, tenant_id=caller.tenant_id) as connection:
            customer = await _customer(connection, caller, code)
            exported_at = _TIME.dump_json(datetime.now(UTC))
            yield b'{"exported_at":' + exported_at + b',"customer":' + customer.model_dump_json().encode()
            yield b',"segment_history":['
            async for part in _listed(_history(connection, caller, code)):
                yield part
            yield b'],"sales":['
            async for part in _listed(_sales(connection, caller, code)):
                yield part
            yield b"]}"


async def _customer(connection: AsyncConnection, caller: Caller, code: str) -> Customer:
    row = await repository.get_customer(connection, caller.tenant_id, code)
    if row is None:
        raise not_found("customer")
    profile = await repository.get_profile(connection, caller.tenant_id, code)
    lifetime = await repository.get_lifetime(connection, caller.tenant_id, code)
    return customer_of(row, profile, lifetime_of(lifetime, row.frequency or 0))


async def _history(connection: AsyncConnection, caller: Caller, code: str) -> AsyncGenerator[list[SegmentChange]]:
    before = None
    while rows := await repository.segment_history(connection, caller.tenant_id, code, before=before, count=PAGE):
        yield [change_of(row) for row in rows]
        before = rows[-1].id


async def _sales(connection: AsyncConnection, caller: Caller, code: str) -> AsyncGenerator[list[Sale]]:
    wanted, cursor = SaleFilter(customer_code=code), None
    while True:
        page = await sales_page(connection, caller.tenant_id, wanted, limit=PAGE, cursor=cursor)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


async def _listed(pages: AsyncGenerator[list[SegmentChange]] | AsyncGenerator[list[Sale]]) -> AsyncGenerator[bytes]:
    """The items of pages as a JSON array without its brackets."""
    comma = b""
    async for page in pages:
        if page:
            yield comma + b",".join(item.model_dump_json().encode() for item in page)
            comma = b","
