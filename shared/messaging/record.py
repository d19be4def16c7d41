"""What is read from and written to a topic. Topic names here never carry the installation's prefix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes | None]]
"""Header names and values; on the broker a value may be null."""
TopicPartition = tuple[str, int]
NextOffsets = Mapping[TopicPartition, int]
"""Per (topic, partition) the offset after the last record of a batch: what is committed once it is applied."""


@dataclass(frozen=True, slots=True)
class Record:
    """One consumed record, untouched: key, value and header values are the bytes on the broker."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int
    """Milliseconds since 1970 at which the producer made the record."""


class Message(NamedTuple):
    """One record to publish. The key decides the partition; a value of None is a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class RecordMetadata(NamedTuple):
    """Where the broker put an acknowledged record."""

    topic: str
    partition: int
    offset: int


def next_offsets(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """The offsets to commit once these records are dealt with."""
    following: dict[TopicPartition, int] = {}
    for record in records:
        place = (record.topic, record.partition)
        following[place] = max(following.get(place, 0), record.offset + 1)
    return following
