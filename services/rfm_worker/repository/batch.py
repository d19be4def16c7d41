"""A batch, from decoded items to rows, in the caller's one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.rfm_worker.domain.facts import (
    AliasChange,
    Cancellation,
    CustomerChange,
    Erasure,
    Item,
    ProductChange,
    Return,
    Sale,
    TenantChange,
)
from services.rfm_worker.domain.scores import Standing, standing
from services.rfm_worker.repository import people, products
from services.rfm_worker.repository.aggregates import add_customers, add_the_rest
from services.rfm_worker.repository.aliases import Aliases, change_aliases, load_aliases
from services.rfm_worker.repository.changes import Change, changes_of, request_scores
from services.rfm_worker.repository.erasures import Buyers, Pseudonyms, erase, load_buyers
from services.rfm_worker.repository.ledger import insert_new
from services.rfm_worker.repository.locks import lock_returns, lock_tenants
from services.rfm_worker.repository.orders import Hashes, sales_of_returns
from services.rfm_worker.repository.people import CustomerKey
from services.rfm_worker.repository.queue import queue_changes
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.rows import SaleKey, place_row, sale_row
from services.rfm_worker.repository.segments import Move, write_moves
from services.rfm_worker.repository.settle import Cause, Settled, settle
from services.rfm_worker.repository.stage import copy_rows, drop_rows, open_stage
from services.rfm_worker.repository.tenants import ERASED, Tenant, change_tenants, load_tenants
from shared.db.engine import driver_connection
from shared.events.erasure import customer_hash
from shared.messaging import faults
from shared.messaging.errors import DeadReason, Poison, PoisonedItems

REMEMBERED_HASHES = 20_000

Key = TypeVar("Key")
F = TypeVar("F", Sale, Return, Cancellation)


@dataclass(slots=True)
class Batch:
    """The items of one transaction by kind; of facts with one natural key only the one accepted first is left."""

    sales: dict[SaleKey, Sale] = field(default_factory=dict)
    returns: dict[tuple[UUID, str], Return] = field(default_factory=dict)
    cancellations: dict[SaleKey, Cancellation] = field(default_factory=dict)
    tenants: list[TenantChange] = field(default_factory=list)
    customers: list[CustomerChange] = field(default_factory=list)
    erasures: list[Erasure] = field(default_factory=list)
    products: list[ProductChange] = field(default_factory=list)
    aliases: list[AliasChange] = field(default_factory=list)

    @classmethod
    def of(cls, items: Iterable[Item]) -> "Batch":
        """Sorts items by kind."""
        batch = cls()
        for item in items:
            match item:
                case Sale():
                    _earliest(batch.sales, (item.tenant_id, item.body.sale_id), item)
                case Return():
                    _earliest(batch.returns, (item.tenant_id, item.body.return_id), item)
                case Cancellation():
                    _earliest(batch.cancellations, (item.tenant_id, item.body.sale_id), item)
                case TenantChange():
                    batch.tenants.append(item)
                case CustomerChange():
                    batch.customers.append(item)
                case Erasure():
                    batch.erasures.append(item)
                case ProductChange():
                    batch.products.append(item)
                case AliasChange():
                    batch.aliases.append(item)
        return batch

    def named_sales(self) -> set[SaleKey]:
        """Sales that a return or a cancellation names."""
        return {(r.tenant_id, r.body.sale_id) for r in self.returns.values()} | self.cancellations.keys()


def _earliest(kept: dict[Key, F], key: Key, fact: F) -> None:
    other = kept.get(key)
    if other is None or fact.accepted < other.accepted:
        kept[key] = fact


class BatchWriter:
    """Applies batches. It keeps nothing between them but hashes."""

    def __init__(self, erasure_secret: str, pseudonyms: Pseudonyms | None = None) -> None:
        """Args:
        erasure_secret: key of the hashes by which erasures name people.
        pseudonyms: names of erasures that are known already; none outside of a rebuild.
        """
        self._pseudonyms = pseudonyms or Pseudonyms()
        self._hashes: Hashes = lru_cache(REMEMBERED_HASHES)(lambda key: customer_hash(erasure_secret, *key))

    async def apply(self, connection: AsyncConnection, items: Sequence[Item], now: datetime) -> set[UUID]:
        """Applies items, in the transaction of `connection`.

        Args:
            now: when changes of segment happen.

        Returns:
            Tenants whose cut-offs may have moved.

        Raises:
            PoisonedItems: sales in a currency that is not their tenant's; nothing was written.
        """
        raw = await driver_connection(connection)
        await open_stage(raw)
        tenants = await self._open(raw, items)
        batch = Batch.of(item for item in items if not tenants[item.tenant_id].erased)
        resettled = await change_tenants(raw, batch.tenants, tenants)
        _refuse_currencies(items, tenants)
        if any(tenants[change.tenant_id].erased for change in batch.tenants):
            batch = Batch.of(item for item in items if not tenants[item.tenant_id].erased)
        application = _Application(connection, raw, batch, tenants, hashes=self._hashes, pseudonyms=self._pseudonyms)
        touched = await application.run(now) | {tenant for tenant in resettled if not tenants[tenant].erased}
        if touched:
            await request_scores(raw, touched, application.changes)
        return touched

    async def _open(self, raw: Raw, items: Sequence[Item]) -> dict[UUID, Tenant]:
        """Locks and loads the tenants of a batch: alone, where the batch rewrites what others may be adding to."""
        named = {item.tenant_id for item in items}
        alone = {item.tenant_id for item in items if isinstance(item, TenantChange | AliasChange)}
        unscored = {item.tenant_id for item in items if _rewrites(item)}
        await lock_tenants(raw, named, alone, unscored)
        return await load_tenants(raw, named)


def _rewrites(item: Item) -> bool:
    """Whether it takes away what the scorer may be working on."""
    return isinstance(item, Erasure) or (isinstance(item, TenantChange) and item.body.status == ERASED)


def _refuse_currencies(items: Sequence[Item], tenants: dict[UUID, Tenant]) -> None:
    poisoned = {}
    for position, item in enumerate(items):
        if isinstance(item, Sale) and item.body.currency is not None:
            tenant = tenants[item.tenant_id]
            if tenant.currency is not None and not tenant.erased and item.body.currency != tenant.currency:
                poisoned[position] = Poison(DeadReason.CURRENCY_MISMATCH, "currency is not the tenant's")
    if poisoned:
        raise PoisonedItems(poisoned)


class _Application:
    """The steps of one batch, in the order of their locks."""

    def __init__(
        self,
        connection: AsyncConnection,
        raw: Raw,
        batch: Batch,
        tenants: dict[UUID, Tenant],
        *,
        hashes: Hashes,
        pseudonyms: Pseudonyms,
    ) -> None:
        self.connection, self.raw, self.batch = connection, raw, batch
        self.tenants, self.hashes, self.pseudonyms = tenants, hashes, pseudonyms
        self.causes: dict[CustomerKey, Cause] = {}
        self.aliases = Aliases({})
        self.changes: list[Change] = []

    async def run(self, now: datetime) -> set[UUID]:
        """Applies the batch; answers the tenants that it changed."""
        batch, raw = self.batch, self.raw
        await change_aliases(raw, batch.aliases)
        rebuilt: list[str] = []
        touched: set[CustomerKey] = set()
        if batch.erasures:
            erased = await erase(raw, batch.erasures, self.hashes, self.pseudonyms)
            rebuilt, self.changes, touched = erased.rows, erased.changes, erased.returning
            self.causes = dict.fromkeys(erased.returning, ("erasure", None))
        buyers = await self._buyers()
        self.aliases = await load_aliases(raw, ((sale.tenant_id, sale.body.products) for sale in batch.sales.values()))
        settled = await self._facts(buyers, rebuilt)
        touched |= await people.identify(raw, people.fold(batch.customers, buyers.erased_at), self.hashes)
        if batch.sales or batch.returns or batch.cancellations or rebuilt:
            rows = await add_customers(raw, settled.lowered)
            changes = changes_of(rows)
            self.changes += changes
            removed = await people.remove_unnamed(raw, settled.abandoned)
            moved = await products.describe(raw, batch.products)
            await add_the_rest(raw)
            touched = (touched - removed) | ({(row["tenant_id"], row["customer_code"]) for row in rows} - removed)
            # Whose values are what they were keeps the scores that the scorer gave: it would not come back to them.
            changed = {change.customer for change in changes} - removed
            await self._score([row for row in rows if (row["tenant_id"], row["customer_code"]) in changed], now)
        else:
            moved = await products.describe(raw, batch.products)
        await queue_changes(raw, touched, moved)
        facts: list[Sale | Return | Cancellation | Erasure] = [*batch.sales.values(), *batch.returns.values()]
        facts += [*batch.cancellations.values(), *batch.erasures]
        return {fact.tenant_id for fact in facts}

    async def _buyers(self) -> Buyers:
        batch = self.batch
        named: set[CustomerKey] = {(c.tenant_id, c.customer_code) for c in batch.customers}
        for sale in batch.sales.values():
            if sale.body.customer_code is not None:
                named.add((sale.tenant_id, sale.body.customer_code))
        return await load_buyers(self.raw, named, self.hashes, self.pseudonyms)

    async def _facts(self, buyers: Buyers, rebuilt: list[str]) -> Settled:
        """Stages and inserts the sales, settles what the ledger knew already."""
        batch, raw = self.batch, self.raw
        named = batch.named_sales()
        if batch.returns:
            await lock_returns(raw, batch.returns)
            named |= await sales_of_returns(raw, batch.returns)
        await self._stage(buyers, named)
        known = await insert_new(raw) if batch.sales or named else {}
        await drop_rows(raw, (k.n for k in known.values())) if known else None
        again = [
            sale
            for key, found in known.items()
            if (sale := batch.sales.get(key)) and (found.accepted is None or sale.accepted < found.accepted)
        ]
        settled = await settle(
            raw, named | {(sale.tenant_id, sale.body.sale_id) for sale in again}, sales=again,
            returns=batch.returns.values(), cancellations=batch.cancellations.values(),
            buyer_of=lambda sale: buyers.of(sale.tenant_id, sale.body.customer_code, sale.body.sold_at),
            mapped_of=lambda sale: self.aliases.of(sale.tenant_id, sale.body.products), hashes=self.hashes,
        )  # fmt: skip
        await copy_rows(raw, rebuilt + settled.rows)
        self.causes |= settled.causes
        return settled

    async def _stage(self, buyers: Buyers, named: set[SaleKey]) -> None:
        rows = []
        for n, sale in enumerate(self.batch.sales.values()):
            body = sale.body
            buyer = buyers.of(sale.tenant_id, body.customer_code, body.sold_at)
            if buyer.counted is not None:
                self.causes[sale.tenant_id, buyer.counted] = ("sale", body.sale_id)
            rows.append(sale_row(n, sale, buyer, self.aliases.of(sale.tenant_id, body.products)))
        places = sorted(named - self.batch.sales.keys())
        rows += [place_row(n, key) for n, key in enumerate(places, len(rows))]
        await copy_rows(self.raw, rows)
        faults.reach("after_stage")

    async def _score(self, rows: Iterable[Mapping[str, Any]], now: datetime) -> None:
        """Scores the customers whose values changed against the cut-offs that are known now."""
        moves = []
        for row in rows:
            customer = (row["tenant_id"], row["customer_code"])
            was = Standing(row["r"], row["f"], row["m"], row["segment"])
            cutoffs = self.tenants[customer[0]].cutoffs
            now_at = standing(row["frequency"], row["monetary"], row["last_order_day"], cutoffs)
            if now_at is not None:
                moves.append(Move(customer, was, now_at))
        await write_moves(self.connection, moves, self.causes.__getitem__, now)
