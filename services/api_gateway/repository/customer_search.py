"""Lists of customers, read from the rfm worker's projection.

What is looked for by words, tag or family is found through an index that the worker keeps beside it. Customers whom
the worker has not brought up to date there are looked at as they are, so that no answer depends on how far it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.repository.customer_order import RFM_CODE, Part, Sort, by_rhythm, parts
from services.api_gateway.repository.customers import PROJECTION

FEW = 1000
"""So many found customers are named to the list; where there are more, walking along its order meets them soon."""
MOST_PENDING = 5000
"""So many customers are told apart; in a larger backlog everybody is looked at."""

_WORDS = "lower(concat_ws(' ', c.customer_code, c.first_name, c.last_name, c.email) collate pg_c_utf8)"
_PATTERN = "lower(cast(:q as text) collate pg_c_utf8)"
_BOUGHT = (
    "exists (select from rfm.customer_product b "
    "left join rfm.product p on p.tenant_id = b.tenant_id and p.product_key = b.product_key "
    "where b.tenant_id = c.tenant_id and b.customer_code = c.customer_code and b.amount > 0 "
    "and coalesce(p.family, 'unknown') = :family)"
)
_INDEXED = (
    "exists (select from rfm.own_customer_search n where n.tenant_id = c.tenant_id "
    "and n.customer_code = c.customer_code and n.families @> array[cast(:family as text)])"
)
_PENDING = text(
    """
    select bool_or(k.product_keys <> '{}') as products, count(*) as rows,
        array(
            select distinct x.code from rfm.customer_queue q, unnest(q.customer_codes) as x(code)
            where q.tenant_id = :tenant limit :most
        ) as codes
    from rfm.customer_queue k where k.tenant_id = :tenant
    """
)
# Which rows match is known only with the parameters: a plan made without them would read the wrong index.
_PLAN_ANEW = text("set local plan_cache_mode = force_custom_plan")


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """What a list is narrowed to; None narrows nothing.

    Attributes:
        q: part of the code, a name or the e-mail address, in any case.
        segment: key of a segment.
        family: customers with net purchases in it.
        min_spend: least monetary value.
        tag: one of the customer's tags.
        rfm_code: the three scores.
    """

    q: str | None = None
    segment: str | None = None
    family: str | None = None
    min_spend: Decimal | None = None
    tag: str | None = None
    rfm_code: int | None = None


@dataclass(slots=True)
class _Narrowed:
    """Conditions on a customer `c`, with their parameters."""

    conditions: list[str]
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Pending:
    """Customers whom the search index is behind of; None: too many, or it is unknown which."""

    codes: list[str] | None = field(default_factory=list)


async def search(
    connection: AsyncConnection,
    tenant_id: UUID,
    wanted: CustomerFilter,
    sort: Sort,
    *,
    after: Sequence[Any] | None,
    count: int,
) -> list[Row[Any]]:
    """At most `count` customers behind the cursor's values, in the order asked for, ties by code."""
    await connection.execute(_PLAN_ANEW)
    narrowed = _narrow(tenant_id, wanted)
    if wanted.q is not None or wanted.tag is not None or wanted.family is not None:
        await _look_up(connection, narrowed, wanted, await _pending(connection, tenant_id, wanted))
    rows: list[Row[Any]] = []
    for part in parts(sort, after):
        rows += await _read(connection, narrowed, part, sort, count - len(rows))
        if len(rows) >= count:
            break
    return rows


async def _read(
    connection: AsyncConnection, narrowed: _Narrowed, part: Part, sort: Sort, count: int
) -> Sequence[Row[Any]]:
    """The page is found first and completed then: what belongs to it is looked up for its rows alone. Where no index
    has the order, only codes are sorted, not whole customers."""
    rhythm = "join rfm.own_rhythm h using (tenant_id, customer_code)" if by_rhythm(sort) else ""
    statement = text(
        "select c.customer_code, c.first_name, c.last_name, c.email, c.phone, c.language, c.tags, c.created_at, "  # noqa: S608
        f"c.average_basket, n.next_order_expected_at, {PROJECTION}, k.sort_value "
        f"from (select c.tenant_id, c.customer_code, {part.value} as sort_value from rfm.own_customer c {rhythm} "
        f"where {' and '.join([*narrowed.conditions, *part.conditions])} order by {part.order} limit :count) k "
        "join rfm.own_customer c on c.tenant_id = k.tenant_id and c.customer_code = k.customer_code "
        "left join rfm.own_rhythm n on n.tenant_id = c.tenant_id and n.customer_code = c.customer_code "
        f"left join rfm.cutoffs q on q.tenant_id = c.tenant_id order by {part.outer_order}"
    )
    return (await connection.execute(statement, {**narrowed.parameters, **part.parameters, "count": count})).all()


def _narrow(tenant_id: UUID, wanted: CustomerFilter) -> _Narrowed:
    """Conditions that an index of the list, or one look at the row, answers."""
    conditions, parameters = ["c.tenant_id = :tenant"], {"tenant": tenant_id}
    given: dict[str, tuple[str, Any]] = {
        "segment": ("c.segment = :segment", wanted.segment),
        "min_spend": ("c.monetary >= :min_spend", wanted.min_spend),
        "rfm_code": (f"{RFM_CODE} = cast(:rfm_code as int)", wanted.rfm_code),
        "q": (f"{_WORDS} like {_PATTERN}", None if wanted.q is None else _contains(wanted.q)),
        "tag": ("c.tags @> array[cast(:tag as text)]", wanted.tag),
    }
    for name, (condition, value) in given.items():
        if value is not None:
            conditions.append(condition)
            parameters[name] = value
    return _Narrowed(conditions, parameters)


def _contains(part: str) -> str:
    escaped = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


async def _pending(connection: AsyncConnection, tenant_id: UUID, wanted: CustomerFilter) -> _Pending:
    row = (await connection.execute(_PENDING, {"tenant": tenant_id, "most": MOST_PENDING + 1})).one()
    # Whoever bought a product that has just moved to another family is not named in the queue.
    unknown = wanted.family is not None and row.products
    return _Pending(None if unknown or len(row.codes) > MOST_PENDING else list(row.codes))


async def _look_up(connection: AsyncConnection, narrowed: _Narrowed, wanted: CustomerFilter, pending: _Pending) -> None:
    """Adds the conditions that the search index helps with."""
    if wanted.family is not None:
        narrowed.parameters["family"] = wanted.family
    if pending.codes is None:
        narrowed.conditions += [_BOUGHT] if wanted.family is not None else []
        return
    if wanted.family is not None:
        narrowed.conditions.append(
            f"case when c.customer_code = any(cast(:pending as text[])) then {_BOUGHT} else {_INDEXED} end"
        )
        narrowed.parameters["pending"] = pending.codes
    found = await _matching(connection, narrowed, wanted)
    if len(found) <= FEW:
        narrowed.conditions.append("c.customer_code = any(cast(:found as text[]))")
        narrowed.parameters["found"] = [*found, *pending.codes]


async def _matching(connection: AsyncConnection, narrowed: _Narrowed, wanted: CustomerFilter) -> list[str]:
    """Codes that the search index has for the words, tag and family; at most one more than a few."""
    conditions = {
        f'n.words like {_PATTERN} collate "default"': wanted.q,  # the collation of the index
        "n.tags @> array[cast(:tag as text)]": wanted.tag,
        "n.families @> array[cast(:family as text)]": wanted.family,
    }
    chosen = " and ".join(condition for condition, value in conditions.items() if value is not None)
    statement = text(
        f"select n.customer_code from rfm.own_customer_search n where n.tenant_id = :tenant and {chosen} limit :count"  # noqa: S608
    )
    return list(await connection.scalars(statement, {**narrowed.parameters, "count": FEW + 1}))
