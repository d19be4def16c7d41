"""Dead letters can be looked at and sent again, each once."""

from datetime import UTC, datetime

from shared.messaging import replay
from shared.messaging.dead_letters import Dead, DeadLetterWriter
from shared.messaging.errors import DeadReason
from shared.messaging.record import Record
from shared.messaging.replay import DeadLetters
from tests.integration.messaging.conftest import read

REASONS = [DeadReason.DATA_ERROR, DeadReason.INVALID_PAYLOAD, DeadReason.DATA_ERROR, DeadReason.UNKNOWN_TYPE]


async def bury(producer, count: int = 4) -> None:
    writer = DeadLetterWriter(producer, "rfm_worker", lambda: datetime(2026, 11, 24, tzinfo=UTC))
    dead = [
        Dead(Record("sales", n % 4, n, b"key%d" % n, b"value%d" % n, [("ce_id", b"%d" % n)], 0), REASONS[n % 4], "why")
        for n in range(count)
    ]
    await writer.write(dead)


async def test_they_go_back_to_their_topic_as_they_first_came_and_only_once(stack, topic_prefix, producer):
    await bury(producer)
    letters = DeadLetters(stack.kafka_bootstrap, "sales", prefix=topic_prefix)
    assert await letters.replay(producer) == 4
    assert await letters.replay(producer) == 0
    records = await read(stack.kafka_bootstrap, f"{topic_prefix}sales", 4)
    assert sorted((r.key, r.value, tuple(r.headers)) for r in records) == [
        (b"key%d" % n, b"value%d" % n, (("ce_id", b"%d" % n),)) for n in range(4)
    ]


async def test_replaying_one_reason_leaves_the_others_waiting(stack, topic_prefix, producer):
    await bury(producer)
    letters = DeadLetters(stack.kafka_bootstrap, "sales", prefix=topic_prefix)
    assert await letters.replay(producer, [DeadReason.DATA_ERROR]) == 2
    assert [letter.reason for letter in await letters.waiting()] == [
        DeadReason.INVALID_PAYLOAD,
        DeadReason.UNKNOWN_TYPE,
    ]
    assert await letters.replay(producer) == 2


async def test_what_was_too_large_to_be_kept_is_shown_and_passed_over(stack, topic_prefix, producer):
    large = Record("sales", 0, 7, b"key", b"x" * 3_000_000, [("ce_id", b"7")], 0)
    await DeadLetterWriter(producer, "rfm_worker").write([Dead(large, DeadReason.UNDECODABLE, "why")])
    await bury(producer, 1)
    letters = DeadLetters(stack.kafka_bootstrap, "sales", prefix=topic_prefix)
    assert [letter.complete for letter in await letters.waiting()] == [False, True]
    assert await letters.replay(producer) == 1
    assert [letter.about["offset"] for letter in await letters.waiting()] == ["7"]


async def test_a_limit_leaves_the_rest_for_the_next_time(stack, topic_prefix, producer):
    await bury(producer)
    letters = DeadLetters(stack.kafka_bootstrap, "sales", prefix=topic_prefix)
    assert await letters.replay(producer, limit=3) == 3
    assert [letter.message.key for letter in await letters.waiting()] == [b"key3"]


async def test_the_command_lists_without_contents_and_replays(stack, topic_prefix, producer, monkeypatch, capsys):
    monkeypatch.setenv("IACRM_KAFKA_BOOTSTRAP", stack.kafka_bootstrap)
    monkeypatch.setenv("IACRM_TOPIC_PREFIX", topic_prefix)
    monkeypatch.setattr(replay, "configure", lambda *_: None)
    await bury(producer)
    assert await replay.main(["sales", "--list", "--reason", "data_error"]) == 0
    listed = capsys.readouterr().out
    assert "data_error\tsales-2@2\twhy" in listed
    assert listed.endswith("2 dead letters of sales wait for a replay\n")
    assert "value" not in listed
    assert await replay.main(["sales", "--dry-run"]) == 0
    assert await replay.main(["sales"]) == 0
    assert capsys.readouterr().out.endswith("4 dead letters of sales were replayed\n")


async def test_without_a_broker_it_says_so_and_ends(monkeypatch, capsys):
    monkeypatch.setenv("IACRM_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    for arguments in (["sales", "--list"], ["sales"]):
        assert await replay.main(arguments) == 1
        assert "run it again" in capsys.readouterr().out
