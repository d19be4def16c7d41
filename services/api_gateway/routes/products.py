"""Products: the catalogue, kept by the gateway."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from services.api_gateway import examples
from services.api_gateway.alias_rules import product_refusals
from services.api_gateway.batches import BatchParser, Parsed, Rejected, all_or_nothing
from services.api_gateway.consistency import FRESH, add_token
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Reader, Services, ServicesDep, require_scope
from services.api_gateway.errors import not_found, problem_responses
from services.api_gateway.master_writes import PRODUCTS_KIND, MasterWriter, as_json, etag, last_of_each
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.raw_bodies import documented
from services.api_gateway.reasons import FieldReason
from services.api_gateway.repository import master_data, products
from services.api_gateway.security.callers import Caller
from services.api_gateway.views.products import (
    Popularity,
    Product,
    ProductBody,
    ProductPatch,
    ProductsBulk,
    ProductsResult,
    RejectedProduct,
    fields_of,
    popularity_of,
    product_of,
)
from services.api_gateway.views.queries import IfMatch, ProductKey, Search, WordFilter, cursor_kind
from shared.db.engine import transaction
from shared.events.payloads import ProductFields

router = APIRouter(prefix="/v1/products", tags=["products"])
Writer = Annotated[Caller, Depends(require_scope("products:write"))]
_PARSER = BatchParser(ProductBody, field="products", id_field="product_key")


@router.post(
    "",
    status_code=201,
    summary="Add a product",
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
)
async def add_product(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    body: Annotated[ProductBody, Body(openapi_examples={"product": {"value": examples.PRODUCT}})],
) -> Product:
    """Stores a new product; 409 when the key exists, or is an alias."""
    change = await _writer(request, caller, services).create(as_json(body))
    response.headers["Location"] = f"{router.prefix}/{quote(body.product_key, safe='')}"
    return _stored(response, change.rows[0], change.ids)


@router.post(
    "/bulk",
    summary="Add or replace up to 5,000 products",
    response_model=ProductsResult,
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    openapi_extra=documented(ProductsBulk, {"bulk": {"products": [examples.PRODUCT]}}),
)
async def bulk_products(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    atomic: Annotated[bool, Query(description="store all or nothing")] = False,
) -> ProductsResult:
    """Stores all good products in one transaction; a bad one rejects itself alone, with `atomic` it rejects all."""
    parsed = _PARSER.json(await request.body())
    aliases = await _aliases(services, caller, parsed)
    refused = [
        Rejected(index, item.product_key, [aliases[item.product_key]])
        for item, index in zip(parsed.items, parsed.indexes, strict=True)
        if item.product_key in aliases
    ]
    rejected = sorted([*parsed.rejected, *refused], key=lambda one: one.index)
    if atomic:
        all_or_nothing(rejected, "products")
    good = [item for item in parsed.items if item.product_key not in aliases]
    ids: list[int] = []
    if good:
        ids = (await _writer(request, caller, services).replace(last_of_each(good, "product_key"))).ids
    add_token(response, ids)
    answers = [RejectedProduct(index=one.index, product_key=one.id, errors=one.errors) for one in rejected]
    return ProductsResult(accepted=len(good), rejected=answers)


@router.get(
    "",
    summary="List and search products",
    dependencies=FRESH,
    responses=problem_responses(400, 401, 403, 422, 425, 429, 503),
)
async def list_products(
    caller: Reader,
    services: ServicesDep,
    q: Search = None,
    family: WordFilter = None,
    active: Annotated[bool | None, Query(description="only active, or only inactive ones")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Product]:
    """The catalogue, by key."""
    kind = cursor_kind("products", q, family, active)
    (after,) = decode_cursor(cursor, kind, caller.tenant_id, (str,)) or (None,)
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        rows = await products.list_products(
            connection, caller.tenant_id, q=q, family=family, active=active, after=after, count=limit + 1
        )
    items = [product_of(row) for row in rows[:limit]]
    following = encode_cursor(kind, caller.tenant_id, (items[-1].product_key,)) if len(rows) > limit else None
    return Page(items=items, next_cursor=following)


@router.get(
    "/{product_key:path}/popularity",
    summary="How much a product sells",
    dependencies=FRESH,
    responses=problem_responses(400, 401, 403, 404, 422, 425, 429, 503),
)
async def product_popularity(caller: Reader, services: ServicesDep, product_key: ProductKey) -> Popularity:
    """Popularity among the tenant's products, and what was sold, of all time and in the last 30 days."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await products.popularity(connection, caller.tenant_id, product_key)
    if row is None:
        raise not_found("product")
    return popularity_of(product_key, row)


@router.get(
    "/{product_key:path}",
    summary="Get a product",
    dependencies=FRESH,
    responses=problem_responses(400, 401, 403, 404, 422, 425, 429, 503),
)
async def get_product(response: Response, caller: Reader, services: ServicesDep, product_key: ProductKey) -> Product:
    """One product as stored."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await master_data.get(connection, master_data.PRODUCT, caller.tenant_id, product_key)
    if row is None:
        raise not_found("product")
    response.headers["ETag"] = etag(row.version)
    return product_of(row)


@router.put(
    "/{product_key:path}",
    summary="Create or replace a product",
    responses={
        201: {"model": Product, "description": "Created"},
        **problem_responses(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503),
    },
)
async def put_product(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    product_key: ProductKey,
    body: Annotated[ProductFields, Body(openapi_examples={"product": {"value": examples.PRODUCT_FIELDS}})],
    if_match: IfMatch = None,
) -> Product:
    """Stores exactly these fields; what is left out is cleared. 409 when the key is an alias."""
    row = {"product_key": product_key, **as_json(body)}
    change = await _writer(request, caller, services).replace([row], if_match=if_match)
    if change.rows[0].version == 1:
        response.status_code = 201
    return _stored(response, change.rows[0], change.ids)


@router.patch(
    "/{product_key:path}",
    summary="Change some fields of a product",
    responses=problem_responses(400, 401, 403, 404, 412, 413, 415, 422, 429, 503),
)
async def patch_product(
    request: Request,
    response: Response,
    caller: Writer,
    services: ServicesDep,
    product_key: ProductKey,
    body: Annotated[ProductPatch, Body(openapi_examples={"change": {"value": examples.PRODUCT_PATCH}})],
    if_match: IfMatch = None,
) -> Product:
    """Merges: fields left out stay, null clears. Send the ETag as If-Match so that no other change is lost."""
    change = await _writer(request, caller, services).patch(
        product_key, lambda stored: body.apply(fields_of(stored)), if_match=if_match
    )
    return _stored(response, change.rows[0], change.ids)


@router.delete(
    "/{product_key:path}",
    status_code=204,
    summary="Delete a product",
    responses=problem_responses(400, 401, 403, 404, 412, 422, 429, 503),
)
async def delete_product(
    request: Request, caller: Writer, services: ServicesDep, product_key: ProductKey, if_match: IfMatch = None
) -> Response:
    """Takes a product out of the catalogue; what was sold of it then counts for the family `unknown`."""
    change = await _writer(request, caller, services).remove(product_key, if_match=if_match)
    response = Response(status_code=204)
    add_token(response, change.ids)
    return response


async def _aliases(services: Services, caller: Caller, parsed: Parsed[ProductBody]) -> dict[str, FieldReason]:
    """Keys of a bulk body that are aliases, each with why it cannot be a product."""
    if not parsed.items:
        return {}
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        return await product_refusals(connection, caller.tenant_id, [item.product_key for item in parsed.items])


def _writer(request: Request, caller: Caller, services: Services) -> MasterWriter:
    return MasterWriter(services, caller, context_of(request.scope).request_id, PRODUCTS_KIND)


def _stored(response: Response, row: Any, ids: list[int]) -> Product:
    response.headers["ETag"] = etag(row.version)
    add_token(response, ids)
    return product_of(row)
