"""A gateway and an importer as processes, a tenant, and what they leave in topics and tables."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import ConsumerRecord

from tests.stack import Stack
from tests.support.api import Api
from tests.support.installation import Installation, installed
from tests.support.topics import read_topic
from tests.support.waiting import until

ENDED = ("completed", "failed", "cancelled")
END_S = 60.0


@dataclass
class Shop:
    """A tenant that imports."""

    installation: Installation
    api: Api

    async def upload(self, content: bytes, name: str = "sales.csv", **fields: Any) -> httpx.Response:
        """POST /imports; `fields` default to sales."""
        given = {"kind": "sales", **fields}
        data = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
        return await self.api.client.post("/imports", data=data, files={"file": (name, content)})

    async def begin(self, content: bytes, name: str = "sales.csv", **fields: Any) -> str:
        """An accepted upload; answers its id."""
        answer = await self.upload(content, name, **fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["import_id"])

    async def get(self, import_id: str) -> dict[str, Any]:
        """The import as it is now."""
        answer = await self.api.client.get(f"/imports/{import_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def state(self, import_id: str, *states: str) -> dict[str, Any]:
        """The import, once it is in one of these states."""
        found: dict[str, Any] = {}

        async def there() -> bool:
            found.update(await self.get(import_id))
            return found["state"] in states

        await until(there, seconds=END_S, what=f"import {states}")
        return found

    async def take(self, content: bytes, name: str = "sales.csv", **fields: Any) -> dict[str, Any]:
        """Uploads and waits for the end."""
        return await self.state(await self.begin(content, name, **fields), *ENDED)

    async def rejected(self, import_id: str) -> str:
        """The file of rejected rows."""
        answer = await self.api.client.get(f"/imports/{import_id}/rejected")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/csv")
        return answer.text

    async def installation_published(self) -> None:
        """Waits until the relay has published everything."""
        query = "select not exists (select from gateway.outbox where published_at is null) as done"

        async def done() -> bool:
            return bool((await self.installation.query(query))[0]["done"])

        await until(done, seconds=20, what="the outbox is published")

    async def records(self, topic: str) -> list[ConsumerRecord]:
        """This tenant's records in a topic."""
        mine = str(self.api.tenant_id).encode()
        found = await read_topic(self.installation.bootstrap, f"{self.installation.prefix}{topic}")
        return [record for record in found if record.key.startswith(mine)]


@pytest.fixture(scope="session")
async def import_site(
    stack: Stack, database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """An installation that all tests here share: each has a tenant of its own."""
    async with installed(stack, database_template, tmp_path_factory.mktemp("imports")) as made:
        gateway, importer = made.gateway(import_limit="12000000"), made.importer()
        await asyncio.gather(gateway.ready(), importer.ready())
        made.url = gateway.url
        yield made


@pytest.fixture
async def shop(import_site: Installation) -> AsyncIterator[Shop]:
    """A new tenant."""
    api = await Api.register(import_site.url)
    yield Shop(import_site, api)
    await api.close()


@pytest.fixture
async def installation(stack: Stack, database_template: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation of the test's own, whose processes it may kill."""
    async with installed(stack, database_template, tmp_path) as made:
        yield made
