"""Each record of a batch ends applied or dead-lettered, or the batch comes again."""

import asyncio
from collections.abc import Callable, Sequence

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.dead_letters import Dead
from shared.messaging.delivery import BatchDelivery, Limits
from shared.messaging.errors import BrokerUnavailable, DeadReason, Fatal, Poison, PoisonedItems, Transient
from shared.messaging.record import Record, next_offsets


def records(values: Sequence[bytes | None], topic: str = "sales", first: int = 0) -> list[Record]:
    return [Record(topic, 0, first + n, b"k", value, [], 0) for n, value in enumerate(values)]


def decode(record: Record) -> bytes:
    if record.value is None:
        raise Poison(DeadReason.INVALID_PAYLOAD, "lines.0.amount: finite_number")
    if record.value == b"odd":
        raise RecursionError
    return record.value


class Worker:
    """Applies like a database would: all of a batch or nothing of it, refusing values that start with `bad`."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        named: bool = False,
        dead_limit: int = 100,
        reason: DeadReason = DeadReason.DATA_ERROR,
    ) -> None:
        self.applied: list[bytes] = []
        self.offsets: dict[tuple[str, int], int] = {}
        self.dead: list[Dead] = []
        self.slept: list[float] = []
        self.outages: list[Exception] = []
        self.dead_outages: list[Exception] = []
        self.attempts = 0
        self.now = 0.0
        self.named = named
        self.reason = reason
        self.delivery = BatchDelivery(
            decode=decode,
            apply=self.apply,
            dead_letters=self,
            limits=limits or Limits(max_dead_run=dead_limit),
            clock=lambda: self.now,
            sleep=self.sleep,
            jitter=lambda: 0.0,
        )

    async def apply(self, items, following):
        self.attempts += 1
        if self.outages:
            raise self.outages.pop(0)
        bad = {n: Poison(self.reason, "refused") for n, i in enumerate(items) if i.startswith(b"bad")}
        if bad and self.named:
            raise PoisonedItems(bad)
        if bad:
            raise asyncpg.CheckViolationError("refused")
        self.applied += items
        for place, offset in following.items():
            self.offsets[place] = max(self.offsets.get(place, 0), offset)

    async def write(self, dead):
        if self.dead_outages:
            raise self.dead_outages.pop(0)
        self.dead += dead

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


async def test_a_good_batch_is_applied_in_one_go():
    worker = Worker()
    assert await worker.delivery.handle(records([b"a", b"b"])) == {("sales", 0): 2}
    assert worker.applied == [b"a", b"b"]
    assert worker.attempts == 1


async def test_what_cannot_be_decoded_is_dead_lettered_and_the_rest_applied():
    worker = Worker()
    following = await worker.delivery.handle(records([b"a", None, b"odd", b"b"]))
    assert following == worker.offsets == {("sales", 0): 4}
    assert worker.applied == [b"a", b"b"]
    assert [(d.record.offset, d.reason) for d in worker.dead] == [
        (1, DeadReason.INVALID_PAYLOAD),
        (2, DeadReason.UNDECODABLE),
    ]


async def test_a_batch_of_nothing_but_dead_records_still_records_its_offsets():
    worker = Worker()
    await worker.delivery.handle(records([None, None]))
    assert worker.offsets == {("sales", 0): 2}


@pytest.mark.parametrize("named", [False, True], ids=["searched", "named"])
@given(values=st.lists(st.sampled_from([b"a", b"b", b"bad", None]), min_size=1, max_size=40))
async def test_whatever_the_mixture_each_record_is_applied_or_dead_once_and_in_order(values, named):
    worker = Worker(named=named)
    batch = records(values)
    assert await worker.delivery.handle(batch) == next_offsets(batch) == worker.offsets
    assert worker.applied == [v for v in values if v in (b"a", b"b")]
    assert sorted(d.record.offset for d in worker.dead) == [n for n, v in enumerate(values) if v in (None, b"bad")]


async def test_poison_that_apply_names_costs_one_more_transaction_not_a_search():
    worker = Worker(named=True)
    await worker.delivery.handle(records([b"a"] * 400 + [b"bad"] * 3 + [b"b"] * 97))
    assert worker.attempts == 3  # refused, the rest, the offsets
    assert [d.reason for d in worker.dead] == [DeadReason.DATA_ERROR] * 3


async def test_a_search_for_one_bad_record_takes_about_two_tries_per_halving():
    worker = Worker()
    await worker.delivery.handle(records([b"a"] * 499 + [b"bad"]))
    assert worker.attempts <= 2 * 10 + 2


async def test_an_outage_is_waited_for_and_never_poison():
    worker = Worker()
    worker.outages = [ConnectionResetError(), asyncpg.CannotConnectNowError("starting up")]
    await worker.delivery.handle(records([b"a"]))
    assert worker.applied == [b"a"]
    assert worker.dead == []
    assert worker.slept == [0.1, 0.2]
    assert worker.delivery.failing is None


async def test_a_long_outage_puts_the_batch_back_within_the_retry_budget():
    worker = Worker()
    worker.outages = [ConnectionResetError() for _ in range(1000)]
    with pytest.raises(Transient):
        await worker.delivery.handle(records([b"a"]))
    assert sum(worker.slept) < worker.delivery.limits.retry_budget_s
    assert worker.delivery.failing == "ConnectionResetError"


async def test_an_unwritable_dead_letter_topic_puts_the_batch_back_and_applies_nothing():
    worker = Worker()
    worker.dead_outages = [BrokerUnavailable("away") for _ in range(1000)]
    with pytest.raises(Transient):
        await worker.delivery.handle(records([b"a", None]))
    assert worker.applied == []


async def test_a_programming_error_is_fatal_and_dead_letters_nothing():
    worker = Worker()
    worker.outages = [KeyError("amount")]
    with pytest.raises(Fatal, match="KeyError"):
        await worker.delivery.handle(records([b"a"]))
    assert worker.dead == []


async def test_a_run_of_dead_records_beyond_the_limit_stops_before_any_dead_letter():
    worker = Worker(dead_limit=10)
    with pytest.raises(Fatal, match="in a row"):
        await worker.delivery.handle(records([None] * 11))
    assert worker.dead == []


async def test_a_run_goes_on_over_batches_and_ends_with_a_good_record():
    worker = Worker(dead_limit=10)
    await worker.delivery.handle(records([None] * 10))
    with pytest.raises(Fatal):
        await worker.delivery.handle(records([None], first=10))
    await worker.delivery.handle(records([b"a"] + [None] * 10, first=10))


async def test_a_run_of_refused_records_beyond_the_limit_stops_before_any_dead_letter():
    worker = Worker(dead_limit=10)
    with pytest.raises(Fatal, match="in a row"):
        await worker.delivery.handle(records([b"bad"] * 11))
    assert worker.dead == []


@pytest.mark.parametrize("named", [False, True], ids=["searched", "named"])
async def test_refused_records_with_good_ones_between_are_no_run(named):
    worker = Worker(named=named, dead_limit=10)
    await worker.delivery.handle(records([b"bad", b"a"] * 50))
    assert len(worker.applied) == len(worker.dead) == 50
    with pytest.raises(Fatal, match="in a row"):
        await worker.delivery.handle(records([b"a"] + [b"bad"] * 11, first=100))


async def test_one_senders_wrong_currency_never_stops_the_worker_but_does_not_hide_a_run_either():
    worker = Worker(named=True, dead_limit=10, reason=DeadReason.CURRENCY_MISMATCH)
    await worker.delivery.handle(records([b"bad"] * 50))
    assert len(worker.dead) == 50
    worker.reason = DeadReason.DATA_ERROR
    await worker.delivery.handle(records([b"bad"] * 10, first=50))
    worker.reason = DeadReason.CURRENCY_MISMATCH
    await worker.delivery.handle(records([b"bad"], first=60))
    worker.reason = DeadReason.DATA_ERROR
    with pytest.raises(Fatal, match="in a row"):
        await worker.delivery.handle(records([b"bad"], first=61))


async def test_a_batch_that_comes_again_does_not_count_twice_towards_the_limit():
    worker = Worker(dead_limit=10)
    worker.dead_outages = [BrokerUnavailable("away") for _ in range(25)]
    with pytest.raises(Transient):
        await worker.delivery.handle(records([None] * 8))
    worker.dead_outages = []
    await worker.delivery.handle(records([None] * 8))
    assert len(worker.dead) == 8


async def test_refusing_offsets_alone_is_fatal():
    worker = Worker()
    worker.outages = [asyncpg.CheckViolationError("offset")]
    with pytest.raises(Fatal, match="empty batch"):
        await worker.delivery.handle(records([None]))


async def test_a_silent_database_counts_as_away():
    async def silent(_items, _following):
        await asyncio.Event().wait()

    worker = Worker(Limits(apply_timeout_s=0.01, retry_budget_s=0.2))
    worker.delivery._apply = silent
    with pytest.raises(Transient):
        await worker.delivery.handle(records([b"a"]))


async def test_stopping_ends_a_back_off_at_once():
    async def away(_items, _following):
        delivery.interrupt()
        raise ConnectionResetError

    delivery: BatchDelivery[bytes] = BatchDelivery(
        decode=decode, apply=away, dead_letters=Worker(), limits=Limits(first_backoff_s=60)
    )
    async with asyncio.timeout(1):
        with pytest.raises(Transient, match="stopping"):
            await delivery.handle(records([b"a"]))


def test_limits_that_outlast_the_poll_interval_are_refused():
    with pytest.raises(ValueError, match="max_poll_interval_s"):
        Limits(retry_budget_s=200, apply_timeout_s=100, max_poll_interval_s=300)


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_back_off_doubles_up_to_its_cap_and_jitter_at_most_halves_it(attempt: int, jitter: float):
    limits = Limits()
    full = min(limits.longest_backoff_s, limits.first_backoff_s * 2 ** min(attempt - 1, 30))
    assert full / 2 <= limits.backoff_s(attempt, jitter) <= full


@given(st.lists(st.tuples(st.sampled_from(["sales", "customers"]), st.integers(0, 3), st.integers(0, 9)), min_size=1))
def test_next_offsets_follow_the_last_record_of_each_partition(places):
    batch = [Record(topic, partition, offset, None, b"", [], 0) for topic, partition, offset in places]
    following: Callable[[str, int], int] = lambda t, p: max(o for a, b, o in places if (a, b) == (t, p)) + 1  # noqa: E731
    assert next_offsets(batch) == {(t, p): following(t, p) for t, p, _ in places}
