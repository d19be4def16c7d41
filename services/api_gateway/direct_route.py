"""A route for facts: FastAPI documents it, and nothing stands between the router and the endpoint."""

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send


class DirectRoute(APIRoute):
    """Calls `endpoint(request)`, which answers a response; dependencies only stand in the OpenAPI document.

    The endpoint asks for the caller itself. Resolving dependencies and keeping stacks for their clean-up costs more
    than accepting a sale.
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive))
            await response(scope, receive, send)

        self.app = app
