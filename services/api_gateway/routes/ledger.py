"""The ledger: sales with what was returned and cancelled, as the rfm worker keeps them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.consistency import FRESH
from services.api_gateway.dependencies import Reader, ServicesDep
from services.api_gateway.errors import not_found, problem_responses
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.periods import BetweenDep
from services.api_gateway.repository import sales as repository
from services.api_gateway.repository.sales import SaleFilter
from services.api_gateway.views.queries import WordFilter, cursor_kind
from services.api_gateway.views.sales import Sale, sale_of
from shared.db.engine import transaction
from shared.events.fields import Code

router = APIRouter(prefix="/v1/sales", tags=["sales"])
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)
SaleId = Annotated[Code, Path(description="the tenant's own id of the sale", examples=["T7-2026-001"])]


@router.get("", summary="List sales, newest first", responses=READ_ERRORS, dependencies=FRESH)
async def list_sales(
    caller: Reader,
    services: ServicesDep,
    between: BetweenDep,
    customer_code: Annotated[Code | None, Query()] = None,
    channel: WordFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Sale]:
    """The ledger with returns and cancellations. Dates mean local days of the tenant, both included."""
    wanted = SaleFilter(customer_code, channel, between.since, between.until)
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        return await sales_page(connection, caller.tenant_id, wanted, limit=limit, cursor=cursor)


@router.get(
    "/{sale_id:path}",
    summary="Get a sale",
    responses=problem_responses(400, 401, 403, 404, 422, 425, 429, 503),
    dependencies=FRESH,
)
async def get_sale(caller: Reader, services: ServicesDep, sale_id: SaleId) -> Sale:
    """One sale with its lines, returns and cancellation; `net` is what counts after them."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.get_sale(connection, caller.tenant_id, sale_id)
        if row is None:
            raise not_found("sale")
        (sale,) = await _with_changes(connection, caller.tenant_id, [row])
    return sale


async def sales_page(
    connection: AsyncConnection, tenant_id: UUID, wanted: SaleFilter, *, limit: int, cursor: str | None
) -> Page[Sale]:
    """A page of the ledger, newest first; stable while sales are added."""
    kind = cursor_kind("sales", wanted.customer_code, wanted.channel, wanted.since, wanted.until)
    after: Any = decode_cursor(cursor, kind, tenant_id, (datetime, str))
    rows = await repository.list_sales(connection, tenant_id, wanted, after=after, count=limit + 1)
    items = await _with_changes(connection, tenant_id, rows[:limit])
    following = encode_cursor(kind, tenant_id, (items[-1].sold_at, items[-1].sale_id)) if len(rows) > limit else None
    return Page(items=items, next_cursor=following)


async def _with_changes(connection: AsyncConnection, tenant_id: UUID, rows: Sequence[Any]) -> list[Sale]:
    returned = [row.sale_id for row in rows if row.returned]
    cancelled = [row.sale_id for row in rows if row.cancelled]
    returns = await repository.returns_of(connection, tenant_id, returned) if returned else {}
    cancellations = await repository.cancellations_of(connection, tenant_id, cancelled) if cancelled else {}
    return [sale_of(row, returns.get(row.sale_id, ()), cancellations.get(row.sale_id)) for row in rows]
