"""Erasure: a person's sales stand in the ledger under a pseudonym, and nothing else of the person stays.

It holds whatever order events come in: a late sale of an erased code gets the same pseudonym, an older identity is not
taken back in, and what the code does after the erasure belongs to a new customer.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.rfm_worker.domain.facts import Erasure
from services.rfm_worker.repository.changes import Change, changes_of
from services.rfm_worker.repository.marks import forget_mark
from services.rfm_worker.repository.orders import Hashes, orders_of_customer
from services.rfm_worker.repository.people import CustomerKey, clear, remove_unnamed
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.rows import NOBODY, Buyer, delta_row

_LOAD = """
select e.tenant_id, e.code_hash, e.erased_at, e.pseudonym
from unnest($1::uuid[], $2::bytea[]) as k(tenant_id, code_hash) join erasure e using (tenant_id, code_hash)
order by e.erased_at
"""
_REMEMBER = """
insert into erasure (tenant_id, code_hash, erased_at, pseudonym) values ($1, $2, $3, $4)
on conflict do nothing returning pseudonym
"""
_PERSON = """
select (select customer_code from customer where tenant_id = $1 and code_hash = $2) as code,
    (select pseudonym from erasure where tenant_id = $1 and code_hash = $2 and erased_at > $3
     order by erased_at limit 1) as later
"""
# Sales up to this erasure stand under the code, or under the pseudonym of a later erasure that came first.
_RENAME = """
with renamed as (
    update sale set customer_code = $3 where tenant_id = $1 and customer_code = any($2) and sold_at <= $4 returning day
)
update day d set revision = d.revision + 1 from (select distinct day from renamed) r
where d.tenant_id = $1 and d.day = r.day
"""
_FORGET = (
    """
    with gone as (
        delete from customer_product where tenant_id = $1 and customer_code = $2 returning product_key, orders
    )
    update product p set customers = p.customers - 1 from gone g
    where p.tenant_id = $1 and p.product_key = g.product_key and g.orders > 0
    """,
    "delete from customer_search where tenant_id = $1 and customer_code = $2",
    "delete from rhythm where tenant_id = $1 and customer_code = $2",
    """
    update customer_queue set customer_codes = array_remove(customer_codes, $2)
    where tenant_id = $1 and customer_codes @> array[$2]
    """,
    "delete from segment_change where tenant_id = $1 and customer_code = $2",
    "delete from segment_path where tenant_id = $1 and customer_code = $2",
    "delete from lifetime_value where tenant_id = $1 and customer_code = $2",
)
_IDENTITY_OF_THE_ERASED = """
select created_at <= $3 from customer where tenant_id = $1 and customer_code = $2 and master_version is not null
"""
_START_ANEW = """
update customer set frequency = 0, monetary = 0, first_order_at = null, last_order_at = null,
    last_order_day = null, r = null, f = null, m = null, segment = 'prospect', segment_since = now()
where tenant_id = $1 and customer_code = $2
returning new.tenant_id, new.customer_code, old.frequency as was_frequency, old.monetary as was_monetary,
    old.last_order_day as was_day, new.frequency, new.monetary, new.last_order_day
"""


class Pseudonyms:
    """Names for the erased: random ones, but those that a rebuild knows stay as they are."""

    def __init__(self) -> None:
        self._known: dict[tuple[UUID, bytes, datetime], str] = {}
        self._names: set[CustomerKey] = set()

    def know(self, tenant_id: UUID, code_hash: bytes, erased_at: datetime, pseudonym: str) -> None:
        """Keeps the name of an erasure, and lets sales that bear it already keep it."""
        self._known[tenant_id, code_hash, erased_at] = pseudonym
        self._names.add((tenant_id, pseudonym))

    def of(self, erasure: Erasure) -> str:
        """The name under which the sales of this erasure stand."""
        known = self._known.get((erasure.tenant_id, erasure.code_hash, erasure.erased_at))
        return known or f"erased-{secrets.token_hex(16)}"

    def __contains__(self, customer: CustomerKey) -> bool:
        return customer in self._names


class Buyers:
    """Who a sale belongs to, with the erasures of this batch's customers considered."""

    def __init__(
        self,
        erasures: Mapping[tuple[UUID, bytes], Sequence[tuple[datetime, str]]],
        hashes: Hashes,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._erasures = erasures
        self._hashes = hashes
        self._pseudonyms = pseudonyms

    def of(self, tenant_id: UUID, code: str | None, sold_at: datetime) -> Buyer:
        """The buyer: where the code was erased later than the sale, the pseudonym of the first such erasure."""
        if code is None:
            return NOBODY
        if (tenant_id, code) in self._pseudonyms:
            return Buyer(code, None, None)
        code_hash = self._hashes((tenant_id, code))
        if self._erasures:
            for erased_at, pseudonym in self._erasures.get((tenant_id, code_hash), ()):
                if sold_at <= erased_at:
                    return Buyer(pseudonym, None, None)
        return Buyer(code, code, code_hash)

    def erased_at(self, key: CustomerKey) -> datetime | None:
        """When the code was last erased."""
        found = self._erasures.get((key[0], self._hashes(key)))
        return found[-1][0] if found else None


async def load_buyers(raw: Raw, customers: Iterable[CustomerKey], hashes: Hashes, pseudonyms: Pseudonyms) -> Buyers:
    """Loads the erasures that concern these codes."""
    wanted = {(key[0], hashes(key)) for key in customers}
    rows = await raw.fetch(_LOAD, [k[0] for k in wanted], [k[1] for k in wanted]) if wanted else []
    erasures: dict[tuple[UUID, bytes], list[tuple[datetime, str]]] = {}
    for row in rows:
        erasures.setdefault((row["tenant_id"], row["code_hash"]), []).append((row["erased_at"], row["pseudonym"]))
    return Buyers(erasures, hashes, pseudonyms)


@dataclass(frozen=True, slots=True)
class Erased:
    """What erasures leave to the rest of their batch."""

    rows: list[str]
    """For the stage: they build up the values of those who bought again since."""
    returning: set[CustomerKey]
    """Whose code was erased."""
    changes: list[Change]
    """What the erased people's values were."""


async def erase(raw: Raw, erasures: Iterable[Erasure], hashes: Hashes, pseudonyms: Pseudonyms) -> Erased:
    """Applies erasures; their tenants and the scorers of these must be locked alone."""
    rows: list[str] = []
    returning: set[CustomerKey] = set()
    changes: list[Change] = []
    for erasure in sorted(erasures, key=lambda e: e.erased_at):
        parameters = erasure.tenant_id, erasure.code_hash, erasure.erased_at
        pseudonym = await raw.fetchval(_REMEMBER, *parameters, pseudonyms.of(erasure))
        if pseudonym is None:
            continue
        person = (await raw.fetch(_PERSON, *parameters))[0]
        names = [name for name in (person["code"], person["later"]) if name is not None]
        await raw.execute(_RENAME, erasure.tenant_id, names, pseudonym, erasure.erased_at)
        if person["code"] is not None:
            key = (erasure.tenant_id, person["code"])
            forgotten, gone = await _forget(raw, key, erasure.erased_at)
            changes += forgotten
            if not gone:
                returning.add(key)
    for tenant_id, code in sorted(returning):
        for order in await orders_of_customer(raw, tenant_id, code, hashes):
            assert order.sold_at is not None  # noqa: S101 - a sale that names a customer is recorded
            given = order.contribution()
            # Product and day have this order already: one row takes it off them, the other puts it on again.
            rows.append(delta_row(-1, order.key, order.sold_at, NOBODY, given, day=order.day))
            rows.append(delta_row(1, order.key, order.sold_at, order.buyer, given, day=order.day))
    return Erased(rows, returning, changes)


async def _forget(raw: Raw, key: CustomerKey, erased_at: datetime) -> tuple[list[Change], bool]:
    """Takes everything of the erased person away; what remains is the start of a new customer.

    Returns:
        What the values were, and whether nothing remains.
    """
    for statement in _FORGET:
        await raw.execute(statement, *key)
    await raw.execute("delete from outbox where key = $1", f"{key[0]}:{key[1]}")
    await forget_mark(raw, *key)
    changes = changes_of(await raw.fetch(_START_ANEW, *key))
    if await raw.fetchval(_IDENTITY_OF_THE_ERASED, *key, erased_at):
        await clear(raw, [key])
    removed = await remove_unnamed(raw, [key])
    return changes, key in removed
