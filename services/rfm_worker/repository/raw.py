"""The driver's connection as this package uses it: bulk statements are prepared by the driver and keep their plan."""

from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    Raw = asyncpg.Connection[Any]
    Rows = list[asyncpg.Record]
else:
    Raw = asyncpg.Connection
    Rows = list
