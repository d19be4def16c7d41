"""Aliases: keys and labels of tills and shops mapped to products of the catalogue."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response

from services.api_gateway import examples
from services.api_gateway.alias_rules import refusals
from services.api_gateway.batches import BatchParser, Rejected, all_or_nothing
from services.api_gateway.consistency import FRESH, add_token
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Reader, Services, ServicesDep, require_scope
from services.api_gateway.errors import not_found, problem_responses
from services.api_gateway.master_writes import ALIASES_KIND, MasterWriter, etag
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.raw_bodies import documented
from services.api_gateway.repository import product_aliases as repository
from services.api_gateway.security.callers import Caller
from services.api_gateway.suggestions import Suggestion, suggest
from services.api_gateway.views.product_aliases import (
    AliasBody,
    AliasesBulk,
    AliasesResult,
    ProductAlias,
    ProductSuggestion,
    RejectedAlias,
    Suggestions,
    UnmappedKey,
)
from services.api_gateway.views.queries import IfMatch, Search, cursor_kind
from shared.db.engine import transaction
from shared.events.fields import LABEL_PREFIX, Code
from shared.events.payloads import ProductAliasFields

router = APIRouter(prefix="/v1/product-aliases", tags=["products"])
Writer = Annotated[Caller, Depends(require_scope("products:write"))]
Alias = Annotated[Code, Path(description="a key as tills and shops send it", examples=["T-9"])]
READ_ERRORS = problem_responses(400, 401, 403, 422, 425, 429, 503)
_PARSER = BatchParser(AliasBody, field="aliases", id_field="alias")
SUGGESTED = 3


@router.post(
    "",
    status_code=201,
    summary="Map a key or label to a product",
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
)
async def add_alias(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[AliasBody, Body(openapi_examples={"alias": {"value": examples.ALIAS}})],
) -> ProductAlias:
    """Stores a new alias; 409 when it exists, is a product itself or would make a chain. What was sold under it follows
    soon."""
    change = await _writer(request, caller, services).create(_row(body))
    response.headers["Location"] = f"{router.prefix}/{quote(body.alias, safe='')}"
    return _stored(response, change.rows[0], change.ids)


@router.post(
    "/bulk",
    summary="Add or replace up to 5,000 aliases",
    response_model=AliasesResult,
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(AliasesBulk, {"bulk": {"aliases": [examples.ALIAS]}}),
)
async def bulk_aliases(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    atomic: Annotated[bool, Query(description="store all or nothing")] = False,
) -> AliasesResult:
    """Stores all good aliases in one transaction; a bad one rejects itself alone, with `atomic` it rejects all."""
    parsed = _PARSER.json(await request.body())
    refused = await _refused(services, caller.tenant_id, parsed.items, parsed.indexes)
    rejected = sorted([*parsed.rejected, *refused], key=lambda one: one.index)
    if atomic:
        all_or_nothing(rejected, "aliases")
    bad = {one.index for one in refused}
    good = [item for item, index in zip(parsed.items, parsed.indexes, strict=True) if index not in bad]
    rows = list({item.alias: _row(item) for item in good}.values())
    ids = (await _writer(request, caller, services).replace(rows)).ids if rows else []
    add_token(response, ids)
    answers = [RejectedAlias(index=one.index, alias=one.id, errors=one.errors) for one in rejected]
    return AliasesResult(accepted=len(good), rejected=answers)


@router.get("", summary="List aliases", dependencies=FRESH, responses=READ_ERRORS)
async def list_aliases(
    caller: Reader,
    services: ServicesDep,
    product_key: Annotated[Code | None, Query(description="only those that stand for it")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ProductAlias]:
    """Aliases, sorted."""
    kind = cursor_kind("product-aliases", product_key)
    (after,) = decode_cursor(cursor, kind, caller.tenant_id, (str,)) or (None,)
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        rows = await repository.list_aliases(
            connection, caller.tenant_id, product_key=product_key, after=after, count=limit + 1
        )
    items = [ProductAlias.model_validate(row, from_attributes=True) for row in rows[:limit]]
    following = encode_cursor(kind, caller.tenant_id, (items[-1].alias,)) if len(rows) > limit else None
    return Page(items=items, next_cursor=following)


@router.get("/suggestions", summary="Products that look like a label", dependencies=FRESH, responses=READ_ERRORS)
async def get_suggestions(
    caller: Reader,
    services: ServicesDep,
    q: Search,
    limit: Annotated[int, Query(ge=1, le=50, description="how many at most")] = 10,
) -> Suggestions:
    """Products whose name or key looks like `q`, best first."""
    if q is None:
        return Suggestions(items=[])
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        products = await repository.catalogue(connection, caller.tenant_id)
    (found,) = await suggest([q], products, limit)
    return Suggestions(items=_shown(found))


@router.get("/unmapped", summary="Sold keys without a product", dependencies=FRESH, responses=READ_ERRORS)
async def list_unmapped(
    caller: Reader,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=100, description="items per page", examples=[20])] = 20,
    cursor: Cursor = None,
) -> Page[UnmappedKey]:
    """Keys that were sold and are not in the catalogue, by revenue, each with the products that look like it."""
    kind = cursor_kind("unmapped")
    after: Any = decode_cursor(cursor, kind, caller.tenant_id, (Decimal, str))
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        rows = await repository.unmapped(connection, caller.tenant_id, after=after, count=limit + 1)
        shown = rows[:limit]
        labels = await repository.labels_of(connection, caller.tenant_id, [row.product_key for row in shown])
        products = await repository.catalogue(connection, caller.tenant_id)
    texts = [labels.get(row.product_key, row.product_key.removeprefix(LABEL_PREFIX)) for row in shown]
    items = [
        UnmappedKey(
            key=row.product_key, label=labels.get(row.product_key), orders=row.orders, units=row.units,
            revenue=row.revenue, suggestions=_shown(found),
        )
        for row, found in zip(shown, await suggest(texts, products, SUGGESTED), strict=True)
    ]  # fmt: skip
    last = (shown[-1].revenue, shown[-1].product_key) if len(rows) > limit else None
    return Page(items=items, next_cursor=None if last is None else encode_cursor(kind, caller.tenant_id, last))


@router.get(
    "/{alias:path}",
    summary="Get an alias",
    dependencies=FRESH,
    responses=problem_responses(400, 401, 403, 404, 422, 425, 429, 503),
)
async def get_alias(response: Response, caller: Reader, services: ServicesDep, alias: Alias) -> ProductAlias:
    """One alias, and whether its history has moved."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.get_alias(connection, caller.tenant_id, alias)
    if row is None:
        raise not_found("product alias")
    response.headers["ETag"] = etag(row.version)
    return ProductAlias.model_validate(row, from_attributes=True)


@router.put(
    "/{alias:path}",
    summary="Create or replace an alias",
    responses={
        201: {"model": ProductAlias, "description": "Created"},
        **problem_responses(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
    },
)
async def put_alias(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    alias: Alias,
    body: Annotated[ProductAliasFields, Body(openapi_examples={"product": {"value": examples.ALIAS_FIELDS}})],
    if_match: IfMatch = None,
) -> ProductAlias:
    """Lets the alias stand for this product from now on, and for all that was sold under it."""
    row = {"alias": alias, "product_key": body.product_key}
    change = await _writer(request, caller, services).replace([row], if_match=if_match)
    if change.rows[0].version == 1:
        response.status_code = 201
    return _stored(response, change.rows[0], change.ids)


@router.delete(
    "/{alias:path}",
    status_code=204,
    summary="Delete an alias",
    responses=problem_responses(400, 401, 403, 404, 412, 422, 429, 503),
)
async def delete_alias(
    request: Request, caller: Writer, services: ServicesDep, alias: Alias, if_match: IfMatch = None
) -> Response:
    """The key stands for itself again, and what was sold under it goes back to it."""
    change = await _writer(request, caller, services).remove(alias, if_match=if_match)
    response = Response(status_code=204)
    add_token(response, change.ids)
    return response


async def _refused(
    services: Services, tenant_id: UUID, items: Sequence[AliasBody], indexes: Sequence[int]
) -> list[Rejected]:
    """Those of a bulk body that may not be stored. Of several with one alias the last one counts."""
    if not items:
        return []
    rows = list({item.alias: _row(item) for item in items}.values())
    async with transaction(services.engine, tenant_id=tenant_id) as connection:
        reasons = await refusals(connection, tenant_id, rows)
    return [
        Rejected(index, item.alias, [reasons[item.alias]])
        for item, index in zip(items, indexes, strict=True)
        if item.alias in reasons
    ]


def _row(body: AliasBody) -> dict[str, Any]:
    return {"alias": body.alias, "product_key": body.product_key}


def _shown(found: Sequence[Suggestion]) -> list[ProductSuggestion]:
    return [ProductSuggestion(**suggestion._asdict()) for suggestion in found]


def _writer(request: Request, caller: Caller, services: Services) -> MasterWriter:
    return MasterWriter(services, caller, context_of(request.scope).request_id, ALIASES_KIND)


def _stored(response: Response, row: Any, ids: list[int]) -> ProductAlias:
    response.headers["ETag"] = etag(row.version)
    add_token(response, ids)
    fields = {name: getattr(row, name) for name in ("alias", "product_key", "version", "created_at", "updated_at")}
    return ProductAlias(**fields, history_moved=False)
