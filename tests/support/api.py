"""A client of the REST API, as a till or a shop has one."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

PASSWORD = "a pass phrase for one test only"
PAUSE_S = 0.02


@dataclass
class Answer:
    """One answer and the seconds that it took."""

    status: int
    seconds: float
    headers: httpx.Headers
    body: Any


@dataclass
class Api:
    """A tenant's owner, registered and logged in."""

    client: httpx.AsyncClient
    tenant_id: uuid.UUID

    @classmethod
    async def register(cls, url: str) -> "Api":
        """Registers a tenant."""
        client = httpx.AsyncClient(base_url=f"{url}/v1", timeout=30)
        name = f"owner{uuid.uuid4().hex[:10]}"
        person = {"tenant_name": "Faults", "username": name, "email": f"{name}@example.org", "password": PASSWORD}
        made = await client.post("/auth/register", json=person)
        assert made.status_code == 201, made.text
        tokens = await client.post("/auth/token", data={"username": name, "password": PASSWORD})
        assert tokens.status_code == 200, tokens.text
        client.headers["Authorization"] = f"Bearer {tokens.json()['access_token']}"
        return cls(client, uuid.UUID(made.json()["tenant_id"]))

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """One request."""
        started = time.monotonic()
        answer = await self.client.request(method, path, **options)
        body = answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
        return Answer(answer.status_code, time.monotonic() - started, answer.headers, body)

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.aclose()


@dataclass
class Till:
    """Sells one sale after the other and sends each again until it is accepted, as clients are told to."""

    api: Api
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Answer] = field(default_factory=list)
    longest_s: float = 0.0
    _open: bool = True
    _task: asyncio.Task[None] | None = None

    async def open(self, sales: Sequence[dict[str, Any]]) -> None:
        """Begins to sell these; they are more than will be sold."""
        self._task = asyncio.create_task(self._sell(sales), name="till")

    async def close(self) -> None:
        """Ends after the sale under way is accepted; raises what went wrong."""
        self._open = False
        assert self._task is not None
        await asyncio.wait_for(self._task, 60)

    async def _sell(self, sales: Sequence[dict[str, Any]]) -> None:
        for sale in sales:
            if not self._open:
                return
            while (answer := await self.api.ask("POST", "/sales", json=sale)).status != 202:
                assert answer.status == 503, f"{answer.status}: {answer.body}"
                self.longest_s = max(self.longest_s, answer.seconds)
                self.refused.append(answer)
                await asyncio.sleep(PAUSE_S)
            self.longest_s = max(self.longest_s, answer.seconds)
            self.accepted.append(sale)
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("the till ran out of sales")
