"""Tokens survive the way to the client and back, and nothing else passes for one."""

import base64
import json

import pytest

from services.api_gateway import consistency_token
from services.api_gateway.consistency import parse_wait
from services.api_gateway.consistency_token import OutboxRange, Position
from services.api_gateway.errors import Problem
from shared.messaging.record import RecordMetadata


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_token_of_records_names_the_last_offset_of_each_partition() -> None:
    token = consistency_token.of_records(
        [RecordMetadata("sales", 1, 7), RecordMetadata("sales", 0, 3), RecordMetadata("sales", 1, 5)]
    )
    assert consistency_token.parse(token) == (Position("sales", 0, 3), Position("sales", 1, 7))


@pytest.mark.parametrize(("ids", "entries"), [([], ()), ([4], (OutboxRange(4, 4),)), ([9, 4, 6], (OutboxRange(4, 9),))])
def test_a_token_of_outbox_entries_spans_them(ids: list[int], entries: tuple[OutboxRange, ...]) -> None:
    assert consistency_token.parse(consistency_token.of_outbox(ids)) == entries


@pytest.mark.parametrize(
    "token",
    [
        "",
        "abc",
        "%%%",
        "é",
        "x" * 5000,
        packed("text"),
        packed({"t": "sales", "p": 0, "o": 1}),
        packed([1]),
        packed([{}]),
        packed([{"t": "sales", "p": 0}]),
        packed([{"t": "sales", "p": 4, "o": 1}]),
        packed([{"t": "sales", "p": -1, "o": 1}]),
        packed([{"t": "sales", "p": 0, "o": 2**63}]),
        packed([{"t": "sales", "p": 0, "o": 1.5}]),
        packed([{"t": "sales", "p": True, "o": 1}]),
        packed([{"t": "elsewhere", "p": 0, "o": 1}]),
        packed([{"t": ["sales"], "p": 0, "o": 1}]),
        packed([{"t": "sales", "p": 0, "o": 1, "z": 1}]),
        packed([{"x": 5, "y": 4}]),
        packed([{"x": 0, "y": 10**9}]),
        packed([{"y": 4}]),
        packed([{"x": 1}] * 65),
    ],
)
def test_what_no_write_answered_is_refused(token: str) -> None:
    with pytest.raises(Problem) as caught:
        consistency_token.parse(token)
    assert caught.value.status_code == 400
    assert caught.value.errors[0]["field"] == "X-Consistency-Token"


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 5),
        ("", 5),
        ("respond-async", 5),
        ("wait=10", 10),
        ("respond-async, Wait = 2", 2),
        ("wait=0.5", 0.5),
        ("wait=0", 0),
        ("wait=99999", 30),
        ('wait="7"; x=1', 7),
    ],
)
def test_a_preference_names_the_seconds_to_wait(prefer: str | None, seconds: float) -> None:
    assert parse_wait(prefer) == seconds


@pytest.mark.parametrize("prefer", ["wait=NaN", "wait=-1", "wait=inf", "wait=", "wait=1e3", "wait=٣"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(prefer: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_wait(prefer)
    assert caught.value.status_code == 400
