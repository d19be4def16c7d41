"""Examples in the API documents have exactly the fields of the answers, and values that an answer can have."""

from typing import Any

import pytest
from pydantic import BaseModel

from services.api_gateway.views.analytics import Overview, SalesTrend, SegmentMoves, TopProducts
from services.api_gateway.views.products import Popularity


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    return root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _check(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> None:
    schema = _resolved(schema, root)
    if "properties" in schema:
        assert value.keys() == schema["properties"].keys()
        for name, part in schema["properties"].items():
            _check(value[name], part, root)
    elif schema.get("type") == "array":
        assert value
        for item in value:
            _check(item, schema["items"], root)
    elif "enum" in schema:
        assert value in schema["enum"]


@pytest.mark.parametrize("model", [Overview, SalesTrend, SegmentMoves, TopProducts, Popularity])
def test_an_example_has_the_shape_of_the_answer(model: type[BaseModel]) -> None:
    schema = model.model_json_schema(mode="serialization")
    _check(schema["examples"][0], schema, schema)
