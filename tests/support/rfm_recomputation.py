"""The plain recomputation: from a set of items, in no order, to the rows that must be there."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

from services.rfm_worker.domain.decay import weights
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
from shared.events.erasure import customer_hash

ZERO = Decimal(0)


@dataclass
class Rows:
    """Expected rows of one tenant by key, without rows of zeros."""

    sales: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """sale_id -> (code, or the moment of the erasure; net; cancelled; returned; event id; effective keys)."""
    customers: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """code -> (frequency, monetary, first order, last order, last day, first name)."""
    bought: dict[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    products: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    days: dict[Any, tuple[Any, ...]] = field(default_factory=dict)


def recompute(items: Sequence[Item], secret: str) -> Rows:
    """The rows that these items must end in. Records of one master data key stand in their published order."""
    with localcontext(Context(prec=300)):
        return _Recomputation(items, secret).rows()


class _Recomputation:
    def __init__(self, items: Sequence[Item], secret: str) -> None:
        self.items, self.secret = items, secret
        zone = max(
            ((i.body.version, i.body.settings.timezone) for i in items if isinstance(i, TenantChange)), default=None
        )
        self.zone = ZoneInfo(zone[1] if zone else "Europe/Paris")
        self.aliases: dict[str, str] = self._aliases()
        self.erasures: dict[bytes, list[datetime]] = defaultdict(list)
        for item in items:
            if isinstance(item, Erasure):
                self.erasures[item.code_hash] = sorted({*self.erasures[item.code_hash], item.erased_at})

    def erased_at(self, tenant_id: Any, code: str, moment: datetime) -> datetime | None:
        """The first erasure of this code at or after a moment."""
        later = [at for at in self.erasures.get(customer_hash(self.secret, tenant_id, code), []) if at >= moment]
        return min(later, default=None)

    def rows(self) -> Rows:
        sales = _earliest((i for i in self.items if isinstance(i, Sale)), lambda s: s.body.sale_id)
        returns = _earliest((i for i in self.items if isinstance(i, Return)), lambda r: r.body.return_id)
        voided = _earliest((i for i in self.items if isinstance(i, Cancellation)), lambda c: c.body.sale_id)
        result = Rows()
        totals: dict[str, Any] = {
            "c": defaultdict(list),
            "b": defaultdict(list),
            "p": defaultdict(list),
            "d": defaultdict(list),
        }
        for sale_id, sale in sales.items():
            back = [r for r in returns.values() if r.body.sale_id == sale_id]
            self._order(result, totals, sale, back, sale_id in voided)
        self._sum(result, totals)
        return result

    def _order(self, result: Rows, totals: dict[str, Any], sale: Sale, back: list[Return], void: bool) -> None:
        body = sale.body
        lines = body.lines()
        gross = sum(lines.amounts, ZERO)
        net = ZERO if void else max(ZERO, gross - sum((x.amount for r in back for x in r.body.lines), ZERO))
        code, counted = body.customer_code, body.customer_code
        if code is not None and (at := self.erased_at(sale.tenant_id, code, body.sold_at)) is not None:
            code, counted = at, None  # type: ignore[assignment]
        stands_for = {key: self.aliases[key] for key in body.products if key in self.aliases}
        products = [stands_for.get(key, key) for key in body.products]
        result.sales[body.sale_id] = (code, net, void, bool(back), sale.accepted[1], products)
        counts = int(net > 0)
        day = body.sold_at.astimezone(self.zone).date()
        spend, popular = weights(body.sold_at)
        units_of_order = ZERO
        for product in set(products):
            units = sum((q for p, q in zip(products, lines.quantities, strict=True) if p == product), ZERO)
            amount = sum((a for p, a in zip(products, lines.amounts, strict=True) if p == product), ZERO)
            gone = [x for r in back for x in r.body.lines if stands_for.get(x.product_key, x.product_key) == product]
            units = ZERO if void else max(ZERO, units - sum((x.quantity for x in gone), ZERO))
            amount = ZERO if void else max(ZERO, amount - sum((x.amount for x in gone), ZERO))
            orders = int(bool(counts) and units > 0)
            units_of_order += units
            totals["p"][product].append((orders, units, amount, units * popular))
            if counted is not None:
                totals["b"][counted, product].append((orders, units, amount, amount * spend))
        totals["d"][day].append((counts, units_of_order, net))
        if counted is not None:
            totals["c"][counted].append((counts, net, body.sold_at, day))

    def _sum(self, result: Rows, totals: dict[str, Any]) -> None:
        result.bought = _nonzero(totals["b"])
        result.days = _nonzero(totals["d"])
        families = self._families()
        sums = _nonzero(totals["p"])
        for key in sums.keys() | families.keys():
            result.products[key] = (*sums.get(key, (0, ZERO, ZERO, ZERO)), families.get(key))
        identities = self._identities()
        for code in totals["c"].keys() | identities.keys():
            orders = totals["c"].get(code, [])
            counting = [o for o in orders if o[0]]
            moments = sorted(o[2] for o in counting)
            result.customers[code] = (
                len(counting), sum((o[1] for o in orders), ZERO), moments[0] if moments else None,
                moments[-1] if moments else None, max((o[3] for o in counting), default=None), identities.get(code),
            )  # fmt: skip

    def _identities(self) -> dict[str, str | None]:
        known: dict[str, tuple[int, str | None]] = {}
        for item in self.items:
            if not isinstance(item, CustomerChange):
                continue
            if item.body is None:
                known.pop(item.customer_code, None)
                continue
            void = self.erased_at(item.tenant_id, item.customer_code, item.body.created_at) is not None
            if not void and known.get(item.customer_code, (0, None))[0] < item.body.version:
                known[item.customer_code] = (item.body.version, item.body.first_name)
        return {code: name for code, (_, name) in known.items()}

    def _aliases(self) -> dict[str, str]:
        known: dict[str, tuple[int, str]] = {}
        for item in self.items:
            if not isinstance(item, AliasChange):
                continue
            if item.body is None:
                known.pop(item.alias, None)
            elif known.get(item.alias, (0, ""))[0] < item.body.version:
                known[item.alias] = (item.body.version, item.body.product_key)
        return {key: product for key, (_, product) in known.items()}

    def _families(self) -> dict[str, str | None]:
        known: dict[str, tuple[int, str | None]] = {}
        for item in self.items:
            if not isinstance(item, ProductChange):
                continue
            if item.body is None:
                known.pop(item.product_key, None)
            elif known.get(item.product_key, (0, None))[0] < item.body.version:
                known[item.product_key] = (item.body.version, item.body.family)
        return {key: family for key, (_, family) in known.items()}


def _earliest(facts: Iterable[Any], key: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fact in facts:
        other = found.get(key(fact))
        if other is None or fact.accepted < other.accepted:
            found[key(fact)] = fact
    return found


def _nonzero(groups: dict[Any, list[tuple[Any, ...]]]) -> dict[Any, tuple[Any, ...]]:
    sums = {key: tuple(sum(column, ZERO) for column in zip(*rows, strict=True)) for key, rows in groups.items()}
    return {key: values for key, values in sums.items() if any(values)}
