"""Topics that are kept for ever, and the catalogue's, take no e-mail address as a label."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from services.api_gateway.views.products import ProductPatch
from services.rfm_worker.quick_sale import read_quickly
from shared.events.payloads import CustomerFields, ProductFields, SaleRecordedV1

ADDRESS = "ana@example.org"
SALE: dict[str, Any] = {
    "sale_id": "s1",
    "sold_at": "2026-01-02T03:04:05+01:00",
    "lines": [{"product_key": "p1", "quantity": "2", "unit_price": "1.50", "amount": "3.00"}],
}


@pytest.mark.parametrize("more", [{"channel": ADDRESS}, {"metadata": {ADDRESS: "x"}}])
def test_a_sale_refuses_addresses_as_labels(more: dict[str, Any]) -> None:
    value = json.dumps(SALE | more).encode()
    assert read_quickly(value) is None
    with pytest.raises(ValidationError, match="e-mail address"):
        SaleRecordedV1.model_validate_json(value)


@pytest.mark.parametrize(
    "body",
    [
        {"family": ADDRESS},
        {"sub_family": ADDRESS},
        {"tags": [ADDRESS]},
        {"attributes": {ADDRESS: "x"}},
        {"attributes": {"supplier": ADDRESS}},
    ],
)
@pytest.mark.parametrize("model", [ProductFields, ProductPatch])
def test_a_product_refuses_addresses_as_labels(model: type[ProductFields | ProductPatch], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="e-mail address"):
        model.model_validate(body)


def test_labels_that_only_hold_an_at_sign_and_tags_of_customers_stay_allowed() -> None:
    assert SaleRecordedV1.model_validate(SALE | {"channel": "till @ 7"}).channel == "till @ 7"
    assert CustomerFields.model_validate({"tags": [ADDRESS]}).tags == [ADDRESS]
