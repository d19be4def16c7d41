"""The OpenAPI document: security of each route, one problem schema, and no trace of the framework's own errors."""

from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from services.api_gateway.dependencies import Requires
from services.api_gateway.idempotency import honours_keys
from services.api_gateway.known_parameters import STRICT
from services.api_gateway.problem_docs import OffendingField, ProblemDocument, problem_responses

TAGS = [
    {"name": "auth", "description": "Registering, logging in, tokens. Access tokens live 15 minutes."},
    {"name": "tenants", "description": "One's own tenant and its settings; all tenants for platform operators."},
    {"name": "users", "description": "People of a tenant and their roles."},
    {"name": "api-keys", "description": "Keys for upstream systems, with scopes and expiry."},
    {"name": "customers", "description": "Master data of customers with their RFM and profile."},
    {"name": "products", "description": "The catalogue."},
    {"name": "sales", "description": "Facts: sales, returns, cancellations. Accepted once the event log has them."},
    {"name": "exports", "description": "A tenant's data as CSV, NDJSON or Parquet, streamed."},
    {"name": "imports", "description": "Files of sales, returns, customers or products, taken in the background."},
    {"name": "rfm", "description": "Segments and cut-offs."},
    {"name": "analytics", "description": "Figures of a period, and of as many days before."},
    {"name": "operations", "description": "Health, metrics and contracts of this process."},
]
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Access token from POST /v1/auth/token.",
    },
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "Key from POST /v1/api-keys."},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "with the same key and body the first answer comes again for 24 hours, with another body 409",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
    "example": "5f0c9a52-till-7",
}
DESCRIPTION = """\
Customer intelligence for merchants: sales go in, segments and profiles come out.

- **Facts** (sales, returns, cancellations) answer 202 once the event log has them on all replicas.
- **Master data** answers 200 or 201 with what is stored.
- Both carry `X-Consistency-Token`; a read that sends it back shows that write, or answers 425.
- `Idempotency-Key` works for 24 hours on every POST that names it: all but those below `/v1/auth/`, which ignore it.
- Every error is a problem document (RFC 9457) that names each offending field; unknown fields and query parameters
  are refused, never ignored.
"""


def install_openapi(app: FastAPI) -> None:
    """Makes `app.openapi()` build the complete document, once."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]  # FastAPI's documented way


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, tags=TAGS)
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    problem.pop("$defs", None)
    schemas["ProblemDocument"] = problem
    schemas["OffendingField"] = OffendingField.model_json_schema()
    for path, method, schemes in _protected(app):
        operation = document["paths"].get(path, {}).get(method)
        if operation is not None:
            operation["security"] = [{scheme: []} for scheme in schemes]
            if honours_keys(method.upper(), path):
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
                for status, answer in problem_responses(400, 409).items():
                    operation["responses"].setdefault(str(status), answer)
    _drop_framework_errors(document)
    _document_strict_queries(document)
    return document


def _protected(app: FastAPI) -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (route.path_format, method.lower(), schemes)
        for route in app.routes
        if isinstance(route, APIRoute) and (schemes := _schemes(route.dependant))
        for method in route.methods or ()
    ]


def _schemes(dependant: Dependant) -> tuple[str, ...]:
    for dependency in dependant.dependencies:
        call: object = dependency.call
        if isinstance(call, Requires):
            return call.schemes
        nested = _schemes(dependency)
        if nested:
            return nested
    return ()


def _document_strict_queries(document: dict[str, Any]) -> None:
    """Even a route without parameters may be asked with one that it does not know."""
    for path, operations in document["paths"].items():
        if path.startswith(STRICT):
            for operation in operations.values():
                for status, answer in problem_responses(422).items():
                    operation["responses"].setdefault(str(status), answer)


def _drop_framework_errors(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            answer = operation.get("responses", {}).get("422", {})
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            if schema.get("$ref", "").endswith("HTTPValidationError"):
                del operation["responses"]["422"]
