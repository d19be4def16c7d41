"""One gateway in this process on a database of its own; the event log is not needed by these tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from services.api_gateway.app import create_app
from services.api_gateway.dependencies import Services
from services.api_gateway.operators import create_operator
from services.api_gateway.settings import GatewaySettings
from tests.stack import Database

PASSWORD = "a long pass phrase"


@dataclass
class Gateway:
    """The application and a client of it, with shorthands for what most tests begin with."""

    app: FastAPI
    http: httpx.AsyncClient
    settings: GatewaySettings

    @property
    def services(self) -> Services:
        return self.app.state.services

    async def register(self, username: str = "ana", **more: Any) -> dict[str, Any]:
        body = {
            "tenant_name": f"Shop of {username}", "username": username, "email": f"{username}@example.org",
            "password": PASSWORD,
        }  # fmt: skip
        answer = await self.http.post("/v1/auth/register", json=body | more)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def tokens(self, username: str = "ana", password: str = PASSWORD) -> dict[str, Any]:
        answer = await self.http.post("/v1/auth/token", data={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def log_in(self, username: str = "ana", password: str = PASSWORD) -> dict[str, str]:
        return {"Authorization": f"Bearer {(await self.tokens(username, password))['access_token']}"}

    async def owner(self, username: str = "ana") -> dict[str, str]:
        await self.register(username)
        return await self.log_in(username)

    async def add_user(self, owner: dict[str, str], username: str, role: str) -> dict[str, Any]:
        body = {"username": username, "email": f"{username}@example.org", "password": PASSWORD, "role": role}
        answer = await self.http.post("/v1/users", headers=owner, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def api_key(self, owner: dict[str, str], *scopes: str, **more: Any) -> dict[str, Any]:
        body = {"name": "till", "scopes": list(scopes or ("read",))} | more
        answer = await self.http.post("/v1/api-keys", headers=owner, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def operator(self) -> dict[str, str]:
        await create_operator(self.settings, "root", "root@example.org", PASSWORD)
        return await self.log_in("root")


MakeGateway = Callable[..., Any]


@pytest.fixture
async def make_gateway(database: Database) -> AsyncIterator[MakeGateway]:
    """Makes gateways with settings of the test's own; all share the test's database."""
    async with AsyncExitStack() as stack:

        async def make(**knobs: Any) -> Gateway:
            settings = GatewaySettings(
                **(
                    {
                        "database_url": SecretStr(database.gateway_url),
                        "kafka_bootstrap": "127.0.0.1:1",
                        "password_time_cost": 1,
                        "password_memory_kib": 8192,
                        "database_pool_size": 3,
                    }
                    | knobs
                )
            )
            app = create_app(settings)
            stack.push_async_callback(app.state.services.engine.dispose)
            transport = httpx.ASGITransport(app)
            http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://gateway"))
            return Gateway(app, http, settings)

        yield make


@pytest.fixture
async def gateway(make_gateway: MakeGateway) -> Gateway:
    """A gateway with default settings (and cheap passwords)."""
    return await make_gateway()
