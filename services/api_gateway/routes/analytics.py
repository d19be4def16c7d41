"""Figures of the tenant: overview, trend, segments, products."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway import periods
from services.api_gateway.consistency import FRESH, FRESH_SCORES
from services.api_gateway.dependencies import Reader, Services, ServicesDep
from services.api_gateway.errors import problem_responses
from services.api_gateway.repository import analytics as repository
from services.api_gateway.repository.analytics import Measure
from services.api_gateway.repository.segment_moves import segment_flows
from services.api_gateway.views.analytics import (
    Overview,
    SalesTrend,
    SegmentMoves,
    TopProducts,
    moves_of,
    period_of,
    points_of,
    products_of,
)
from services.api_gateway.views.queries import FirstDay, LastDay
from shared.db.engine import transaction
from shared.events.tenant_settings import TenantSettings

router = APIRouter(prefix="/v1/analytics", tags=["analytics"])
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)
Granularity = Annotated[periods.Grain, Query(description="length of a point: day, ISO week or month")]
By = Annotated[Measure, Query(description="what the largest are found by")]
Count = Annotated[int, Query(ge=1, le=100, description="how many products and how many families", examples=[10])]


@router.get("/overview", summary="Figures of a period and of the one before", responses=READ_ERRORS, dependencies=FRESH)
async def overview(caller: Reader, services: ServicesDep, first: FirstDay = None, last: LastDay = None) -> Overview:
    """Customers, orders, revenue, average basket and repeat rate of at most two years."""
    currency = await _currency(services, caller.tenant_id)
    return await services.overviews.read(caller.tenant_id, first, last, currency)


@router.get("/sales-trend", summary="Sales by day, ISO week or month", responses=READ_ERRORS, dependencies=FRESH)
async def sales_trend(
    caller: Reader,
    services: ServicesDep,
    granularity: Granularity = "day",
    first: FirstDay = None,
    last: LastDay = None,
) -> SalesTrend:
    """One point per day, ISO week or month, and the same for as many days before; two years of days at most, ten of
    weeks and months. A week or month that the period cuts is counted as far as it lies inside."""
    most_days = periods.MOST_DAYS if granularity == "day" else periods.MOST_DAYS_OF_LONG_GRAINS
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        days = periods.choose(first, last, await _reference(connection, caller.tenant_id), most_days)
        now, then = (periods.spans(each, granularity) for each in (days, days.before()))
        rows = await repository.trend(connection, caller.tenant_id, granularity, [*now, *then])
    return SalesTrend(
        period=period_of(days),
        granularity=granularity,
        currency=await _currency(services, caller.tenant_id),
        points=points_of(now, rows[: len(now)]),
        previous=points_of(then, rows[len(now) :]),
    )


@router.get("/segments", summary="Movement between segments", responses=READ_ERRORS, dependencies=FRESH_SCORES)
async def segments(caller: Reader, services: ServicesDep, first: FirstDay = None, last: LastDay = None) -> SegmentMoves:
    """Where customers stood at the end of two local days, by the history of segments, and who moved in between.

    Without `to`, the last day is today, whatever the tenant's reference date: moves are dated by when they happened.
    """
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        today = (await repository.calendar(connection, caller.tenant_id)).today
        days = periods.choose(first, last, today)
        flows = await segment_flows(connection, caller.tenant_id, days.first, days.last)
    return moves_of(days, flows)


@router.get("/products", summary="Top products and families", responses=READ_ERRORS, dependencies=FRESH)
async def products(
    caller: Reader,
    services: ServicesDep,
    by: By = "revenue",
    limit: Count = 10,
    first: FirstDay = None,
    last: LastDay = None,
) -> TopProducts:
    """The largest of a period of at most two years, by revenue, units or orders, with their share of its revenue."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        days = periods.choose(first, last, await _reference(connection, caller.tenant_id))
        rows = await repository.top_products(connection, caller.tenant_id, days, by, limit)
    return products_of(days, by, await _currency(services, caller.tenant_id), rows)


async def _reference(connection: AsyncConnection, tenant_id: UUID) -> date:
    found: date = (await repository.calendar(connection, tenant_id)).reference_date
    return found


async def _currency(services: Services, tenant_id: UUID) -> str:
    tenant = await services.tenants.get(tenant_id)
    return (tenant.settings if tenant is not None else TenantSettings()).currency
