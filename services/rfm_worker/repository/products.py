"""Products as master data names them; their sums are written by `aggregates`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.rfm_worker.domain.facts import ProductChange
from services.rfm_worker.repository.raw import Raw

ProductKey = tuple[UUID, str]

_ENSURE = """
insert into product (tenant_id, product_key)
select * from (
    select s.tenant_id, l.product_key from stage s, unnest(coalesce(s.part_keys, s.product_keys)) as l(product_key)
    union
    select * from unnest($1::uuid[], $2::text[])
) k(tenant_id, product_key)
order by tenant_id, product_key collate "C"
on conflict (tenant_id, product_key) do update set product_key = excluded.product_key where false
"""
_CLEAR = """
update product p set master_version = null, name = null, family = null
from unnest($1::uuid[], $2::text[]) as k(tenant_id, product_key)
where p.tenant_id = k.tenant_id and p.product_key = k.product_key
returning p.tenant_id, p.product_key, old.family is distinct from new.family as moved
"""
_DESCRIBE = """
update product p set master_version = k.version, name = k.name, family = k.family
from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[])
    as k(tenant_id, product_key, version, name, family)
where p.tenant_id = k.tenant_id and p.product_key = k.product_key and coalesce(p.master_version, 0) < k.version
returning p.tenant_id, p.product_key, old.family is distinct from new.family as moved
"""


@dataclass(slots=True)
class Description:
    """What a batch says about one product: whether the past is void, and the newest state."""

    void: bool = False
    newest: ProductChange | None = None
    version: int = 0


def fold(changes: Iterable[ProductChange]) -> dict[ProductKey, Description]:
    """Per product what its changes come to, in the order of their records."""
    folded: dict[ProductKey, Description] = {}
    for change in changes:
        key = (change.tenant_id, change.product_key)
        if change.body is None:
            folded[key] = Description(void=True)
            continue
        description = folded.setdefault(key, Description())
        if description.version < change.body.version:
            description.newest, description.version = change, change.body.version
    return folded


async def describe(raw: Raw, changes: Sequence[ProductChange]) -> set[ProductKey]:
    """Takes names and families over. First every row that this batch touches is made and locked, in one pass.

    Returns:
        Products whose history moved to another family.
    """
    folded = fold(changes)
    if not folded:
        return set()
    keys = sorted(folded)
    await raw.execute(_ENSURE, [k[0] for k in keys], [k[1] for k in keys])
    void = [key for key in keys if folded[key].void]
    found = await raw.fetch(_CLEAR, [k[0] for k in void], [k[1] for k in void]) if void else []
    rows = [(*key, d.version, b.name, b.family) for key in keys if (d := folded[key]).newest and (b := d.newest.body)]
    if rows:
        found += await raw.fetch(_DESCRIBE, *(list(column) for column in zip(*rows, strict=True)))
    return {(row["tenant_id"], row["product_key"]) for row in found if row["moved"]}
