"""A seeded stream of sales, returns and cancellations, with duplicates, conflicts, and everything out of order."""

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.events.catalogue import SALES
from shared.events.envelope import Envelope
from shared.messaging.record import Message

SOURCE = "upstream-till"
ACCEPTED_FROM = datetime(2026, 9, 1, tzinfo=UTC)
SOLD_FROM = datetime(2025, 8, 1, 9, tzinfo=UTC)
SPREAD = 400
"""Positions by which a return, a cancellation or a duplicate may be away from its sale, to either side."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One event of the topic `sales`."""

    type: str
    event_id: str
    accepted_at: datetime
    routed_by: str
    payload: dict[str, Any]

    @property
    def rank(self) -> tuple[datetime, str]:
        """Of two facts of one natural key the one with the smaller rank stands."""
        return self.accepted_at, self.event_id

    def message(self, tenant_id: UUID) -> Message:
        """The record as an upstream system produces it."""
        envelope = Envelope(self.event_id, self.type, SOURCE, self.accepted_at, tenant_id)
        value = json.dumps(self.payload).encode()
        return Message(SALES.name, f"{tenant_id}:{self.routed_by}".encode(), value, envelope.to_headers())


def sales_stream(seed: int, events: int, *, customers: int = 150, products: int = 40) -> list[Fact]:
    """About `events` facts in the order of their arrival; few customers make most of the sales."""
    chance = random.Random(seed)
    placed: list[tuple[float, Fact]] = []
    for position in range(int(events / 1.2)):
        for fact in _about_one_sale(chance, position, customers, products):
            away = 0 if not placed else chance.uniform(-SPREAD, SPREAD) * (chance.random() < 0.5)
            placed.append((position + away, fact))
    return [fact for _, fact in sorted(placed, key=lambda each: each[0])]


def a_sale(sale_id: str, customer: str | None = "C1", price: str = "10.00", **fields: Any) -> dict[str, Any]:
    """The payload of a small sale."""
    lines = [{"product_key": "P1", "quantity": "1", "unit_price": price}]
    return {"sale_id": sale_id, "customer_code": customer, "sold_at": "2026-10-01T10:00:00+02:00", "lines": lines,
            **fields}  # fmt: skip


def recorded(payload: dict[str, Any], seed: int = 0) -> Fact:
    """`sale.recorded.v1` of a payload."""
    routed_by = payload["customer_code"] or payload["sale_id"]
    return Fact("sale.recorded.v1", f"e-{seed}-{payload['sale_id']}", ACCEPTED_FROM, routed_by, payload)


def _about_one_sale(chance: random.Random, n: int, customers: int, products: int) -> Iterator[Fact]:
    customer = None if chance.random() < 0.04 else f"C{int(customers * chance.random() ** 3):04}"
    sold_at = SOLD_FROM + timedelta(minutes=chance.randrange(400 * 24 * 60))
    accepted_at = ACCEPTED_FROM + timedelta(seconds=n)
    sale_id = f"S{n:06}"
    payload = {
        "sale_id": sale_id,
        "customer_code": customer,
        "sold_at": sold_at.isoformat(),
        "channel": chance.choice(("store", "web")),
        "lines": [_line(chance, products) for _ in range(chance.choice((1, 1, 2)))],
    }
    sale = Fact("sale.recorded.v1", _id(chance), accepted_at, customer or sale_id, payload)
    yield sale
    if chance.random() < 0.05:  # the same record again, as a client's or the broker's retry makes it
        yield sale
    if chance.random() < 0.02:  # the same id with other content, accepted later: it must lose
        other = {**payload, "lines": [_line(chance, products)]}
        yield Fact("sale.recorded.v1", _id(chance), accepted_at + timedelta(hours=1), sale.routed_by, other)
    if chance.random() < 0.09:
        yield from _returned(chance, sale)
    if chance.random() < 0.03:
        hint = {"customer_code": customer} if customer and chance.random() < 0.5 else {}
        body = {"sale_id": sale_id, "cancelled_at": (sold_at + timedelta(days=1)).isoformat(), **hint}
        routed_by = customer if customer and hint else sale_id
        yield Fact("sale.cancelled.v1", _id(chance), accepted_at + timedelta(hours=2), routed_by, body)


def _returned(chance: random.Random, sale: Fact) -> Iterator[Fact]:
    line = sale.payload["lines"][0]
    amount = Decimal(line["quantity"]) * Decimal(line["unit_price"])
    share = chance.choice((Decimal(1), Decimal("0.5")))
    # Half of them do not know the customer, so they travel in another partition than their sale.
    customer = sale.payload["customer_code"] if chance.random() < 0.5 else None
    payload = {
        "return_id": f"R{sale.payload['sale_id']}",
        "sale_id": sale.payload["sale_id"],
        "customer_code": customer,
        "returned_at": sale.accepted_at.isoformat(),
        "lines": [
            {"product_key": line["product_key"], "quantity": line["quantity"], "amount": f"{amount * share:.2f}"}
        ],
    }
    routed_by = customer or sale.payload["sale_id"]
    fact = Fact("sale.returned.v1", _id(chance), sale.accepted_at + timedelta(minutes=5), routed_by, payload)
    yield fact
    if chance.random() < 0.3:
        yield fact


def _line(chance: random.Random, products: int) -> dict[str, str]:
    product = chance.randrange(products)
    return {
        "product_key": f"P{product:03}",
        "quantity": str(chance.choice((1, 1, 1, 2, 3))),
        "unit_price": f"{5 + product * 3}.90",
    }


def _id(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


@dataclass(frozen=True, slots=True)
class Order:
    """What one sale comes to in the end."""

    customer: str | None
    net: Decimal


def orders_of(facts: Sequence[Fact]) -> dict[str, Order]:
    """The orders of a stream by sale_id, computed in plain Python: what must be there, whatever happened."""
    sales = _standing(facts, "sale.recorded.v1", "sale_id")
    cancelled = _standing(facts, "sale.cancelled.v1", "sale_id")
    returned: dict[str, Decimal] = {}
    for payload in _standing(facts, "sale.returned.v1", "return_id").values():
        amount = sum((Decimal(line["amount"]) for line in payload["lines"]), Decimal(0))
        returned[payload["sale_id"]] = returned.get(payload["sale_id"], Decimal(0)) + amount
    orders = {}
    for sale_id, payload in sales.items():
        gross = sum((Decimal(line["quantity"]) * Decimal(line["unit_price"]) for line in payload["lines"]), Decimal(0))
        net = Decimal(0) if sale_id in cancelled else max(Decimal(0), gross - returned.get(sale_id, Decimal(0)))
        orders[sale_id] = Order(payload["customer_code"], net)
    return orders


def _standing(facts: Sequence[Fact], type_: str, key: str) -> dict[str, dict[str, Any]]:
    found: dict[str, Fact] = {}
    for fact in facts:
        if fact.type == type_:
            known = found.get(fact.payload[key])
            if known is None or fact.rank < known.rank:
                found[fact.payload[key]] = fact
    return {name: fact.payload for name, fact in found.items()}
