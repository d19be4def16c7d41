"""Pure ASGI: a POST with an Idempotency-Key is carried out once, and its answer is given again for 24 hours."""

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api_gateway.context import context_of
from services.api_gateway.errors import Problem, conflict
from services.api_gateway.multipart import boundary_of
from services.api_gateway.repository import idempotency as repository
from services.api_gateway.repository.idempotency import Place, Remembered
from services.api_gateway.security.callers import Operator, Principal
from shared.db.engine import transaction
from shared.messaging.errors import IsTransient, classify
from shared.observability.logging import get_logger

if TYPE_CHECKING:
    from services.api_gateway.dependencies import Services

_KEY = re.compile(rb"[\x21-\x7e]{1,200}")
_KEPT_HEADERS = frozenset([b"content-type", b"location", b"etag", b"x-consistency-token"])
_FACTS = "/v1/sales"
STREAMED = frozenset(["/v1/imports"])
"""Paths whose bodies are too large to be held."""
SECRETS = frozenset(["/v1/api-keys"])
"""Paths whose answers hold a secret that is shown once: they are never kept."""
LARGEST_KEPT = 1_000_000
NO_TENANT = UUID(int=0)
"""Stands for the tenant of an operator's keys; no tenant has it."""
_WITHOUT = "/v1/auth/"
"""Below it every POST is about a password or a token, and none is safe to answer from memory."""
log = get_logger(__name__)


class Idempotency:
    """Works for every POST with a credential, except those below /v1/auth/.

    Facts have natural keys and go on without this while Postgres is away; everything else needs Postgres anyway.
    Answers of 429 and from 500 on are not kept: trying again is what they ask for.
    """

    def __init__(self, app: ASGIApp, services: "Services") -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        honours = scope["type"] == "http" and honours_keys(scope["method"], scope["path"])
        caller = context_of(scope).principal if honours else None
        key = None if caller is None else _header(scope)
        if key is None or caller is None:
            await self._app(scope, receive, send)
            return
        if scope["path"] in STREAMED:
            await self._once_streamed(caller, key, scope, receive, send)
            return
        body = await _read(receive)
        claim = _Claim(self._services, caller, key, _fingerprint(scope, body))
        try:
            earlier = await claim.take()
        except Exception as error:
            if not (isinstance(classify(error), IsTransient) and scope["path"].startswith(_FACTS)):
                raise
            log.warning("idempotency key not checked: the database is away")
            await self._app(scope, _replay(body, receive), send)
            return
        if earlier is not None:
            await _answer_again(earlier, claim.fingerprint, send)
            return
        await self._carry_out(claim, scope, _replay(body, receive), send)

    async def _once_streamed(self, caller: Principal, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        """As for any other path, but the body is never held: what it was is known once it has passed by."""
        body = StreamedBody(scope, receive)
        claim = _Claim(self._services, caller, key, b"")
        earlier = await claim.take()
        if earlier is not None:
            if earlier.status is None:
                await _answer_again(earlier, earlier.request_hash, send)
                return
            await body.skip()
            await _answer_again(earlier, body.fingerprint(), send)
            return
        await self._carry_out(claim, scope, body.receive, send, streamed=body)

    async def _carry_out(
        self, claim: "_Claim", scope: Scope, receive: Receive, send: Send, *, streamed: "StreamedBody | None" = None
    ) -> None:
        recorder = _Recorder(keep_body=scope["path"] not in SECRETS)
        try:
            await self._app(scope, receive, recorder)
        except BaseException:
            await asyncio.shield(claim.settle(None))
            raise
        # Of a streamed body that was refused half-way nothing is known that a later one could be compared with.
        kept = recorder if streamed is None or streamed.complete else None
        if streamed is not None:
            claim.fingerprint = streamed.fingerprint()
        # Remembered first, then told: who has the answer and asks again gets it again.
        await asyncio.shield(claim.settle(kept))
        for message in recorder.messages:
            await send(message)


class StreamedBody:
    """Passes a multipart body on and takes its fingerprint, in which the boundary does not count: programs draw a new
    one for each attempt."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._digest = _digest(scope)
        content_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
        self._boundary = boundary_of(content_type) or b""
        self._rest = b""
        self.complete = False

    async def receive(self) -> Message:
        """The next message from the client."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._add(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        return message

    async def skip(self) -> None:
        """Reads what is still to come."""
        while not self.complete and (await self.receive())["type"] == "http.request":
            pass

    def fingerprint(self) -> bytes:
        """Of what has passed by."""
        digest = self._digest.copy()
        digest.update(self._rest)
        return digest.digest()

    def _add(self, chunk: bytes) -> None:
        if self._boundary:
            chunk = (self._rest + chunk).replace(self._boundary, b"\n")
            # The end may be the beginning of the next boundary.
            sure = max(0, len(chunk) - len(self._boundary) + 1)
            chunk, self._rest = chunk[:sure], chunk[sure:]
        self._digest.update(chunk)


class _Recorder:
    """Holds an answer back, and says what of it is kept, up to a size."""

    def __init__(self, *, keep_body: bool) -> None:
        self.messages: list[Message] = []
        self.status = 500
        self.headers: list[tuple[str, str]] = []
        self.body: bytes | None = b"" if keep_body else None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(n.decode(), v.decode("latin-1")) for n, v in message["headers"] if n in _KEPT_HEADERS]
        elif self.body is not None:
            self.body += message.get("body", b"")
            if len(self.body) > LARGEST_KEPT:
                self.body = None
        self.messages.append(message)


class _Claim:
    """One caller's key, held while its request runs."""

    def __init__(self, services: "Services", caller: Principal, key: str, fingerprint: bytes) -> None:
        self._services = services
        tenant_id = NO_TENANT if isinstance(caller, Operator) else caller.tenant_id
        self._place = Place(tenant_id, caller.subject, key)
        self.fingerprint = fingerprint

    async def take(self) -> Remembered | None:
        async with transaction(self._services.engine, tenant_id=self._place.tenant_id) as connection:
            return await repository.claim(
                connection, self._place, self.fingerprint, self._services.settings.idempotency_lock_s
            )

    async def settle(self, answer: _Recorder | None) -> None:
        """Keeps the answer, or gives the key back. A failure here leaves a claim that frees itself after a while."""
        try:
            async with transaction(self._services.engine, tenant_id=self._place.tenant_id) as connection:
                if answer is None or answer.status >= 500 or answer.status == 429:
                    await repository.release(connection, self._place)
                else:
                    await repository.remember(
                        connection,
                        self._place,
                        request_hash=self.fingerprint,
                        status=answer.status,
                        headers=answer.headers,
                        body=answer.body,
                    )
        except Exception as error:
            log.warning("idempotency key not settled", error=type(error).__name__)


async def _answer_again(earlier: Remembered, fingerprint: bytes, send: Send) -> None:
    if earlier.request_hash != fingerprint:
        raise conflict("idempotency-key-reused", "This Idempotency-Key was sent with another path or body.")
    if earlier.status is None:
        raise Problem(
            409,
            "still-running",
            "Conflict with what is stored",
            "The first request with this Idempotency-Key is still running.",
            headers={"Retry-After": "1"},
        )
    if earlier.body is None:
        raise conflict("already-done", "This was carried out, and its answer is not kept.")
    headers = [(name.encode(), value.encode("latin-1")) for name, value in earlier.headers or []]
    headers += [(b"content-length", str(len(earlier.body)).encode()), (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": earlier.status, "headers": headers})
    await send({"type": "http.response.body", "body": earlier.body})


def honours_keys(method: str, path: str) -> bool:
    """Whether a request with a credential is one whose key counts."""
    return method == "POST" and not path.startswith(_WITHOUT)


def _header(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            if not _KEY.fullmatch(value):
                raise Problem(
                    400,
                    "malformed",
                    "The request cannot be read",
                    "Idempotency-Key cannot be read.",
                    errors=[{"field": "Idempotency-Key", "reason": "must be 1 to 200 printable ASCII characters"}],
                )
            return str(value.decode())
    return None


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    digest = _digest(scope)
    digest.update(body)
    return digest.digest()


def _digest(scope: Scope) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for part in (scope["method"].encode(), scope["path"].encode("utf-8", "replace"), scope.get("query_string", b"")):
        digest.update(part + b"\n")
    return digest


async def _read(receive: Receive) -> bytes:
    """The whole body.

    Raises:
        ClientDisconnect: the connection ended first. Half a batch under a key would shut out the whole one.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, rest: Receive) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return await rest()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
