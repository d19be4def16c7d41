"""No body takes true or false for a number, or a number for a date, anywhere."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from services.api_gateway.app import ROUTES
from services.api_gateway.views.customers import CustomerBody, CustomerPatch, CustomersBulk
from services.api_gateway.views.sales import CancellationBody, ReturnBody, SalesBatch
from shared.events.payloads import PAYLOADS, CustomerFields
from shared.events.tenant_settings import TenantSettings

PARSED_BY_ROUTES = (SalesBatch, ReturnBody, CancellationBody, CustomersBulk, *PAYLOADS.values(), TenantSettings)
TYPES = {"int_type", "float_type", "decimal_type", "bool_type", "date_type", "date_from_datetime_inexact"}


def _bodies() -> set[type[BaseModel]]:
    found = {field.field_info.annotation for route in ROUTES for field in route.dependant.body_params}  # type: ignore[attr-defined]
    models = {body for body in found if isinstance(body, type) and issubclass(body, BaseModel)}
    return set(_with_parts({*models, *PARSED_BY_ROUTES}))


def _with_parts(models: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    seen: set[type[BaseModel]] = set()
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        if model not in seen:
            seen.add(model)
            waiting += [part for field in model.model_fields.values() for part in _models_in(field.annotation)]
    yield from seen


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _schema(model: type[BaseModel], name: str) -> str:
    return str(model.model_json_schema()["properties"][name])


def _takes_numbers(model: type[BaseModel], name: str) -> bool:
    return "'integer'" in _schema(model, name) or "'number'" in _schema(model, name)


FIELDS = [
    pytest.param(model, name, id=f"{model.__name__}.{name}")
    for model in sorted(_bodies(), key=lambda model: model.__name__)
    for name in model.model_fields
    if _takes_numbers(model, name)
]


def _mistakes(model: type[BaseModel], name: str, value: Any) -> set[str]:
    """The kinds of error that this field alone has with this value; none where it takes the value."""
    alias = model.model_fields[name].validation_alias or model.model_fields[name].alias or name
    try:
        model.model_validate({alias: value})
    except ValidationError as error:
        return {each["type"] for each in error.errors() if each["loc"][:1] == (alias,)}
    return set()


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_true_is_no_number(model: type[BaseModel], name: str) -> None:
    value = [True] * 4 if "'array'" in _schema(model, name) else True
    assert _mistakes(model, name, value) & TYPES


def test_the_models_of_the_bodies_are_found() -> None:
    names = {param.id for param in FIELDS}
    assert {"RfmBounds.frequency", "SaleLine.quantity", "CampaignSettings.holdout_share", "ProductBody.stock"} <= names


@pytest.mark.parametrize("value", [0, "0", 86400, "86400", True])
def test_a_number_is_no_date(value: Any) -> None:
    for model in (CustomerFields, CustomerBody, CustomerPatch):
        assert _mistakes(model, "birth_date", value), model
    assert _mistakes(TenantSettings, "reference_date", value)
    assert not _mistakes(CustomerFields, "birth_date", "1990-02-01")
    assert not _mistakes(TenantSettings, "reference_date", "2026-02-01")


def test_numbers_may_still_be_written_as_text() -> None:
    assert TenantSettings.model_validate({"active_days": "30"}).active_days == 30
