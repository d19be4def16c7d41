"""What writes of customers, products and aliases share: ETags, and rows that change together with their events."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.alias_rules import check_aliases, check_products
from services.api_gateway.dependencies import Services
from services.api_gateway.errors import Problem, conflict, not_found
from services.api_gateway.outgoing import master_data
from services.api_gateway.repository import master_data as master_repository
from services.api_gateway.repository.master_data import Master
from services.api_gateway.security.callers import Caller
from shared.db.engine import transaction
from shared.events.catalogue import CUSTOMERS, PRODUCT_ALIASES, PRODUCTS, Topic
from shared.events.payloads import CustomerChangedV1, Payload, ProductAliasChangedV1, ProductChangedV1
from shared.messaging.outbox import insert_outbox
from shared.messaging.record import Message

_ETAG = re.compile(r'(W/)?"([0-9]{1,9})"|([0-9]{1,9})')


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def check_match(if_match: str | None, version: int | None) -> None:
    """Compares If-Match (one or more tags, or *) with the stored version; None stands for no stored record.

    Raises:
        Problem: 412 when it names another version, 400 when it cannot be read.
    """
    if if_match is None:
        return
    tags = [part.strip() for part in if_match.split(",")]
    if tags == ["*"]:
        matches = version is not None
    else:
        found = [_ETAG.fullmatch(tag) for tag in tags]
        if not all(found):
            raise Problem(
                400,
                "malformed",
                "The request cannot be read",
                "If-Match cannot be read.",
                errors=[{"field": "If-Match", "reason": 'must be the ETag of an answer, such as "3", or *'}],
            )
        matches = any(tag is not None and int(tag[2] or tag[3]) == version for tag in found)
    if not matches:
        stored = "Nothing is stored" if version is None else f"The stored version is {version}"
        raise Problem(412, "precondition-failed", "It has changed meanwhile", f"{stored}; If-Match names another.")


def as_json(body: BaseModel) -> dict[str, Any]:
    """A validated body as plain JSON values, as the repository takes rows."""
    return body.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class Change:
    """A committed change: the stored rows and the ids of their outbox entries."""

    rows: list[Any]
    ids: list[int]


class MasterWriter:
    """Writes one kind of master data: row and event in one transaction, the event's outbox id after the row's lock.

    Args:
        services: parts of the process.
        caller: whose tenant is written.
        request_id: for the events.
        kind: what is written.
    """

    def __init__(self, services: Services, caller: Caller, request_id: str, kind: "Kind") -> None:
        self._services, self._tenant_id, self._request_id, self._kind = services, caller.tenant_id, request_id, kind

    async def create(self, row: dict[str, Any]) -> Change:
        """Adds a record.

        Raises:
            Problem: 409 when its code exists.
        """
        async with self._transaction() as connection:
            await self._check(connection, [row])
            stored = await master_repository.insert_one(connection, self._kind.master, self._tenant_id, row)
            if stored is None:
                raise conflict("already-exists", f"There is a {self._kind.master.noun} with this code.")
            change = await self._announce(connection, [stored])
        return self._done(change)

    async def replace(self, rows: Sequence[dict[str, Any]], *, if_match: str | None = None) -> Change:
        """Creates or replaces records with distinct codes, all in one transaction; If-Match is for a single one.

        Raises:
            Problem: 412 when If-Match names another version.
        """
        async with self._transaction() as connection:
            await self._check(connection, rows)
            if if_match is not None:
                code = rows[0][self._kind.master.key]
                stored = await master_repository.lock(connection, self._kind.master, self._tenant_id, code)
                check_match(if_match, None if stored is None else stored.version)
            written = await master_repository.upsert(connection, self._kind.master, self._tenant_id, rows)
            change = await self._announce(connection, written)
        return self._done(change)

    async def patch(
        self,
        code: str,
        merge: Callable[[Any], BaseModel],
        *,
        if_match: str | None,
        may_begin: Callable[[AsyncConnection], Awaitable[bool]] | None = None,
    ) -> Change:
        """Changes a record under its lock: `merge` gets the stored row (or None) and returns the new fields.

        `may_begin` says whether a record that is not stored may begin to exist by this patch.

        Raises:
            Problem: 404 without such a record, 412 when If-Match names another version.
        """
        async with self._transaction() as connection:
            stored = await master_repository.lock(connection, self._kind.master, self._tenant_id, code)
            if stored is None and not (may_begin is not None and await may_begin(connection)):
                raise not_found(self._kind.master.noun)
            check_match(if_match, None if stored is None else stored.version)
            row = {self._kind.master.key: code, **as_json(merge(stored))}
            written = await master_repository.upsert(connection, self._kind.master, self._tenant_id, [row])
            change = await self._announce(connection, written)
        return self._done(change)

    async def remove(
        self,
        code: str,
        *,
        if_match: str | None = None,
        known: Callable[[AsyncConnection], Awaitable[bool]] | None = None,
        also: Sequence[Message] = (),
        before: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> Change:
        """Deletes a record and leaves the tombstone of its key, and the messages of `also` after it.

        Args:
            code: of the record.
            if_match: the version that may be deleted.
            known: whether something is there to delete although no record is stored.
            also: more messages for the outbox.
            before: runs in the transaction before the tombstone is appended.

        Raises:
            Problem: 404 when there is nothing to delete, 412 when If-Match names another version.
        """
        kind = self._kind
        async with self._transaction() as connection:
            locked = (
                await master_repository.lock(connection, kind.master, self._tenant_id, code)
                if if_match is not None
                else None
            )
            stored = await master_repository.delete(connection, kind.master, self._tenant_id, code)
            if not stored and not (known is not None and await known(connection)):
                raise not_found(kind.master.noun)
            check_match(if_match, None if locked is None else locked.version)
            if before is not None:
                await before(connection)
            tombstone = master_data(
                kind.topic, kind.event_type, self._tenant_id, code, payload=None, request_id=self._request_id
            )
            ids = await insert_outbox(connection, "gateway", [tombstone, *also])
        return self._done(Change([], ids))

    async def _check(self, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
        if self._kind.check is not None:
            await self._kind.check(connection, self._tenant_id, rows)

    def _transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return transaction(self._services.engine, tenant_id=self._tenant_id)

    async def _announce(self, connection: AsyncConnection, rows: list[Any]) -> Change:
        messages = announcements(self._kind, self._tenant_id, rows, request_id=self._request_id)
        return Change(rows, await insert_outbox(connection, "gateway", messages))

    def _done(self, change: Change) -> Change:
        self._services.relay.notify()
        return change


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of master data: its table, its topic, and type and payload of the event of a change."""

    master: Master
    topic: Topic
    event_type: str
    payload: type[Payload]
    check: Callable[[AsyncConnection, UUID, Sequence[dict[str, Any]]], Awaitable[None]] | None = None
    """Raises a Problem for rows that what is stored forbids; runs first in the transaction that creates or replaces."""


CUSTOMERS_KIND = Kind(master_repository.CUSTOMER, CUSTOMERS, "customer.changed.v1", CustomerChangedV1)
PRODUCTS_KIND = Kind(master_repository.PRODUCT, PRODUCTS, "product.changed.v1", ProductChangedV1, check_products)
ALIASES_KIND = Kind(
    master_repository.ALIAS, PRODUCT_ALIASES, "product-alias.changed.v1", ProductAliasChangedV1, check_aliases
)


def announcements(
    kind: Kind, tenant_id: UUID, rows: Iterable[Any], *, request_id: str | None, backfill: bool = False
) -> list[Message]:
    """The events of stored rows: the full state of each."""
    return [
        master_data(
            kind.topic,
            kind.event_type,
            tenant_id,
            getattr(row, kind.master.key),
            payload=_payload_of(kind.payload, row),
            request_id=request_id,
            backfill=backfill,
        )
        for row in rows
    ]


def _payload_of(model: type[Payload], row: Any) -> Payload:
    """The event's payload of a stored row."""
    return model.model_validate({name: getattr(row, name) for name in model.model_fields})


def last_of_each(items: Sequence[Any], key: str) -> list[dict[str, Any]]:
    """Rows of a bulk body; of several with one code the last one stands, as if they had come one after another."""
    return list({getattr(item, key): as_json(item) for item in items}.values())
