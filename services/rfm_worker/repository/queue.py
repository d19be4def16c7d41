"""Customers whose search entry and rhythm a batch left behind: appended by the batch, removed by the refresher.

Rows are only ever appended and removed, each holds many codes, and no two writers share one.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.rfm_worker.repository.people import CustomerKey
from services.rfm_worker.repository.products import ProductKey
from services.rfm_worker.repository.raw import Raw

MOST_ROWS = 1000
"""Rows taken at once: under load a customer stands in many of them and is refreshed once."""

_APPEND = "insert into customer_queue (tenant_id, customer_codes, product_keys) values ($1, $2, $3)"
_APPEND_ALL = """
insert into customer_queue (tenant_id, customer_codes, product_keys)
select tenant_id, array_agg(customer_code), '{}' from (
    select tenant_id, customer_code, row_number() over (partition by tenant_id order by customer_code) / 1000 as part
    from customer where $1::uuid is null or tenant_id = $1
) c group by tenant_id, part
"""
_FORGET_STRANGERS = tuple(
    f"delete from {table} x where ($1::uuid is null or x.tenant_id = $1) and not exists ("  # noqa: S608
    "select from customer c where c.tenant_id = x.tenant_id and c.customer_code = x.customer_code)"
    for table in ("customer_search", "rhythm")
)
_WAITING = "select distinct tenant_id from customer_queue order by 1"
_TAKE = """
select id, customer_codes, product_keys from customer_queue where tenant_id = $1 order by id limit $2
"""
_BUYERS = """
select distinct customer_code from customer_product where tenant_id = $1 and product_key = any($2::text[])
"""
_DONE = "delete from customer_queue where tenant_id = $1 and id = any($2::bigint[])"


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows of the queue: their ids, and the customers that they stand for."""

    ids: Sequence[int]
    codes: Sequence[str]


async def queue_customers(raw: Raw, tenant_id: UUID, codes: Collection[str]) -> None:
    """Asks for these customers to be looked at again, in the transaction that changed them."""
    await raw.execute(_APPEND, tenant_id, sorted(codes), [])


async def queue_everybody(raw: Raw, tenant_id: UUID | None) -> None:
    """Queues all customers, of one tenant or of all, and forgets what is derived of customers that do not exist."""
    for statement in (*_FORGET_STRANGERS, _APPEND_ALL):
        await raw.execute(statement, tenant_id)


async def queue_changes(raw: Raw, customers: Iterable[CustomerKey], moved: Iterable[ProductKey]) -> None:
    """Queues a batch: customers that it changed, and products that it moved to another family."""
    rows: dict[UUID, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for tenant_id, code in customers:
        rows[tenant_id][0].add(code)
    for tenant_id, product_key in moved:
        rows[tenant_id][1].add(product_key)
    await raw.executemany(_APPEND, [(t, sorted(codes), sorted(keys)) for t, (codes, keys) in sorted(rows.items())])


async def waiting_tenants(raw: Raw) -> list[UUID]:
    """Tenants that somebody is queued of."""
    return [row["tenant_id"] for row in await raw.fetch(_WAITING)]


async def take(raw: Raw, tenant_id: UUID) -> Taken:
    """The oldest rows of a tenant. They stay until `done`; read what they stand for after them, never before."""
    rows = await raw.fetch(_TAKE, tenant_id, MOST_ROWS)
    codes = {code for row in rows for code in row["customer_codes"]}
    products = sorted({key for row in rows for key in row["product_keys"]})
    if products:
        codes |= {row["customer_code"] for row in await raw.fetch(_BUYERS, tenant_id, products)}
    return Taken([row["id"] for row in rows], sorted(codes))


async def done(raw: Raw, tenant_id: UUID, taken: Taken) -> None:
    """Removes rows whose customers were all refreshed."""
    await raw.execute(_DONE, tenant_id, taken.ids)
