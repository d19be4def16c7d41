"""Reads as of an earlier day do not exist yet: the parameter is refused rather than answered with today's values."""

from typing import Any

from fastapi import Depends, Request

from services.api_gateway.dependencies import Reader
from services.api_gateway.errors import invalid


async def _as_of_today(request: Request, _caller: Reader) -> None:
    """Refuses `as_of`, once the caller is known.

    Raises:
        Problem: 422 that names the parameter.
    """
    if "as_of" in request.query_params:
        raise invalid("as_of", "time travel is not available yet")


AS_OF_TODAY: list[Any] = [Depends(_as_of_today)]
