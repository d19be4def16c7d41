"""Golden examples: every payload version has some, each is what it says, and the catalogue knows every type."""

import json
from uuid import UUID

import pytest

from shared.events import catalogue
from shared.events.asyncapi import document
from shared.events.catalogue import CUSTOMERS, PRODUCT_ALIASES, PRODUCTS, Topic
from shared.events.envelope import Envelope
from shared.events.examples import Example, example_types, load_examples
from shared.events.payloads import PAYLOADS

EXAMPLES = [example for type_ in sorted(PAYLOADS) for example in load_examples(type_)]


def _topic(type_: str) -> Topic:
    (topic,) = [topic for topic in catalogue.ALL if type_ in topic.types]
    return topic


def _name(example: Example) -> str:
    return f"{example.type}/{example.name}"


def test_every_type_of_the_catalogue_has_a_payload_and_every_payload_a_topic() -> None:
    declared = [type_ for topic in catalogue.ALL for type_ in topic.types]
    assert sorted(declared) == sorted(PAYLOADS)


def test_every_payload_version_has_several_examples_and_no_folder_is_without_a_payload() -> None:
    assert example_types() == sorted(PAYLOADS)
    assert {type_ for type_ in PAYLOADS if len(load_examples(type_)) < 2} == set()
    assert {type_ for type_ in PAYLOADS if not any(e.name == "minimal" for e in load_examples(type_))} <= {
        "customer.segment-changed.v1"
    }


def test_compacted_master_data_has_a_tombstone_among_its_examples() -> None:
    for topic in (CUSTOMERS, PRODUCTS, PRODUCT_ALIASES):
        assert any(example.value is None for example in load_examples(topic.types[0]))


@pytest.mark.parametrize("example", EXAMPLES, ids=_name)
def test_an_example_validates_and_comes_back_the_same(example: Example) -> None:
    if example.value is None:
        return
    model = PAYLOADS[example.type]
    read = model.model_validate_json(json.dumps(example.value))
    assert model.model_validate_json(read.model_dump_json()) == read
    if _topic(example.type).producer.startswith("api_gateway"):
        # The gateway leaves absent values out.
        assert model.model_validate_json(read.model_dump_json(exclude_none=True)) == read


@pytest.mark.parametrize("example", EXAMPLES, ids=_name)
def test_an_examples_headers_are_an_envelope_of_its_type(example: Example) -> None:
    envelope = Envelope.from_headers(example.raw_headers())
    assert envelope.type == example.type
    assert dict(envelope.to_headers())["ce_id"].decode() == example.headers["ce_id"]
    assert Envelope.from_headers(envelope.to_headers()) == envelope


@pytest.mark.parametrize("example", EXAMPLES, ids=_name)
def test_an_examples_key_is_the_one_of_its_topic(example: Example) -> None:
    tenant, _, rest = example.key.partition(":")
    assert UUID(tenant) == UUID(example.headers["ce_tenantid"])
    value = example.value or {}
    match example.type:
        case "tenant.changed.v1":
            assert rest == ""
        case "customer.erased.v1":
            assert rest == f"erased:{value['customer_hash']}"
        case "product.changed.v1":
            assert rest == value.get("product_key", rest)
        case "product-alias.changed.v1":
            assert rest == value.get("alias", rest)
        case "sale.recorded.v1":
            assert rest == (value.get("customer_code") or value["sale_id"])
        case "sale.returned.v1" | "sale.cancelled.v1":
            assert rest in (value.get("customer_code"), value["sale_id"])
        case _:
            assert rest == value.get("customer_code", rest)


def test_personal_data_stands_in_no_example_but_those_of_the_customers_topic() -> None:
    for example in EXAMPLES:
        if _topic(example.type) is not CUSTOMERS:
            assert "@" not in json.dumps(example.value)


def test_the_asyncapi_document_names_every_topic_and_type_and_resolves_its_references() -> None:
    made = document()
    assert made["asyncapi"] == "3.0.0"
    assert set(made["channels"]) == {topic.name for topic in catalogue.ALL}
    assert set(PAYLOADS) <= set(made["components"]["messages"])
    text = json.dumps(made)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        place = made
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    for type_ in PAYLOADS:
        assert made["components"]["messages"][type_]["examples"]
