"""Items as the records that they came from, and a log of them in memory that reads like the topics."""

import json
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.rfm_worker.domain.facts import (
    Basket,
    Cancellation,
    CustomerChange,
    Erasure,
    Item,
    ProductChange,
    Return,
    Sale,
    TenantChange,
)
from shared.events.catalogue import CUSTOMERS, PRODUCTS, SALES, TENANTS
from shared.events.envelope import Envelope
from shared.messaging.record import Message, Record, TopicPartition

SOURCE = "upstream-till"
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


def message_of(item: Item) -> Message:
    """The record whose decoding is this item."""
    topic, code, type_, value = _content(item)
    if value is None:
        return Message(topic, f"{item.tenant_id}:{code}".encode(), None)
    at, event_id = item.accepted if isinstance(item, Sale | Return | Cancellation) else (AT, "any")
    envelope = Envelope(event_id, type_, SOURCE, at, item.tenant_id)
    return Message(topic, f"{item.tenant_id}:{code}".encode(), value.encode(), envelope.to_headers())


def _content(item: Item) -> tuple[str, str, str, str | None]:
    """Topic, second half of the key, type, and JSON."""
    match item:
        case Sale():
            return SALES.name, item.body.customer_code or item.body.sale_id, "sale.recorded.v1", _sale(item.body)
        case Return():
            return SALES.name, item.body.sale_id, "sale.returned.v1", item.body.model_dump_json()
        case Cancellation():
            return SALES.name, item.body.sale_id, "sale.cancelled.v1", item.body.model_dump_json()
        case TenantChange():
            return TENANTS.name, "", "tenant.changed.v1", item.body.model_dump_json()
        case CustomerChange():
            value = item.body.model_dump_json() if item.body else None
            return CUSTOMERS.name, item.customer_code, "customer.changed.v1", value
        case ProductChange():
            value = item.body.model_dump_json() if item.body else None
            return PRODUCTS.name, item.product_key, "product.changed.v1", value
        case Erasure():
            value = json.dumps({"customer_hash": item.code_hash.hex(), "erased_at": item.erased_at.isoformat()})
            return CUSTOMERS.name, f"erased:{item.code_hash.hex()}", "customer.erased.v1", value


def _sale(body: Basket) -> str:
    columns = (body.products, body.quantities, body.unit_prices, body.discounts, body.amounts, body.labels)
    names = ("product_key", "quantity", "unit_price", "discount", "amount", "label")
    return json.dumps({
        "sale_id": body.sale_id, "customer_code": body.customer_code, "sold_at": body.sold_at.isoformat(),
        "channel": body.channel, "currency": body.currency, "metadata": body.metadata,
        "lines": [dict(zip(names, line, strict=True)) for line in zip(*columns, strict=True)],
    })  # fmt: skip


@dataclass
class Shelf:
    """Topics in memory. Implements the rebuild's `Log`."""

    partitions: int = 4
    records: dict[TopicPartition, list[Record]] = field(default_factory=dict)
    first: dict[TopicPartition, int] = field(default_factory=dict)
    """Where retention has passed: the first offset that is still there."""

    def put(self, items: Iterable[Item]) -> list[Record]:
        """Appends the records of these items; answers them."""
        return [self._append(message_of(item)) for item in items]

    def _append(self, message: Message) -> Record:
        assert message.key is not None
        place = (message.topic, zlib.crc32(message.key) % self.partitions)
        shelf = self.records.setdefault(place, [])
        record = Record(*place, len(shelf), message.key, message.value, message.headers, 0)
        shelf.append(record)
        return record

    async def beginnings(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offsets."""
        return {place: self.first.get(place, 0) for place in places}

    async def read(
        self, start: Mapping[TopicPartition, int], end: Mapping[TopicPartition, int], most: int
    ) -> AsyncIterator[list[Record]]:
        """The records between, in order within a place."""
        for place, stop in end.items():
            begin = start.get(place, 0)
            assert begin >= self.first.get(place, 0), "nobody has these records any more"
            wanted = self.records.get(place, [])[begin:stop]
            for at in range(0, len(wanted), most):
                yield wanted[at : at + most]
