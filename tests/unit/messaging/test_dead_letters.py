"""A dead letter is its original and says where it came from, and nothing of what it holds."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.dead_letters import LARGEST_KEPT, LONGEST_DETAIL, Dead, dead_message, original_headers
from shared.messaging.errors import DeadReason
from shared.messaging.outbox import pack_headers, unpack_headers
from shared.messaging.record import Record

TOO_MUCH = DeadReason.UNDECODABLE
AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
names = st.text(min_size=1, max_size=20).filter(lambda name: not name.startswith("dead_"))
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=30)), max_size=8)


@given(key=st.none() | st.binary(max_size=20), value=st.none() | st.binary(max_size=50), headers=headers)
def test_key_value_and_headers_come_back_whatever_they_hold(key, value, headers):
    message = dead_message(Dead(Record("sales", 3, 42, key, value, headers, 0), DeadReason.UNDECODABLE, "x"), "rfm", AT)
    assert message.topic == "sales.dead"
    assert message.key == key
    assert message.value == (b"" if key is None and value is None else value)
    assert original_headers(message.headers) == headers


def test_the_origin_and_the_reason_are_in_the_headers():
    record = Record("sales", 3, 42, b"k", b"secret", [("ce_id", b"1")], 0)
    message = dead_message(Dead(record, DeadReason.INVALID_PAYLOAD, "lines.0.amount: finite_number"), "rfm_worker", AT)
    assert dict(message.headers) == {
        "ce_id": b"1",
        "dead_reason": b"invalid_payload",
        "dead_detail": b"lines.0.amount: finite_number",
        "dead_topic": b"sales",
        "dead_partition": b"3",
        "dead_offset": b"42",
        "dead_service": b"rfm_worker",
        "dead_at": b"2026-11-24T03:00:00+00:00",
    }


def test_a_replayed_record_that_dies_again_does_not_gather_headers():
    first = dead_message(Dead(Record("sales", 0, 1, b"k", b"v", [], 0), DeadReason.DATA_ERROR, ""), "rfm", AT)
    again = Record("sales", 0, 9, b"k", b"v", first.headers, 0)
    second = dead_message(Dead(again, DeadReason.DATA_ERROR, ""), "rfm", AT)
    assert [name for name, _ in second.headers].count("dead_reason") == 1
    assert dict(second.headers)["dead_offset"] == b"9"


def test_a_detail_is_cut_so_that_the_dead_letter_fits():
    message = dead_message(Dead(Record("sales", 0, 1, b"k", b"v", [], 0), DeadReason.DATA_ERROR, "x" * 9999), "rfm", AT)
    assert len(dict(message.headers)["dead_detail"] or b"") == LONGEST_DETAIL


def test_of_a_record_too_large_for_a_dead_letter_the_origin_is_kept():
    headers = [(f"h{n}", b"x") for n in range(1000)]
    whole = dead_message(
        Dead(Record("sales", 0, 1, b"k", b"v" * (LARGEST_KEPT // 2), headers, 0), TOO_MUCH, ""), "r", AT
    )
    assert whole.value == b"v" * (LARGEST_KEPT // 2)
    cut = dead_message(Dead(Record("sales", 3, 42, b"k", b"v" * LARGEST_KEPT, headers, 0), TOO_MUCH, ""), "rfm", AT)
    kept = dict(cut.headers)
    assert (cut.key, cut.value, original_headers(cut.headers)) == (None, b"", [])
    assert (kept["dead_topic"], kept["dead_partition"], kept["dead_offset"]) == (b"sales", b"3", b"42")
    assert int(kept["dead_size"] or b"0") > LARGEST_KEPT


@given(st.lists(st.tuples(st.text(max_size=20), st.none() | st.text(max_size=20).map(str.encode)), max_size=8))
def test_outbox_headers_keep_their_order_and_repetitions(headers):
    assert unpack_headers(pack_headers(headers)) == headers
