"""Bodies that a route parses itself, straight from bytes: the quickest way, while OpenAPI still shows them."""

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.api_gateway.errors import Problem, validation_problem

M = TypeVar("M", bound=BaseModel)


async def parse(request: Request, model: type[M]) -> M:
    """The body as `model`.

    Raises:
        Problem: 400 when it is not JSON, 422 with every offending field.
    """
    body = await request.body()
    try:
        return model.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise body_problem(error, body) from None


def body_problem(error: ValidationError, body: bytes) -> Problem:
    """The problem of a body that does not fit its model."""
    if not body:
        return Problem(
            422,
            "validation",
            "Some fields are not valid",
            "A body is required.",
            errors=[{"field": "", "reason": "is required"}],
        )
    return validation_problem(error)


def documented(
    model: type[BaseModel], examples: dict[str, Any], *, ndjson: type[BaseModel] | None = None
) -> dict[str, Any]:
    """`openapi_extra=` of a route that parses its body itself.

    Args:
        model: of the JSON body.
        examples: name -> body.
        ndjson: model of one line, where the route also takes application/x-ndjson.
    """
    named = {name: {"value": value} for name, value in examples.items()}
    content: dict[str, Any] = {"application/json": {"schema": inlined_schema(model), "examples": named}}
    if ndjson is not None:
        line = {"type": "string", "description": f"one {ndjson.__name__} as JSON per line"}
        (records,) = next(iter(examples.values())).values()
        content["application/x-ndjson"] = {
            "schema": line,
            "example": "".join(json.dumps(record) + "\n" for record in records),
        }
    return {"requestBody": {"required": True, "content": content}}


def inlined_schema(model: type[BaseModel]) -> Any:
    """The JSON schema of a model, without references."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _inline(schema, definitions)


def _inline(part: Any, definitions: dict[str, Any]) -> Any:
    """The schema without references: components of the document hold only what FastAPI has seen itself."""
    if isinstance(part, list):
        return [_inline(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        target = definitions[part["$ref"].rsplit("/", 1)[1]]
        return _inline({**target, **{key: value for key, value in part.items() if key != "$ref"}}, definitions)
    return {key: _inline(value, definitions) for key, value in part.items()}
