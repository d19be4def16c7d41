"""Query parameters that a route does not declare are refused: a misspelt filter would answer something else."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_parameterless_sub_dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, model_validator
from starlette.routing import BaseRoute

from services.api_gateway.errors import invalid_fields
from services.api_gateway.reasons import field_reasons

STRICT = "/v1/"
"""Below it. Pages, health and metrics stay open: probes, scrapers and links add parameters of their own."""


def refuse_unknown(route: BaseRoute) -> BaseRoute:
    """The same route, which now names every parameter that it does not know, beside whatever else is wrong (422).

    Call it once per route. A `DirectRoute` resolves no dependencies; its endpoint calls `refuse_all`.
    """
    if isinstance(route, APIRoute) and route.path.startswith(STRICT):
        known = frozenset(_declared(route.dependant))
        # The last one: who may not ask at all is told that and no more.
        check = get_parameterless_sub_dependant(depends=Depends(_check_of(known)), path=route.path_format)
        route.dependant.dependencies.append(check)
    return route


def refuse_all(request: Request) -> None:
    """For a route without query parameters that resolves no dependencies.

    Raises:
        Problem: 422 that names those of the request.
    """
    if request.scope["query_string"]:
        unknown = [{"type": "extra_forbidden", "loc": ("query", name)} for name in request.query_params]
        if unknown:
            raise invalid_fields(field_reasons(unknown))


def _declared(dependant: Dependant) -> list[str]:
    names = [str(field.alias) for field in dependant.query_params]
    return [*names, *(name for part in dependant.dependencies for name in _declared(part))]


def _check_of(known: frozenset[str]) -> Any:
    """A dependency whose only parameter is all that is left in the query, of which nothing may be."""

    class Rest(BaseModel):
        model_config = ConfigDict(extra="forbid")

        @model_validator(mode="before")
        @classmethod
        def _unknown(cls, given: dict[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in given.items() if name not in known}

    async def check(_rest: Annotated[Rest, Query()]) -> None:
        return None

    return check
