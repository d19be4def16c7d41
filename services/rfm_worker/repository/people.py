"""Who the customers are: identity from master data, and that a customer exists as long as something names it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.rfm_worker.domain.facts import CustomerChange
from services.rfm_worker.repository.raw import Raw

CustomerKey = tuple[UUID, str]

_ENSURE = """
insert into customer (tenant_id, customer_code, code_hash)
select * from (
    select tenant_id, counted, code_hash from stage where counted is not null
    union
    select * from unnest($1::uuid[], $2::text[], $3::bytea[])
) k(tenant_id, customer_code, code_hash)
order by tenant_id, customer_code collate "C"
on conflict (tenant_id, customer_code) do update set code_hash = excluded.code_hash where false
"""
_CLEAR = """
update customer c set master_version = null, created_at = null, first_name = null, last_name = null, email = null,
    phone = null, language = null, tags = '{}'
from unnest($1::uuid[], $2::text[]) as k(tenant_id, customer_code)
where c.tenant_id = k.tenant_id and c.customer_code = k.customer_code
"""
_IDENTIFY = """
update customer set master_version = $3, created_at = $4, first_name = $5, last_name = $6, email = $7,
    phone = $8, language = $9, tags = $10
where tenant_id = $1 and customer_code = $2 and coalesce(master_version, 0) < $3
"""
# The history of segments repeats since when a person is known.
_KNOWN_SINCE = """
update segment_path p set known_at = c.created_at
from unnest($1::uuid[], $2::text[]) as k(tenant_id, customer_code) join customer c using (tenant_id, customer_code)
where p.tenant_id = k.tenant_id and p.customer_code = k.customer_code and p.known_at is distinct from c.created_at
"""
_REMOVE_UNNAMED = """
with removed as (
    delete from customer c using unnest($1::uuid[], $2::text[]) as k(tenant_id, customer_code)
    where c.tenant_id = k.tenant_id and c.customer_code = k.customer_code and c.master_version is null
        and not exists (
            select from sale s where s.tenant_id = c.tenant_id and s.customer_code = c.customer_code
        )
    returning c.tenant_id, c.customer_code
),
forgotten as (
    delete from segment_change h using removed r
    where h.tenant_id = r.tenant_id and h.customer_code = r.customer_code
),
unplaced as (
    delete from segment_path p using removed r
    where p.tenant_id = r.tenant_id and p.customer_code = r.customer_code
),
unfound as (
    delete from customer_search n using removed r
    where n.tenant_id = r.tenant_id and n.customer_code = r.customer_code
),
unexpected as (
    delete from rhythm h using removed r where h.tenant_id = r.tenant_id and h.customer_code = r.customer_code
)
select tenant_id, customer_code from removed
"""


@dataclass(slots=True)
class Identity:
    """What a batch says about one person: whether the past is void, and the newest state."""

    void: bool = False
    newest: CustomerChange | None = None


def fold(
    changes: Iterable[CustomerChange], erased_at: Callable[[CustomerKey], datetime | None]
) -> dict[CustomerKey, Identity]:
    """Per customer what its changes come to, in the order of their records.

    Args:
        changes: a key's records stand in their order of publication.
        erased_at: when the person with this code was last erased; older identities are not taken back in.
    """
    folded: dict[CustomerKey, Identity] = {}
    for change in changes:
        key = (change.tenant_id, change.customer_code)
        if change.body is None:
            folded[key] = Identity(void=True)
            continue
        erased = erased_at(key)
        if erased is not None and change.body.created_at <= erased:
            continue
        identity = folded.setdefault(key, Identity())
        if identity.newest is None or _version(identity.newest) < change.body.version:
            identity.newest = change
    return folded


def _version(change: CustomerChange) -> int:
    return 0 if change.body is None else change.body.version


async def identify(
    raw: Raw, people: Mapping[CustomerKey, Identity], hashes: Callable[[CustomerKey], bytes]
) -> set[CustomerKey]:
    """Takes identities over. First every row that this batch touches is made and locked, in one sorted pass.

    Returns:
        Those of the people who exist now.
    """
    if not people:
        return set()
    keys = sorted(people)
    await raw.execute(_ENSURE, [k[0] for k in keys], [k[1] for k in keys], [hashes(k) for k in keys])
    void = [key for key in keys if people[key].void]
    if void:
        await raw.execute(_CLEAR, [k[0] for k in void], [k[1] for k in void])
    await raw.executemany(_IDENTIFY, [_row(key, people[key].newest) for key in keys if people[key].newest is not None])
    await raw.execute(_KNOWN_SINCE, [k[0] for k in keys], [k[1] for k in keys])
    return set(keys) - await remove_unnamed(raw, void)


def _row(key: CustomerKey, change: CustomerChange | None) -> Sequence[object]:
    assert change is not None and change.body is not None  # noqa: S101, PT018 - chosen by the caller
    b = change.body
    return (*key, b.version, b.created_at, b.first_name, b.last_name, b.email, b.phone, b.language, b.tags)


async def clear(raw: Raw, keys: Collection[CustomerKey]) -> None:
    """Removes the identities of these customers."""
    for statement in (_CLEAR, _KNOWN_SINCE):
        await raw.execute(statement, [k[0] for k in keys], [k[1] for k in keys])


async def remove_unnamed(raw: Raw, keys: Iterable[CustomerKey]) -> set[CustomerKey]:
    """Deletes, with all that is derived of them, those of these customers that nothing names any more; answers them."""
    pairs = sorted(keys)
    if not pairs:
        return set()
    removed = await raw.fetch(_REMOVE_UNNAMED, [k[0] for k in pairs], [k[1] for k in pairs])
    return {(row["tenant_id"], row["customer_code"]) for row in removed}
