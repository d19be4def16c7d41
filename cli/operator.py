"""`./iacrm operator create`: the account of somebody who administers tenants."""

import asyncio

from cli.connect import NotRunningError, adopt_settings
from cli.console import Console


def create(username: str, email: str, password: str) -> int:
    """Makes the account. Exit code 1: refused, 3: there is no database to connect to."""
    console = Console()
    try:
        adopt_settings("api_gateway")
    except NotRunningError as problem:
        console.error(str(problem))
        return 3
    from pydantic import ValidationError

    from services.api_gateway.operators import create_operator
    from services.api_gateway.settings import GatewaySettings

    try:
        operator = asyncio.run(create_operator(GatewaySettings(), username, email, password))
    except ValidationError as problem:
        console.error("Not created: " + "; ".join(error["msg"] for error in problem.errors(include_input=False)))
        return 1
    except ValueError as problem:
        console.error(f"Not created: {problem}")
        return 1
    console.say(f"Created the operator {username} ({operator})")
    return 0
