"""Every consumer of the catalogue reads every golden example of what it subscribes to."""

from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from decimal import Decimal
from uuid import UUID

import pytest

from services.rfm_worker import handlers
from services.rfm_worker.domain.facts import Basket
from shared.events.catalogue import ALL, SALES, Topic, consumed_by
from shared.events.examples import Example, load_examples
from shared.events.payloads import PAYLOADS, SaleRecordedV1
from shared.messaging.errors import DeadReason, Poison
from shared.messaging.record import Record
from tests.e2e.bad_bodies import CASES as CASES_OVER_HTTP
from tests.e2e.bad_sales import Bad

DECODERS: dict[str, Callable[[Record], object]] = {"rfm_worker": handlers.decode}
IGNORED: dict[str, set[str]] = {"rfm_worker": {"customer-segments"}}
"""Topics that a consumer knowingly does not read: what it publishes itself."""
BAD_SALES = [
    case
    for case in CASES_OVER_HTTP
    if (case.method, case.path) == ("POST", "/v1/sales")
    and case.status in (400, 422)
    and len(case.headers) == 1
    # The currency of the tenant is compared where the batch is applied.
    and case.name not in ("a currency that is not the tenant's",)
]
SERVICES = sorted({consumer for topic in ALL for consumer in topic.consumers})
CASES = [
    (service, topic, example)
    for service in SERVICES
    for topic in consumed_by(service)
    for type_ in topic.types
    for example in load_examples(type_)
]


def _record(topic: Topic, example: Example) -> Record:
    return Record(topic.name, 0, 0, example.key.encode(), example.raw_value(), example.raw_headers(), 0)


def _name(value: object) -> str:
    if isinstance(value, Example):
        return f"{value.type}/{value.name}"
    return value.name if isinstance(value, Topic) else str(value)


def test_every_consumer_of_the_catalogue_is_tested_here() -> None:
    assert set(SERVICES) == set(DECODERS) == set(IGNORED)
    for service, ignored in IGNORED.items():
        assert {topic.name for topic in consumed_by(service)} | ignored == {topic.name for topic in ALL}


@pytest.mark.parametrize(("service", "topic", "example"), CASES, ids=_name)
def test_a_consumer_reads_a_golden_example(service: str, topic: Topic, example: Example) -> None:
    item = DECODERS[service](_record(topic, example))
    assert is_dataclass(item)
    carried = [getattr(item, field.name) for field in fields(item)]
    assert UUID(example.headers["ce_tenantid"]) in carried
    if example.value is None:
        assert {None, example.key.partition(":")[2]} <= set(carried)
    elif example.type == "customer.erased.v1":
        assert bytes.fromhex(example.value["customer_hash"]) in carried
    elif example.type == "sale.recorded.v1":
        assert _plain(getattr(item, "body")) == _plain(Basket.of(SaleRecordedV1.model_validate(example.value)))  # noqa: B009
    else:
        assert PAYLOADS[example.type].model_validate(example.value) in carried


def _plain(basket: Basket) -> dict[str, object]:
    """A sale with numbers as numbers: how many zeros they are written with is no difference."""
    numbers = ("quantities", "unit_prices", "discounts", "amounts")
    return {
        name: [Decimal(number) for number in value] if name in numbers else value
        for name, value in asdict(basket).items()
    }


@pytest.mark.parametrize("bad", BAD_SALES, ids=lambda bad: bad.name)
def test_the_worker_refuses_every_sale_that_the_gateway_refuses(bad: Bad) -> None:
    """Upstream systems may produce to the topic themselves, so nothing but the worker may stand between."""
    (example,) = [each for each in load_examples("sale.recorded.v1") if each.name == "full"]
    record = Record(SALES.name, 0, 0, example.key.encode(), bad.body, example.raw_headers(), 0)
    with pytest.raises(Poison) as refused:
        handlers.decode(record)
    assert refused.value.reason in (DeadReason.UNDECODABLE, DeadReason.INVALID_PAYLOAD)
    assert "ana" not in refused.value.detail.lower()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": b"{"}, DeadReason.UNDECODABLE),
        ({"value": b"{}"}, DeadReason.INVALID_PAYLOAD),
        ({"value": b'{"sale_id": "\xff"}'}, DeadReason.UNDECODABLE),
        ({"headers": []}, DeadReason.INVALID_ENVELOPE),
        ({"ce_type": "sale.recorded.v2"}, DeadReason.UNKNOWN_TYPE),
        ({"ce_type": "customer.changed.v1"}, DeadReason.UNKNOWN_TYPE),
        ({"ce_time": "2026-11-20T10:00:00"}, DeadReason.INVALID_ENVELOPE),
        ({"ce_tenantid": "somebody"}, DeadReason.INVALID_ENVELOPE),
    ],
    ids=str,
)
def test_an_example_that_was_spoilt_is_refused_with_its_reason(change: dict[str, object], reason: DeadReason) -> None:
    (example,) = [each for each in load_examples("sale.recorded.v1") if each.name == "full"]
    headers = {**example.headers, **{k: str(v) for k, v in change.items() if k.startswith("ce_")}}
    raw_headers = [] if "headers" in change else [(name, value.encode()) for name, value in headers.items()]
    value = change.get("value", example.raw_value())
    assert value is None or isinstance(value, bytes)
    record = Record(SALES.name, 0, 0, example.key.encode(), value, raw_headers, 0)
    with pytest.raises(Poison) as refused:
        handlers.decode(record)
    assert refused.value.reason is reason
    assert example.headers["ce_subject"] not in refused.value.detail
