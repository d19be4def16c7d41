"""A gateway on real servers, called in process, with two tenants and a hand for what the rfm worker writes."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.app import create_app
from services.api_gateway.dependencies import Services
from services.api_gateway.settings import GatewaySettings
from services.rfm_worker.refresher import Refresher
from services.rfm_worker.tables import metadata
from shared.db.applied import save_applied
from shared.db.engine import create_engine, transaction
from shared.messaging.topics import create_topics
from tests.stack import GATEWAY_PASSWORD, RFM_PASSWORD, Database, Stack
from tests.support.topics import read_topic
from tests.support.waiting import until

PASSWORD = "a pass phrase for one test only"


class Tenant:
    """The owner of a tenant: `get`, `post`, `put`, `patch`, `delete` below /v1, and the tenant's id."""

    def __init__(self, client: httpx.AsyncClient, tenant_id: uuid.UUID) -> None:
        self.client, self.id = client, tenant_id
        self.get, self.post, self.put = client.get, client.post, client.put
        self.patch, self.delete = client.patch, client.delete


@dataclass
class Worker:
    """Writes schema rfm as the worker does."""

    engine: AsyncEngine

    async def insert(self, table: str, tenant: Tenant, *rows: dict[str, Any]) -> None:
        """Adds rows to a table of the schema."""
        async with transaction(self.engine) as connection:
            for row in rows:
                await connection.execute(metadata.tables[f"rfm.{table}"].insert(), {"tenant_id": tenant.id, **row})

    async def customer(self, tenant: Tenant, code: str, **columns: Any) -> None:
        """Adds a customer to the projection and to what the refresher has to do."""
        await self.insert("customer", tenant, {"customer_code": code, "code_hash": code.encode(), **columns})
        await self.insert("customer_queue", tenant, {"customer_codes": [code], "product_keys": []})

    async def refresh(self, tenant: Tenant) -> None:
        """Does what the refresher has to do; the tenant's event may not have come."""
        await self.execute("insert into rfm.tenant (tenant_id) values (:id) on conflict do nothing", id=tenant.id)
        refresher = Refresher(self.engine, interval_s=1)
        await refresher.refresh_customers(tenant.id)
        await refresher.refresh_periods(tenant.id)

    async def sale(self, tenant: Tenant, sale_id: str, **columns: Any) -> None:
        """Adds a sale of one line to the ledger."""
        row = {
            "sale_id": sale_id,
            "recorded": True,
            "customer_code": None,
            "sold_at": datetime(2026, 11, 20, tzinfo=UTC),
            "day": date(2026, 11, 20),
            "channel": "store",
            "currency": "EUR",
            "gross": Decimal(10),
            "net": Decimal(10),
            "product_keys": ["P"],
            "labels": [None],
            "quantities": [Decimal(1)],
            "unit_prices": [Decimal(10)],
            "discounts": [Decimal(0)],
            "amounts": [Decimal(10)],
            "metadata": {},
            **columns,
        }
        await self.insert("sale", tenant, row)

    async def applied(self, topic: str, partition: int, next_offset: int) -> None:
        """Records an applied offset."""
        async with transaction(self.engine) as connection:
            await save_applied(connection, "rfm", {(topic, partition): next_offset})

    async def execute(self, statement: str, **parameters: Any) -> Any:
        """Any other statement."""
        async with transaction(self.engine) as connection:
            return await connection.execute(text(statement), parameters)


@dataclass
class Gateway:
    """A running gateway."""

    app: FastAPI
    engine: AsyncEngine
    services: Services

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client without credentials, at the root of the paths."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60, **options)

    async def tenant(self, **settings: Any) -> Tenant:
        """A new tenant."""
        client = self.client()
        client.base_url = httpx.URL("http://gateway/v1/")
        name = f"owner{uuid.uuid4().hex[:12]}"
        person = {"tenant_name": "Shop", "username": name, "email": f"{name}@example.org", "password": PASSWORD}
        made = await client.post("/auth/register", json=person)
        assert made.status_code == 201, made.text
        tenant = Tenant(client, uuid.UUID(made.json()["tenant_id"]))
        token = self.services.tokens.issue(uuid.uuid4(), tenant.id, "owner")
        client.headers["Authorization"] = f"Bearer {token}"
        if settings:
            changed = await tenant.patch("/tenants/current/settings", json=settings)
            assert changed.status_code == 200, changed.text
        return tenant


@contextlib.asynccontextmanager
async def running(database: Database, kafka: str, prefix: str, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway from its settings, started and stopped."""
    chosen = GatewaySettings(
        database_url=database.gateway_url,
        kafka_bootstrap=kafka,
        topic_prefix=prefix,
        password_time_cost=1,
        password_memory_kib=8192,
        registrations_per_address=10**6,
        **settings,
    )
    app = create_app(chosen)
    async with app.router.lifespan_context(app):
        services: Services = app.state.services
        yield Gateway(app, services.engine, services)


@pytest.fixture(scope="session")
async def shared_database(stack: Stack, database_template: str) -> AsyncIterator[Database]:
    """One database for all tests here: each has tenants of its own, which keep them apart."""
    name = f"iacrm_data_{uuid.uuid4().hex[:12]}"
    admin = create_engine(stack.url("postgres"), application_name="tests")
    async with admin.connect() as raw:
        connection = await raw.execution_options(isolation_level="AUTOCOMMIT")
        await connection.exec_driver_sql(f"create database {name} template {database_template}")
        yield Database(
            name=name,
            admin_url=stack.url(name),
            gateway_url=stack.url(name, "iacrm_gateway", GATEWAY_PASSWORD),
            rfm_url=stack.url(name, "iacrm_rfm", RFM_PASSWORD),
        )
        await connection.exec_driver_sql(f"drop database if exists {name} with (force)")
    await admin.dispose()


@pytest.fixture(scope="session")
async def shared_prefix(stack: Stack) -> str:
    """One set of topics for all tests here."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    await create_topics(stack.kafka_bootstrap, prefix=prefix)
    return prefix


# A module's, not the run's: after some minutes the client opens idle connections anew, in the middle of anybody's test.
@pytest.fixture(scope="module")
async def gateway(shared_database: Database, stack: Stack, shared_prefix: str) -> AsyncIterator[Gateway]:
    """The gateway that most tests share."""
    async with running(shared_database, stack.kafka_bootstrap, shared_prefix) as one:
        # Connections that are made on first use belong to the gateway, not to the test that comes first.
        async with one.client() as client:

            async def settled() -> bool:
                return (await client.get("/health/ready")).status_code == 200

            await until(settled, seconds=20, what="the gateway ready")
            await client.get("/status")
        first = await one.tenant()
        assert (await first.post("/customers", json={"customer_code": "first"})).status_code == 201
        await published(stack, f"{shared_prefix}customers", first, 1)
        await first.client.aclose()
        yield one


@pytest.fixture(scope="session")
async def shared_admin(shared_database: Database) -> AsyncIterator[AsyncEngine]:
    """Engine of the superuser, for looking at what the gateway's role may not see."""
    engine = create_engine(shared_database.admin_url, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def worker(shared_database: Database) -> AsyncIterator[Worker]:
    """A hand for what the rfm worker writes."""
    engine = create_engine(shared_database.rfm_url, application_name="rfm_worker", schema="rfm")
    yield Worker(engine)
    await engine.dispose()


@pytest.fixture
async def tenant(gateway: Gateway) -> AsyncIterator[Tenant]:
    """A tenant's owner, logged in."""
    one = await gateway.tenant()
    yield one
    await one.client.aclose()


@pytest.fixture
async def other(gateway: Gateway) -> AsyncIterator[Tenant]:
    """The owner of another tenant."""
    one = await gateway.tenant()
    yield one
    await one.client.aclose()


async def outbox_of(engine: AsyncEngine, tenant: Tenant, topic: str) -> list[Any]:
    """A tenant's outbox entries of one topic, in order."""
    async with transaction(engine) as connection:
        rows = await connection.execute(
            text("select * from gateway.outbox where topic = :topic and key like :mine order by id"),
            {"topic": topic, "mine": f"{tenant.id}:%"},
        )
    return list(rows)


async def published(stack: Stack, name: str, tenant: Tenant, count: int) -> list[Any]:
    """A tenant's records in a topic, once there are `count`."""
    found: list[Any] = []

    async def enough() -> bool:
        records = await read_topic(stack.kafka_bootstrap, name)
        found[:] = [record for record in records if record.key.startswith(str(tenant.id).encode())]
        return len(found) >= count

    await until(enough, seconds=15, what=f"{count} records in {name}")
    return found


def fields(answer: httpx.Response) -> set[str]:
    """The offending fields of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return {error["field"] for error in json.loads(answer.content)["errors"]}
