"""What is stored of a tenant, in the shape of the plain recomputation."""

from tests.integration.rfm.conftest import Rfm
from tests.support.rfm_recomputation import Rows


async def stored(rfm: Rfm) -> Rows:
    """The rows of the tenant; a pseudonym reads as the moment of its erasure, rows of zeros are left out."""
    erased = await rfm.query("select * from rfm.erasure where tenant_id = :tenant")
    erasures = {r.pseudonym: r.erased_at for r in erased}
    rows = Rows()
    for r in await rfm.query("select * from rfm.sale where tenant_id = :tenant and recorded"):
        code = erasures.get(r.customer_code, r.customer_code)
        rows.sales[r.sale_id] = (code, r.net, r.cancelled, r.returned, r.event_id, r.effective_keys or r.product_keys)
    for r in await rfm.query("select * from rfm.customer where tenant_id = :tenant"):
        rows.customers[r.customer_code] = (
            r.frequency,
            r.monetary,
            r.first_order_at,
            r.last_order_at,
            r.last_order_day,
            r.first_name,
        )
    for r in await rfm.query("select * from rfm.customer_product where tenant_id = :tenant"):
        sums = (r.orders, r.units, r.amount, r.spend_weight)
        if any(sums):
            rows.bought[r.customer_code, r.product_key] = sums
    for r in await rfm.query("select * from rfm.product where tenant_id = :tenant"):
        sums = (r.orders, r.units, r.revenue, r.units_weight)
        if any(sums) or r.master_version is not None:
            rows.products[r.product_key] = (*sums, r.family)
    for r in await rfm.query("select * from rfm.day where tenant_id = :tenant"):
        if any((r.orders, r.units, r.revenue)):
            rows.days[r.day] = (r.orders, r.units, r.revenue)
    return rows
