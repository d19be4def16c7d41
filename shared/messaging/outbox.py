"""Appending to an outbox: the events of a change, written in the transaction that makes it."""

import json
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.messaging.record import Headers, Message


def channel(schema: str) -> str:
    """The NOTIFY channel on which a schema's relay listens."""
    return f"{schema}_outbox"


async def insert_outbox(connection: AsyncConnection, schema: str, messages: Sequence[Message]) -> list[int]:
    """Appends messages to `<schema>.outbox` in one statement and wakes the relay when the transaction commits.

    Take the row lock of what changed before calling: ids ascend in the order of the calls, and the relay
    publishes in the order of ids, so the last record of a key is then its newest state.

    Args:
        connection: inside the transaction of the change.
        schema: the service's own schema.
        messages: in the order in which they are to be published; keys are UTF-8.

    Returns:
        One outbox id per message, in the same order.
    """
    if not messages:
        return []
    rows = await connection.execute(
        text(
            "with appended as ("  # noqa: S608 - the schema is a name from our own code
            f"insert into {schema}.outbox (topic, key, value, headers) "
            "select topic, key, value, headers::jsonb from unnest(cast(:topics as text[]), cast(:keys as text[]), "
            "cast(:bodies as bytea[]), cast(:headers as text[])) with ordinality as m(topic, key, value, headers, n) "
            "order by n returning id) "
            "select id, (select pg_notify(:channel, '')) from appended order by id"
        ),
        {
            "topics": [message.topic for message in messages],
            "keys": [(message.key or b"").decode() for message in messages],
            "bodies": [message.value for message in messages],
            "headers": [pack_headers(message.headers) for message in messages],
            "channel": channel(schema),
        },
    )
    return [row.id for row in rows]


def pack_headers(headers: Headers) -> str:
    """Headers as a JSON array of pairs, which keeps their order and repetitions."""
    return json.dumps([[name, value.decode()] for name, value in headers])


def unpack_headers(packed: str) -> list[tuple[str, bytes]]:
    """The inverse of `pack_headers`."""
    return [(name, value.encode()) for name, value in json.loads(packed)]
