"""The model of the customer lifetime value, as the rfm worker's job left it."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

_MODEL = text("select * from rfm.lifetime_model where tenant_id = :tenant")


async def get_model(connection: AsyncConnection, tenant_id: UUID) -> Row[Any] | None:
    """The last fit; None before the first."""
    return (await connection.execute(_MODEL, {"tenant": tenant_id})).one_or_none()
