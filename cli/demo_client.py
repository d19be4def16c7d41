"""The demo as a client sees it: nothing but the public REST API, with a log-in and an API key."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.credentials import Credentials
from cli.demo_data import Upload
from cli.demo_error import DemoError

TOKEN = "X-Consistency-Token"
USERNAME = "demo"
SCOPES = ["sales:write", "customers:write", "products:write", "read"]
# The purchases are of 2017: recency is measured from the newest of them, in the time zone of the files.
SETTINGS = {"timezone": "UTC", "currency": "USD", "reference_date": "latest_sale"}
AT_ONCE = 3
"""Requests in flight: enough to keep the gateway busy, few enough to leave the worker a processor."""
PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class Account:
    """How to get in, for people and for programs."""

    username: str
    password: str
    api_key: str


class Client:
    """Calls the API of one gateway. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=60.0)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def open_account(self, data: Path) -> Account:
        """Registers the demo tenant with its owner and an API key, or finds those of an earlier run.

        Raises:
            DemoError: the API refuses, for example because the name is taken by somebody else.
        """
        secrets = Credentials(data)
        password, key = secrets.get("demo_password"), secrets.find("demo_api_key")
        if key is None or not await self._accepts(key):
            await self._register(password)
            key = await self._new_key(password)
            secrets.put("demo_api_key", key)
        self._http.headers["X-API-Key"] = key
        return Account(USERNAME, password, key)

    async def get(self, path: str, token: str | None = None, **query: str | int) -> Any:
        """The JSON answer; with a consistency token, as soon as the workers have applied that write.

        Raises:
            DemoError: another answer than 200, or not applied within 15 minutes.
        """
        headers = {TOKEN: token, "Prefer": "wait=30"} if token is not None else {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = await self._http.get(path, params=query, headers=headers)
            if answer.status_code != 425 or time.monotonic() > deadline:
                return _checked(answer, 200).json()

    async def post(self, path: str, body: dict[str, Any]) -> str:
        """Posts a fact; answers its consistency token."""
        return str(_checked(await self._http.post(path, json=body), 202).headers[TOKEN])

    async def ask(self, path: str, question: dict[str, Any]) -> Any:
        """Posts a question that changes nothing; answers the JSON."""
        return _checked(await self._http.post(path, json=question), 200).json()

    async def upload(self, uploads: Iterable[Upload], done: Callable[[int], None]) -> list[str]:
        """Sends the requests, several at a time, in their order; answers their consistency tokens.

        Args:
            done: told the size of each request that was accepted.
        """
        tokens: list[str] = []
        waiting = iter(uploads)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._send(waiting, tokens, done))
        except* DemoError as problems:
            problem = problems.exceptions[0]
        else:
            return tokens
        raise problem

    async def _send(self, uploads: Iterator[Upload], tokens: list[str], done: Callable[[int], None]) -> None:
        for upload in uploads:
            kind = "application/x-ndjson" if upload.path.endswith("/batch") else "application/json"
            answer = await self._with_retries(upload, kind)
            rejected = answer.json()["rejected"]
            if rejected:
                raise DemoError(f"{upload.path} rejected {len(rejected)} items, the first: {rejected[0]}")
            tokens.append(answer.headers[TOKEN])
            done(upload.size)

    async def _with_retries(self, upload: Upload, kind: str) -> httpx.Response:
        # Sending a batch twice is harmless, so that a process that is restarted meanwhile disturbs nothing.
        problem = "no answer"
        for attempt in range(10):
            try:
                answer = await self._http.post(upload.path, content=upload.body, headers={"Content-Type": kind})
                if answer.status_code not in (429, 503):
                    return _checked(answer, 200, 202)
                problem = answer.text
            except httpx.TransportError as error:
                problem = repr(error)
            await asyncio.sleep(min(0.5 * 2**attempt, 10.0))
        raise DemoError(f"{upload.path} could not be sent: {problem}")

    async def _accepts(self, key: str) -> bool:
        answer = await self._http.get("/v1/tenants/current", headers={"X-API-Key": key})
        return answer.status_code == 200

    async def _register(self, password: str) -> None:
        owner = {"username": USERNAME, "email": "owner@example.org", "password": password}
        answer = await self._http.post("/v1/auth/register", json={"tenant_name": "Demo", "settings": SETTINGS, **owner})
        if answer.status_code != 409:  # taken, by an earlier run whose password we have
            _checked(answer, 201)

    async def _new_key(self, password: str) -> str:
        login = await self._http.post("/v1/auth/token", data={"username": USERNAME, "password": password})
        bearer = {"Authorization": f"Bearer {_checked(login, 200).json()['access_token']}"}
        body = {"name": "demo loader", "scopes": SCOPES}
        return str(_checked(await self._http.post("/v1/api-keys", json=body, headers=bearer), 201).json()["api_key"])


def _checked(answer: httpx.Response, *expected: int) -> httpx.Response:
    if answer.status_code not in expected:
        request = answer.request
        raise DemoError(f"{request.method} {request.url.path} answered {answer.status_code}: {answer.text[:500]}")
    return answer
