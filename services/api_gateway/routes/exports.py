"""Exports: a tenant's data as files, streamed."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from services.api_gateway.consistency import FRESH
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Reader, Services, ServicesDep
from services.api_gateway.errors import not_found, problem_responses
from services.api_gateway.exports.response import (
    FORMATS,
    MEDIA_TYPES,
    ROWS_AT_ONCE,
    ExportResponse,
    file_of,
    headers_of,
)
from services.api_gateway.periods import BetweenDep
from services.api_gateway.repository import exports
from services.api_gateway.repository.exports import Export
from services.api_gateway.security.callers import Caller
from shared.events.payloads import Segment

router = APIRouter(prefix="/v1/exports", tags=["exports"])
Format = Annotated[
    str, Path(description="csv, ndjson or parquet", examples=["csv"], json_schema_extra={"enum": sorted(FORMATS)})
]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, as it is made",
        "content": {MEDIA_TYPES[name].partition(";")[0]: _BINARY for name in FORMATS},
    },
    **problem_responses(400, 401, 403, 404, 422, 425, 429, 503),
}


def _route(export: Export) -> dict[str, Any]:
    return {
        "path": f"/{export.name}.{{format}}",
        "summary": f"Export {export.name.replace('-', ' ')}",
        "responses": RESPONSES,
        "dependencies": FRESH,
        "response_class": Response,
    }


@router.get(**_route(exports.CUSTOMERS))
async def export_customers(
    request: Request,
    caller: Reader,
    services: ServicesDep,
    format: Format,
    segment: Annotated[Segment | None, Query(description="key of a segment")] = None,
) -> Response:
    """Everybody who exists, with master data, values and scores, by code."""
    return _answer(request, caller, services, exports.CUSTOMERS, format, (segment,))


@router.get(**_route(exports.SALES))
async def export_sales(
    request: Request,
    caller: Reader,
    services: ServicesDep,
    format: Format,
    between: BetweenDep,
) -> Response:
    """The ledger, oldest first: one row per line of a sale. Dates mean local days of the tenant, both included."""
    return _answer(request, caller, services, exports.SALES, format, exports.within(between.since, between.until))


@router.get(**_route(exports.PRODUCTS))
async def export_products(request: Request, caller: Reader, services: ServicesDep, format: Format) -> Response:
    """The catalogue and whatever else was sold, with net sales, by key."""
    return _answer(request, caller, services, exports.PRODUCTS, format, ())


@router.get(**_route(exports.SEGMENTS_HISTORY))
async def export_segments_history(
    request: Request,
    caller: Reader,
    services: ServicesDep,
    format: Format,
    between: BetweenDep,
) -> Response:
    """Every move between segments, by customer. Dates mean local days of the tenant, both included."""
    within = exports.within(between.since, between.until)
    return _answer(request, caller, services, exports.SEGMENTS_HISTORY, format, within)


def _answer(
    request: Request, caller: Caller, services: Services, export: Export, format_: str, parameters: Sequence[Any]
) -> Response:
    if format_ not in FORMATS:
        raise not_found("export")
    if context_of(request.scope).bodiless:
        return Response(headers=headers_of(export.name, format_))
    place = services.export_slots.one(caller.tenant_id)
    rows = exports.read(services.engine, caller.tenant_id, export, parameters, rows=ROWS_AT_ONCE)
    return ExportResponse(file_of(rows, export.columns, format_, place), export.name, format_)
