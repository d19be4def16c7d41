"""Alembic's environment: the administrator's role, one connection, all pending revisions in one transaction."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from migrations.settings import MigrationSettings
from services.api_gateway.tables import metadata as gateway
from services.rfm_worker.tables import metadata as rfm

TARGETS = [gateway, rfm]


def _migrate(connection: Connection) -> None:
    # No dependence on who runs it: everything belongs to one owner that cannot log in.
    connection.execute(text("set role iacrm_owner"))
    connection.commit()
    context.configure(
        connection=connection, target_metadata=TARGETS, include_schemas=True, version_table_schema="public"
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    engine = create_async_engine(MigrationSettings().url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_run())
