"""Segments and cut-offs of the tenant, today, on an earlier day, and as other settings would make them."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body

from services.api_gateway import examples
from services.api_gateway.consistency import FRESH_SCORES, WaitDep
from services.api_gateway.dependencies import Reader, ServicesDep
from services.api_gateway.errors import problem_responses
from services.api_gateway.repository import rfm as repository
from services.api_gateway.repository.what_if import find_moves
from services.api_gateway.views.queries import AsOf
from services.api_gateway.views.rfm import Cutoffs, Distribution, cutoffs_of, distribution_of
from services.api_gateway.views.what_if import WhatIf, WhatIfResult, result_of
from shared.db.engine import transaction

router = APIRouter(prefix="/v1/rfm", tags=["rfm"])
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)


@router.get("/distribution", summary="Customers by segment", responses=READ_ERRORS, dependencies=FRESH_SCORES)
async def distribution(caller: Reader, services: ServicesDep, wait: WaitDep, as_of: AsOf = None) -> Distribution:
    """All twelve segments with customers, share and net revenue; with `as_of` as they were at the end of that day."""
    if as_of is not None:
        then = await services.past.tenant(caller.tenant_id, as_of, anew=wait.asked)
        return distribution_of(then.segments, then)
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        cutoffs = await repository.get_cutoffs(connection, caller.tenant_id)
        counts = await repository.count_segments(connection, caller.tenant_id)
    return distribution_of(counts, cutoffs)


@router.get("/cutoffs", summary="Cut-offs", responses=READ_ERRORS, dependencies=FRESH_SCORES)
async def cutoffs(caller: Reader, services: ServicesDep, wait: WaitDep, as_of: AsOf = None) -> Cutoffs:
    """The four bounds of each axis: a score counts how many of them lie below the value. With `as_of` those of that
    day."""
    if as_of is not None:
        return cutoffs_of(await services.past.tenant(caller.tenant_id, as_of, anew=wait.asked), "quintile")
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.get_cutoffs(connection, caller.tenant_id)
    tenant = await services.tenants.get(caller.tenant_id)
    return cutoffs_of(row, tenant.settings.rfm.method if tenant is not None else "quintile")


@router.post(
    "/what-if",
    summary="Who would move between segments",
    responses=problem_responses(400, 401, 403, 413, 415, 422, 425, 429, 503),
    dependencies=FRESH_SCORES,
)
async def what_if(
    caller: Reader,
    services: ServicesDep,
    body: Annotated[
        WhatIf,
        Body(
            openapi_examples={
                "fixed": {"value": examples.WHAT_IF},
                "quintile": {"value": {"method": "quintile", "reference_date": "latest_sale"}},
            }
        ),
    ],
) -> WhatIfResult:
    """Customers and revenue that another method, other bounds or another reference date would move from segment to
    segment, with examples. It changes nothing."""
    turn = services.large_reads.turn(caller.tenant_id)
    async with turn, transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        rows = await find_moves(
            connection,
            caller.tenant_id,
            method=body.method,
            bounds=body.bounds.model_dump_json() if body.bounds is not None else None,
            reference_date=str(body.reference_date) if body.reference_date is not None else None,
            now=datetime.now(UTC),
        )
    return result_of(body.method, rows)
