"""The body of POST /imports as the OpenAPI document shows it: multipart, fields first, then the file."""

from typing import Any

from services.api_gateway import examples
from services.api_gateway.raw_bodies import inlined_schema
from services.api_gateway.views.imports import ImportOptions


def _upload() -> dict[str, Any]:
    schema = inlined_schema(ImportOptions)
    properties = schema["properties"]
    properties["mapping"] = {"type": "string", "description": properties["mapping"]["description"]}
    properties["file"] = {"type": "string", "format": "binary", "description": "the last part"}
    schema["required"] = ["kind", "file"]
    example = {"kind": "sales", "dry_run": "true", "file": examples.IMPORT_FILE}
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


UPLOAD = _upload()
"""`openapi_extra=` of the route."""
