"""Roles of the cluster and who may connect. Idempotent: run before every migration."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

OWNER = "iacrm_owner"
SCHEMAS = ("gateway", "rfm")
EXTENSIONS = ("btree_gin", "pg_trgm")
"""Of the server's own contrib. An administrator makes them, so that the owner needs no right on the database."""
# Two migrations of different databases of one cluster may start together, and roles belong to the cluster.
_LOCK = 0x1AC2

_CREATE_ROLE = """
do $$ begin
    if not exists (select from pg_roles where rolname = '{role}') then create role {role}; end if;
exception when duplicate_object or unique_violation then null; end $$
"""


async def ensure_roles(url: str, passwords: dict[str, str]) -> None:
    """Creates or updates the owner and the login roles, and the schemas that the owner holds.

    Args:
        url: administrator's SQLAlchemy URL of the database to prepare.
        passwords: login role -> password.
    """
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await _owner(connection)
            for role, password in passwords.items():
                await _login(connection, role, password)
            for extension in EXTENSIONS:
                await connection.exec_driver_sql(f"create extension if not exists {extension} schema public")
            for schema in SCHEMAS:
                await connection.exec_driver_sql(f"create schema if not exists {schema} authorization {OWNER}")
    finally:
        await engine.dispose()


async def _owner(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(_CREATE_ROLE.format(role=OWNER))
    await connection.exec_driver_sql(f"grant {OWNER} to current_user")
    await connection.exec_driver_sql(f"grant create, usage on schema public to {OWNER}")
    await connection.exec_driver_sql("revoke create on schema public from public")


async def _login(connection: AsyncConnection, role: str, password: str) -> None:
    await connection.exec_driver_sql(_CREATE_ROLE.format(role=role))
    # A password cannot be a bind parameter of ALTER ROLE; the server quotes it for us.
    statement = await connection.scalar(
        text(
            "select format('alter role %I login nosuperuser nobypassrls nocreatedb nocreaterole password %L', "
            "cast(:role as text), cast(:password as text))"
        ),
        {"role": role, "password": password},
    )
    await connection.exec_driver_sql(str(statement))
