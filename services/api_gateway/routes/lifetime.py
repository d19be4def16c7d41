"""Customer lifetime value of the tenant as a whole."""

from fastapi import APIRouter

from services.api_gateway.consistency import FRESH
from services.api_gateway.dependencies import Reader, ServicesDep
from services.api_gateway.errors import problem_responses
from services.api_gateway.repository import lifetime as repository
from services.api_gateway.views.lifetime import LifetimeReport, report_of
from shared.db.engine import transaction

router = APIRouter(prefix="/v1/analytics", tags=["analytics"])
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)


@router.get("/lifetime-value", summary="Customer lifetime value", responses=READ_ERRORS, dependencies=FRESH)
async def lifetime_value(caller: Reader, services: ServicesDep) -> LifetimeReport:
    """What all customers are expected to bring, in ten groups; the model behind it and how wrong it was on known days.

    Computed every night. With too little data, or a model that failed its test, there is a reason instead of numbers.
    """
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.get_model(connection, caller.tenant_id)
    tenant = await services.tenants.get(caller.tenant_id)
    return report_of(row, tenant.settings.currency if tenant is not None else None)
