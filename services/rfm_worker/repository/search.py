"""What customers are found by, and when their next order is expected: derived rows, written where they differ."""

from collections.abc import Sequence
from uuid import UUID

from services.rfm_worker.repository.raw import Raw

# A customer who left, whose row is gone, leaves here too.
_REMOVE = """
delete from {table} n where n.tenant_id = $1 and n.customer_code = any($2::text[]) and not exists (
    select from customer c where c.tenant_id = n.tenant_id and c.customer_code = n.customer_code
)
"""
_SEARCH = """
insert into customer_search as n (tenant_id, customer_code, words, tags, families)
select c.tenant_id, c.customer_code,
    lower(concat_ws(' ', c.customer_code, c.first_name, c.last_name, c.email) collate pg_c_utf8), c.tags,
    array(
        select distinct coalesce(p.family, 'unknown') collate "C" as family
        from customer_product b left join product p using (tenant_id, product_key)
        where b.tenant_id = c.tenant_id and b.customer_code = c.customer_code and b.amount > 0 order by family
    )
from customer c where c.tenant_id = $1 and c.customer_code = any($2::text[]) order by c.customer_code
on conflict (tenant_id, customer_code) do update set
    words = excluded.words, tags = excluded.tags, families = excluded.families
where (n.words, n.tags, n.families) is distinct from (excluded.words, excluded.tags, excluded.families)
"""
_RHYTHM = """
insert into rhythm as h (tenant_id, customer_code, usual_interval_days, next_order_expected_at)
select c.tenant_id, c.customer_code, gap.days, c.last_order_day + floor(gap.days + 0.5)::int
from customer c join tenant t using (tenant_id)
cross join lateral (select rfm.usual_interval(c.tenant_id, c.customer_code, t.timezone) as days) gap
where c.tenant_id = $1 and c.customer_code = any($2::text[]) order by c.customer_code
on conflict (tenant_id, customer_code) do update set
    usual_interval_days = excluded.usual_interval_days, next_order_expected_at = excluded.next_order_expected_at
where (h.usual_interval_days, h.next_order_expected_at)
    is distinct from (excluded.usual_interval_days, excluded.next_order_expected_at)
"""


async def refresh_customers(raw: Raw, tenant_id: UUID, codes: Sequence[str]) -> None:
    """Brings the search entry and the rhythm of these customers up to date; the work for each is bounded."""
    for table in ("customer_search", "rhythm"):
        await raw.execute(_REMOVE.format(table=table), tenant_id, codes)
    await raw.execute(_SEARCH, tenant_id, codes)
    await raw.execute(_RHYTHM, tenant_id, codes)
