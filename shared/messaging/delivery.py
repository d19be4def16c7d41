"""Delivery: a batch comes in, and each record of it ends applied or dead-lettered, or the batch comes again.

The order is fixed, because each gap in it can be the one where the process dies: decode, dead-letter what cannot be
decoded, apply the rest in one transaction, dead-letter what the database refuses, then let the caller commit offsets.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.messaging import faults
from shared.messaging.dead_letters import Dead, DeadLetterWriter
from shared.messaging.errors import (
    ONE_SENDERS_OWN,
    DeadReason,
    Fatal,
    IsFatal,
    IsPoison,
    IsTransient,
    Outcome,
    Poison,
    PoisonedItems,
    Transient,
    classify,
)
from shared.messaging.record import NextOffsets, Record, next_offsets
from shared.observability import metrics
from shared.observability.health import Progress
from shared.observability.logging import get_logger

T = TypeVar("T")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often a batch is tried. All of it stays below the consumer's `max_poll_interval_s`."""

    max_dead_run: int = 100
    """Dead records in a row after which the worker stops: a bad deploy must not drain a topic.

    Records that are dead by their sender's own content count for nothing: one tenant must not stop all others."""
    retry_budget_s: float = 120.0
    """Seconds of tries and back-off before the batch is put back and the worker polls again."""
    apply_timeout_s: float = 120.0
    """Seconds that one transaction may take; a database that went silent counts as away."""
    first_backoff_s: float = 0.1
    longest_backoff_s: float = 10.0
    max_poll_interval_s: float = 300.0
    """Seconds between two polls after which the broker gives the partitions to another worker."""

    def __post_init__(self) -> None:
        if self.retry_budget_s + self.apply_timeout_s >= self.max_poll_interval_s:
            raise ValueError("retry_budget_s and apply_timeout_s together must stay below max_poll_interval_s")

    def backoff_s(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after the `attempt`-th failure (from 1): doubling, capped, halved by jitter in [0, 1)."""
        return min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** min(attempt - 1, 30)) * (1 - jitter / 2)


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A decoded record."""

    record: Record
    item: T


@dataclass(slots=True)
class Decoded(Generic[T]):
    """Records that are decoded and wait to be dealt with."""

    run_before: int
    """How many records in a row could not be decoded before these."""
    records: list[Record] = field(default_factory=list)
    entries: list[Entry[T]] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)


class BatchDelivery(Generic[T]):
    """Takes batches of records for one worker, one batch at a time."""

    def __init__(
        self,
        *,
        decode: Callable[[Record], T],
        apply: Callable[[Sequence[T], NextOffsets], Awaitable[None]],
        dead_letters: DeadLetterWriter,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Args:
        decode: pure; raises Poison for a record that can never be applied (any other exception counts as one).
        apply: takes decoded items and the offsets that follow them into the database, in ONE transaction of its
            own; idempotent; called with no items to record offsets alone. It may raise PoisonedItems.
        dead_letters: where poison goes.
        limits: tries, times and the longest run of dead records.
        clock, sleep, jitter: replaced by tests.
        """
        self._decode = decode
        self._apply = apply
        self._dead_letters = dead_letters
        self.limits = limits or Limits()
        self._clock = clock
        self._sleep = sleep or self._pause
        self._jitter = jitter
        self._undecodable_run = 0
        self._refused_run = 0
        self._interrupted = asyncio.Event()
        self.progress = Progress(clock)
        self.failing: str | None = None
        """What the current batch fails with; None while all is well."""

    async def handle(self, records: Sequence[Record]) -> NextOffsets:
        """Deals with every record of a batch.

        Returns:
            The offsets to commit.

        Raises:
            Transient: something is away for longer than the retry budget; nothing may be committed, read again.
            Fatal: stop the process; nothing may be committed.
        """
        return await self.deal_with(self.decode(records))

    def decode(self, records: Sequence[Record], onto: Decoded[T] | None = None) -> Decoded[T]:
        """Decodes records, `onto` those before them in their batch. No other batch may be begun in between.

        Raises:
            Fatal: too many in a row cannot be decoded. The batch is to be read again.
        """
        decoded = Decoded[T](self._undecodable_run) if onto is None else onto
        try:
            self._decode_all(records, decoded)
        except BaseException:
            self._undecodable_run = decoded.run_before
            raise
        return decoded

    async def deal_with(self, decoded: Decoded[T]) -> NextOffsets:
        """Deals with every record of a decoded batch; as `handle`."""
        following = next_offsets(decoded.records)
        refused_run = self._refused_run
        deadline = self._clock() + self.limits.retry_budget_s
        try:
            await self._bury(decoded.dead, deadline)
            refused = await self._apply_all(decoded.entries, following, deadline)
        except BaseException:
            # The batch comes again, with all after it: its dead records must not count twice towards the limit.
            self._undecodable_run, self._refused_run = decoded.run_before, refused_run
            raise
        _observe(decoded.records, len(decoded.dead) + refused)
        return following

    def interrupt(self) -> None:
        """Ends a back-off that is under way: the process is stopping and the batch will come again."""
        self._interrupted.set()

    def _decode_all(self, records: Sequence[Record], decoded: Decoded[T]) -> None:
        decode, entries = self._decode, decoded.entries
        decoded.records += records
        for record in records:
            try:
                entries.append(Entry(record, decode(record)))
                self._undecodable_run = 0
            except Poison as poison:
                decoded.dead.append(Dead(record, poison.reason, poison.detail))
                self._undecodable_run = self._longer(self._undecodable_run, poison.reason)
            except Exception as error:
                decoded.dead.append(Dead(record, DeadReason.UNDECODABLE, type(error).__name__))
                self._undecodable_run = self._longer(self._undecodable_run, DeadReason.UNDECODABLE)

    def _longer(self, run: int, reason: DeadReason) -> int:
        if reason in ONE_SENDERS_OWN:
            return run
        if run >= self.limits.max_dead_run:
            raise Fatal(f"more than {self.limits.max_dead_run} dead records in a row, the last: {reason}")
        return run + 1

    async def _apply_all(self, entries: Sequence[Entry[T]], following: NextOffsets, deadline: float) -> int:
        refusal = await self._try(entries, following, deadline)
        if refusal is None:
            return 0
        if not entries:
            raise Fatal("apply refuses an empty batch")
        metrics.BISECTIONS.inc()
        refused: list[Dead] = []
        await self._narrow(entries, refusal, deadline, refused)
        await self._bury(refused, deadline)
        if await self._try([], following, deadline) is not None:
            raise Fatal("apply refuses an empty batch")
        return len(refused)

    async def _narrow(
        self, entries: Sequence[Entry[T]], refusal: "Refusal", deadline: float, refused: list[Dead]
    ) -> None:
        """Applies what can be applied and collects the records that cannot."""
        poisoned = {0: refusal} if isinstance(refusal, Poison) and len(entries) == 1 else _named(refusal)
        for index, poison in sorted(poisoned.items()):
            if index > 0 and index - 1 not in poisoned:
                # What stands between them is not refused, so they are not in a row.
                self._refused_run = 0
            self._refused_run = self._longer(self._refused_run, poison.reason)
            refused.append(Dead(entries[index].record, poison.reason, poison.detail))
        if poisoned:
            parts = [[entry for index, entry in enumerate(entries) if index not in poisoned]]
        else:
            middle = len(entries) // 2
            parts = [list(entries[:middle]), list(entries[middle:])]
        for part in filter(None, parts):
            again = await self._try(part, next_offsets([entry.record for entry in part]), deadline)
            if again is not None:
                await self._narrow(part, again, deadline, refused)

    async def _try(self, entries: Sequence[Entry[T]], following: NextOffsets, deadline: float) -> "Refusal | None":
        """Applies items until it works; answers what is refused, if something is."""
        items = [entry.item for entry in entries]

        async def attempt() -> "Refusal | None":
            started = time.monotonic()
            try:
                async with asyncio.timeout(self.limits.apply_timeout_s):
                    await self._apply(items, following)
            except PoisonedItems as error:
                return error
            finally:
                metrics.APPLY_SECONDS.observe(time.monotonic() - started)
            faults.reach("after_commit")
            if items:
                self._refused_run = 0
            return None

        return await self._until_done(attempt, deadline)

    async def _bury(self, dead: Sequence[Dead], deadline: float) -> None:
        async def write() -> None:
            await self._dead_letters.write(dead)

        if dead and await self._until_done(write, deadline) is not None:
            raise Fatal("dead letters were refused")

    async def _until_done(self, action: Callable[[], Awaitable["Refusal | None"]], deadline: float) -> "Refusal | None":
        """Runs an action again while what it needs is away, backing off, within the deadline."""
        tries = 0
        while True:
            self.progress.beat()
            try:
                answer = await action()
            except Exception as error:
                refusal = self._refusal_or_raise(classify(error), error)
            else:
                self.failing = None
                self.progress.beat()
                return answer
            if isinstance(refusal, Poison):
                return refusal
            tries += 1
            await self._back_off(tries, refusal.cause, deadline)

    def _refusal_or_raise(self, outcome: Outcome, error: Exception) -> "Poison | IsTransient":
        match outcome:
            case IsPoison(reason, detail):
                return Poison(reason, detail)
            case IsFatal(cause):
                raise Fatal(cause) from error
        return outcome

    async def _back_off(self, tries: int, cause: str, deadline: float) -> None:
        self.failing = cause
        metrics.APPLY_RETRIES.labels(cause).inc()
        delay = self.limits.backoff_s(tries, self._jitter())
        if self._clock() + delay >= deadline:
            raise Transient(cause)
        log.warning("batch will be tried again", cause=cause, tries=tries, after_s=round(delay, 2))
        await self._sleep(delay)

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._interrupted.wait()
        except TimeoutError:
            return
        raise Transient("the process is stopping")


Refusal = Poison | PoisonedItems


def _named(refusal: Refusal) -> dict[int, Poison]:
    return refusal.items if isinstance(refusal, PoisonedItems) else {}


def _observe(records: Sequence[Record], dead: int) -> None:
    """Counts a batch that is done."""
    oldest: dict[str, int] = {}
    counts: dict[str, int] = {}
    for record in records:
        topic = record.topic
        counts[topic] = counts.get(topic, 0) + 1
        oldest[topic] = min(oldest.get(topic, record.timestamp_ms), record.timestamp_ms)
    now = time.time()
    for topic, count in counts.items():
        metrics.CONSUMED.labels(topic).inc(count)
        metrics.FRESHNESS_SECONDS.labels(topic).observe(max(0.0, now - oldest[topic] / 1000))
    metrics.APPLIED.inc(len(records) - dead)
    metrics.BATCH_RECORDS.observe(len(records))
    metrics.LAST_APPLIED.set(now)
