"""Single orders with all that was said about them: loaded, changed in memory, written back as a difference."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from services.rfm_worker.domain.contribution import Contribution, Lines, contribution
from services.rfm_worker.domain.facts import Accepted, Cancellation, Return, Sale
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.rows import NOBODY, Buyer, SaleKey

_KEYS = "unnest($1::uuid[], $2::text[]) as k(tenant_id, sale_id)"
_SALES = f"""
select s.tenant_id, s.sale_id, s.recorded, s.customer_code, s.sold_at, s.day, s.event_time, s.event_id, s.product_keys,
    s.effective_keys, s.quantities, s.amounts, e.pseudonym is not null as erased
from {_KEYS} join sale s using (tenant_id, sale_id)
left join erasure e on e.tenant_id = s.tenant_id and e.pseudonym = s.customer_code
"""  # noqa: S608
_RETURNS = f"select r.* from {_KEYS} join sale_return r using (tenant_id, sale_id)"  # noqa: S608
_CANCELLATIONS = f"select c.* from {_KEYS} join sale_cancellation c using (tenant_id, sale_id)"  # noqa: S608
_OF_CUSTOMER = """
select sale_id from sale where tenant_id = $1 and customer_code = $2 order by sale_id
"""
_RETURNED_SALES = """
select r.tenant_id, r.sale_id from unnest($1::uuid[], $2::text[]) as k(tenant_id, return_id)
join sale_return r using (tenant_id, return_id)
"""
_REPLACE_SALE = """
update sale s set recorded = true, customer_code = $3, sold_at = $4,
    day = ($4::timestamptz at time zone t.timezone)::date, channel = $5, currency = $6, gross = $7, event_time = $8,
    event_id = $9, product_keys = $10, labels = $11, quantities = $12, unit_prices = $13, discounts = $14,
    amounts = $15, metadata = $16::text::jsonb, effective_keys = $17
from tenant t where s.tenant_id = $1 and s.sale_id = $2 and t.tenant_id = s.tenant_id
"""
_STORE_RETURN = """
insert into sale_return (
    tenant_id, return_id, sale_id, returned_at, event_time, event_id, product_keys, quantities, amounts
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (tenant_id, return_id) do update set sale_id = excluded.sale_id, returned_at = excluded.returned_at,
    event_time = excluded.event_time, event_id = excluded.event_id, product_keys = excluded.product_keys,
    quantities = excluded.quantities, amounts = excluded.amounts
"""
_STORE_CANCELLATION = """
insert into sale_cancellation (tenant_id, sale_id, cancelled_at, reason, event_time, event_id)
values ($1, $2, $3, $4, $5, $6)
on conflict (tenant_id, sale_id) do update set cancelled_at = excluded.cancelled_at, reason = excluded.reason,
    event_time = excluded.event_time, event_id = excluded.event_id
"""
_STORE_NET = "update sale set net = $3, cancelled = $4, returned = $5 where tenant_id = $1 and sale_id = $2"

Hashes = Callable[[tuple[UUID, str]], bytes]


@dataclass(frozen=True, slots=True)
class Order:
    """One order as the ledger has it, or as a batch leaves it."""

    key: SaleKey
    accepted: Accepted | None = None
    """Of its sale; None while that has not come."""
    buyer: Buyer = NOBODY
    sold_at: datetime | None = None
    day: date | None = None
    """Local date under which the ledger sums it; None while this batch has yet to date it."""
    lines: Lines | None = None
    mapped: Mapping[str, str] = field(default_factory=dict)
    """Keys of its lines that stand for other products."""
    returns: dict[str, tuple[Accepted, Lines]] = field(default_factory=dict)
    cancelled: Accepted | None = None

    def contribution(self) -> Contribution:
        """What it adds to every sum."""
        returned = (lines for _, lines in self.returns.values())
        return contribution(self.lines, returned, self.cancelled is not None, self.mapped)

    def filled(self, sale: Sale, buyer: Buyer, mapped: Mapping[str, str]) -> "Order":
        """The order with this sale in it, some keys of which stand for other products."""
        body = sale.body
        return replace(
            self, accepted=sale.accepted, buyer=buyer, sold_at=body.sold_at, day=None, lines=body.lines(),
            mapped=mapped,
        )  # fmt: skip


async def load_orders(raw: Raw, keys: Collection[SaleKey], hashes: Hashes) -> dict[SaleKey, Order]:
    """The orders, by key; their rows must be locked."""
    parameters = [key[0] for key in keys], [key[1] for key in keys]
    returns: dict[SaleKey, dict[str, tuple[Accepted, Lines]]] = {}
    for r in await raw.fetch(_RETURNS, *parameters):
        back = Lines(r["product_keys"], r["quantities"], r["amounts"])
        of_sale = returns.setdefault((r["tenant_id"], r["sale_id"]), {})
        of_sale[r["return_id"]] = ((r["event_time"], r["event_id"]), back)
    cancelled = {
        (r["tenant_id"], r["sale_id"]): (r["event_time"], r["event_id"])
        for r in await raw.fetch(_CANCELLATIONS, *parameters)
    }
    found = {}
    for r in await raw.fetch(_SALES, *parameters):
        key = (r["tenant_id"], r["sale_id"])
        order = Order(key, returns=returns.get(key, {}), cancelled=cancelled.get(key))
        if r["recorded"]:
            code = r["customer_code"]
            counted = None if r["erased"] else code
            order = replace(
                order, accepted=(r["event_time"], r["event_id"]), sold_at=r["sold_at"],
                day=r["day"],
                buyer=Buyer(code, counted, hashes((key[0], counted)) if counted is not None else None),
                lines=Lines(r["product_keys"], r["quantities"], r["amounts"]),
                mapped=_mapped(r["product_keys"], r["effective_keys"]),
            )  # fmt: skip
        found[key] = order
    return found


def _mapped(sent: Sequence[str], effective: Sequence[str] | None) -> dict[str, str]:
    return {} if effective is None else {a: b for a, b in zip(sent, effective, strict=True) if a != b}


def effective_keys(sent: Sequence[str], mapped: Mapping[str, str]) -> list[str] | None:
    """The products that the keys of a sale stand for, as the ledger keeps them: None where all are themselves."""
    return [mapped.get(key, key) for key in sent] if mapped else None


async def orders_of_customer(raw: Raw, tenant_id: UUID, code: str, hashes: Hashes) -> list[Order]:
    """Every recorded order that names this customer."""
    keys = [(tenant_id, row["sale_id"]) for row in await raw.fetch(_OF_CUSTOMER, tenant_id, code)]
    return list((await load_orders(raw, keys, hashes)).values()) if keys else []


async def sales_of_returns(raw: Raw, ids: Iterable[tuple[UUID, str]]) -> set[SaleKey]:
    """The sales that the stored returns with these ids name; the ids must be locked."""
    pairs = list(ids)
    rows = await raw.fetch(_RETURNED_SALES, [p[0] for p in pairs], [p[1] for p in pairs])
    return {(row["tenant_id"], row["sale_id"]) for row in rows}


async def replace_sales(raw: Raw, sales: Sequence[tuple[Sale, Buyer, Mapping[str, str]]]) -> None:
    """Writes these sales over what the ledger has under their ids, but for `net`, which `store_nets` writes."""
    await raw.executemany(_REPLACE_SALE, [_ledger_row(*sold) for sold in sales])


def _ledger_row(sale: Sale, buyer: Buyer, mapped: Mapping[str, str]) -> tuple[object, ...]:
    b = sale.body
    lines = b.lines()
    return (
        sale.tenant_id, b.sale_id, buyer.code, b.sold_at, b.channel, b.currency, sum(lines.amounts), *sale.accepted,
        b.products, b.labels, lines.quantities, [Decimal(x) for x in b.unit_prices],
        [Decimal(x) for x in b.discounts], lines.amounts, json.dumps(b.metadata) if b.metadata else None,
        effective_keys(b.products, mapped),
    )  # fmt: skip


async def store_returns(raw: Raw, returns: Sequence[Return]) -> None:
    """Writes these returns over what the ledger has under their ids."""
    await raw.executemany(_STORE_RETURN, [
        (
            r.tenant_id, r.body.return_id, r.body.sale_id, r.body.returned_at, *r.accepted,
            [x.product_key for x in r.body.lines], [x.quantity for x in r.body.lines],
            [x.amount for x in r.body.lines],
        )
        for r in returns
    ])  # fmt: skip


async def store_cancellations(raw: Raw, cancellations: Sequence[Cancellation]) -> None:
    """Writes these cancellations over what the ledger has for their sales."""
    await raw.executemany(_STORE_CANCELLATION, [
        (c.tenant_id, c.body.sale_id, c.body.cancelled_at, c.body.reason, *c.accepted) for c in cancellations
    ])  # fmt: skip


async def store_nets(raw: Raw, orders: Iterable[Order]) -> None:
    """Writes what the orders come to."""
    await raw.executemany(
        _STORE_NET, [(*o.key, o.contribution().net, o.cancelled is not None, bool(o.returns)) for o in orders]
    )
