"""The slow path: orders that a batch meets again (a return, a cancellation, another version, a sale waited for)."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.rfm_worker.domain.contribution import Lines
from services.rfm_worker.domain.facts import Accepted, Cancellation, Return, Sale
from services.rfm_worker.repository.orders import (
    Hashes,
    Order,
    load_orders,
    replace_sales,
    store_cancellations,
    store_nets,
    store_returns,
)
from services.rfm_worker.repository.people import CustomerKey
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.rows import Buyer, SaleKey, delta_row

Cause = tuple[str, str | None]
"""Why a segment changed, and the id of the sale or return that did it."""


@dataclass(slots=True)
class Settled:
    """What the slow path changed."""

    rows: list[str] = field(default_factory=list)
    """Signed contributions for the stage."""
    causes: dict[CustomerKey, Cause] = field(default_factory=dict)
    lowered: set[CustomerKey] = field(default_factory=set)
    """Customers that lost something: their first and last order must be looked up again."""
    abandoned: set[CustomerKey] = field(default_factory=set)
    """Customers that lost a sale altogether: perhaps nothing names them any more."""


class Settlement:
    """Orders in memory while a batch changes them."""

    def __init__(self, before: Mapping[SaleKey, Order]) -> None:
        self.before = before
        self.after = dict(before)
        self.sales: list[tuple[Sale, Buyer, Mapping[str, str]]] = []
        self.returns: list[Return] = []
        self.cancellations: list[Cancellation] = []
        self.causes: dict[SaleKey, Cause] = {}

    def sell(self, sale: Sale, buyer: Buyer, mapped: Mapping[str, str]) -> None:
        """Of two sales with one id, the one accepted first stands."""
        key = (sale.tenant_id, sale.body.sale_id)
        order = self.after[key]
        if order.accepted is None or sale.accepted < order.accepted:
            self.after[key] = order.filled(sale, buyer, mapped)
            self.sales.append((sale, buyer, mapped))
            self.causes.setdefault(key, ("sale", sale.body.sale_id))

    def take_back(self, back: Return) -> None:
        """Of two returns with one id, the one accepted first stands, also where they name different sales."""
        return_id, key = back.body.return_id, (back.tenant_id, back.body.sale_id)
        for other in list(self.after.values()):
            if other.key[0] == back.tenant_id and return_id in other.returns:
                if other.returns[return_id][0] <= back.accepted:
                    return
                self._put(other.key, {k: v for k, v in other.returns.items() if k != return_id}, return_id)
        x = back.body.lines
        lines = Lines([i.product_key for i in x], [i.quantity for i in x], [i.amount for i in x])
        self._put(key, {**self.after[key].returns, return_id: (back.accepted, lines)}, return_id)
        self.returns.append(back)

    def _put(self, key: SaleKey, returns: dict[str, tuple[Accepted, Lines]], return_id: str) -> None:
        self.after[key] = replace(self.after[key], returns=returns)
        self.causes[key] = ("return", return_id)

    def cancel(self, cancellation: Cancellation) -> None:
        """Of two cancellations of one sale, the one accepted first stands."""
        key = (cancellation.tenant_id, cancellation.body.sale_id)
        order = self.after[key]
        if order.cancelled is None or cancellation.accepted < order.cancelled:
            self.after[key] = replace(order, cancelled=cancellation.accepted)
            self.cancellations.append(cancellation)
            self.causes[key] = ("cancellation", cancellation.body.sale_id)

    def settled(self) -> Settled:
        """The differences that the changes make."""
        result = Settled()
        for key, cause in self.causes.items():
            _difference(result, self.before[key], self.after[key], cause)
        return result


def _difference(result: Settled, old: Order, new: Order, cause: Cause) -> None:
    was, now = old.contribution(), new.contribution()
    if (was, old.buyer, old.sold_at) == (now, new.buyer, new.sold_at):
        return
    for sign, order, given in ((-1, old, was), (1, new, now)):
        if order.sold_at is None:
            continue
        result.rows.append(delta_row(sign, order.key, order.sold_at, order.buyer, given, day=order.day))
        if order.buyer.counted is not None:
            customer = (order.key[0], order.buyer.counted)
            result.causes[customer] = cause
            if sign < 0:
                result.lowered.add(customer)
                if order.buyer.counted != new.buyer.counted:
                    result.abandoned.add(customer)


async def settle(
    raw: Raw,
    keys: Collection[SaleKey],
    *,
    sales: Iterable[Sale],
    returns: Iterable[Return],
    cancellations: Iterable[Cancellation],
    buyer_of: Callable[[Sale], Buyer],
    mapped_of: Callable[[Sale], Mapping[str, str]],
    hashes: Hashes,
) -> Settled:
    """Loads the orders (locked by the caller), lets the events change them, writes the ledger.

    Args:
        keys: every order that an event names, and those that a replaced return named before.
        sales: those that the ledger had already, or had kept a place for.
        buyer_of: who a sale belongs to, erasures considered.
        mapped_of: keys of a sale that stand for other products.
    """
    if not keys:
        return Settled()
    work = Settlement(await load_orders(raw, keys, hashes))
    for sale in sales:
        work.sell(sale, buyer_of(sale), mapped_of(sale))
    for back in returns:
        work.take_back(back)
    for cancellation in cancellations:
        work.cancel(cancellation)
    await replace_sales(raw, work.sales)
    await store_returns(raw, work.returns)
    await store_cancellations(raw, work.cancellations)
    await store_nets(raw, (work.after[key] for key in work.causes))
    return work.settled()
