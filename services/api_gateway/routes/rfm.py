"""Segments and cut-offs of the tenant."""

from fastapi import APIRouter

from services.api_gateway.consistency import FRESH_SCORES
from services.api_gateway.dependencies import Reader, ServicesDep
from services.api_gateway.errors import problem_responses
from services.api_gateway.repository import rfm as repository
from services.api_gateway.time_travel import AS_OF_TODAY
from services.api_gateway.views.rfm import Cutoffs, Distribution, cutoffs_of, distribution_of
from shared.db.engine import transaction

router = APIRouter(prefix="/v1/rfm", tags=["rfm"])
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)


@router.get(
    "/distribution", summary="Customers by segment", responses=READ_ERRORS, dependencies=AS_OF_TODAY + FRESH_SCORES
)
async def distribution(caller: Reader, services: ServicesDep) -> Distribution:
    """All twelve segments with customers, share and net revenue."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        cutoffs = await repository.get_cutoffs(connection, caller.tenant_id)
        counts = await repository.count_segments(connection, caller.tenant_id)
    return distribution_of(counts, cutoffs)


@router.get("/cutoffs", summary="Current cut-offs", responses=READ_ERRORS, dependencies=FRESH_SCORES)
async def cutoffs(caller: Reader, services: ServicesDep) -> Cutoffs:
    """The four bounds of each axis: a score counts how many of them lie below the value."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.get_cutoffs(connection, caller.tenant_id)
    tenant = await services.tenants.get(caller.tenant_id)
    return cutoffs_of(row, tenant.settings.rfm.method if tenant is not None else "quintile")
