"""A worker's inside on a real database: items in, rows out, no broker."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.alias_mover import AliasMover
from services.rfm_worker.domain.facts import Item
from services.rfm_worker.handlers import Applier
from services.rfm_worker.repository.batch import BatchWriter
from services.rfm_worker.scorer import Scorer
from services.rfm_worker.verification import Report, verify
from shared.db.engine import transaction

SECRET = "a-secret-of-forty-characters-for-erasure"


@dataclass
class Clock:
    """A present moment that a test can move."""

    at: datetime | None = None

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC)


@dataclass
class Rfm:
    """One worker's parts and a tenant to try them on."""

    engine: AsyncEngine
    tenant_id: UUID = field(default_factory=uuid4)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.applier = Applier(self.engine, BatchWriter(SECRET), self.clock, lambda: None)
        self.scorer = Scorer(self.engine, now=self.clock, interval_s=0.05)
        self.mover = AliasMover(self.engine, SECRET, orders_at_once=2)

    async def apply(self, *items: Item) -> None:
        """One batch."""
        await self.applier.apply(items, {("sales", 0): 1})

    async def score(self) -> None:
        """Runs of the scorer for the tenant until it has nothing more to do at once."""
        while await self.scorer.score(self.tenant_id):
            pass

    async def move(self) -> None:
        """Lets the tenant's history follow its aliases to the end."""
        while await self.mover.step(self.tenant_id):
            pass

    async def query(self, statement: str, **parameters: object) -> Sequence[Any]:
        """Rows; `:tenant` stands for the tenant."""
        async with transaction(self.engine) as connection:
            return (await connection.execute(text(statement), {"tenant": self.tenant_id} | parameters)).all()

    async def customer(self, code: str) -> Any:
        """A customer's row."""
        rows = await self.query("select * from rfm.customer where tenant_id = :tenant and customer_code = :c", c=code)
        return rows[0] if rows else None

    async def verified(self) -> Report:
        """The report of a verification of the tenant, scores up to date."""
        await self.score()
        return await verify(self.engine, self.tenant_id, wait_s=5)


@pytest.fixture
async def rfm(rfm_engine: AsyncEngine) -> Rfm:
    """A worker and a tenant of the test's own."""
    return Rfm(rfm_engine)
