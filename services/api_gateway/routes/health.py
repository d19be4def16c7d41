"""What operators and their tools ask a process: is it alive, what does it count, what does it speak."""

from importlib.resources import files

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import HTMLResponse, JSONResponse, Response

from services.api_gateway.dependencies import ServicesDep
from services.api_gateway.errors import not_found
from shared.events.asyncapi import document as asyncapi_document

router = APIRouter(tags=["operations"])

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false,
  displayRequestDuration: true, validatorUrl: null, tryItOutEnabled: true,
});
"""
_ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
}


class HealthAnswer(BaseModel):
    """One sentence per check; "ok" where there is nothing to say."""

    status: str
    checks: dict[str, str]


@router.get("/health/live", response_model=HealthAnswer, summary="Whether a restart would help")
async def live(services: ServicesDep) -> Response:
    """200 while this process makes progress, else 503."""
    report = await services.health.live()
    return JSONResponse(report.to_dict(), report.status_code)


@router.get("/health/ready", response_model=HealthAnswer, summary="Whether work may be sent here")
async def ready(services: ServicesDep) -> Response:
    """200 when the database and the event log answer, else 503 with what does not."""
    report = await services.health.ready()
    return JSONResponse(report.to_dict(), report.status_code)


@router.get("/metrics", response_class=Response, summary="Prometheus metrics")
async def metrics() -> Response:
    """All metrics of this process in the Prometheus text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/asyncapi.json", response_class=JSONResponse, summary="Events as AsyncAPI")
async def asyncapi() -> Response:
    """Topics, events, headers and payloads of the event log as an AsyncAPI 3.0 document."""
    return JSONResponse(asyncapi_document())


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The API's documentation, with nothing loaded from elsewhere."""
    return HTMLResponse(_PAGE.format(title=request.app.title))


@router.get("/docs/{asset}", include_in_schema=False)
async def docs_asset(asset: str) -> Response:
    """Scripts and styles of that page."""
    headers = {"Cache-Control": "public, max-age=86400"}
    if asset == "start.js":
        return Response(_START, media_type="text/javascript", headers=headers)
    if asset not in _ASSETS:
        raise not_found("page")
    content = (files("fastapi_offline") / "static" / asset).read_bytes()
    return Response(content, media_type=_ASSETS[asset], headers=headers)
