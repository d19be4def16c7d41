"""What is written to the log, and what never is."""

import json
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.observability.logging import HIDDEN, RateLimit, redact, scrub

SCRIPT = """
import logging
from shared.observability.logging import bind, configure, get_logger, unbind
configure("gateway", {env!r}, "INFO")
log = get_logger("a")
tokens = bind(request_id="r-1", tenant_id="t-1")
log.info("sale accepted", records=3, email="jane@example.com")
unbind(tokens)
logging.getLogger("aiokafka.consumer").warning("lost %s", "node 1")
log.debug("not written")
try:
    raise ValueError("Key (email)=(jane@example.com) exists\\nDETAIL:  Failing row contains (Jane, Main Street 1)")
except ValueError:
    log.exception("failed")
"""


def output(env: str) -> str:
    command = [sys.executable, "-c", SCRIPT.format(env=env)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_production_writes_one_json_object_per_line_with_the_ids_of_the_request():
    lines = [json.loads(line) for line in output("production").splitlines()]
    assert lines[0] | {"timestamp": ""} == {
        "event": "sale accepted",
        "records": 3,
        "email": HIDDEN,
        "request_id": "r-1",
        "tenant_id": "t-1",
        "level": "info",
        "logger": "a",
        "service": "gateway",
        "timestamp": "",
    }
    assert lines[1]["event"] == "lost node 1"
    assert lines[1]["logger"] == "aiokafka.consumer"
    assert "request_id" not in lines[1]
    assert len(lines) == 3


@pytest.mark.parametrize("env", ["production", "development"])
def test_an_exception_is_logged_without_the_row_that_caused_it(env):
    written = output(env)
    assert "ValueError" in written
    assert "jane" not in written
    assert "Main Street" not in written


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "gateway_db_password",
        "access_token",
        "Authorization",
        "api_key",
        "email",
        "e_mail",
        "first_name",
        "name",
        "phone",
        "address",
        "value",
        "body",
    ],
)
def test_a_field_with_a_telling_name_is_hidden_whatever_it_holds(name):
    assert redact(None, "", {"event": "x", name: "Jane"})[name] == HIDDEN
    assert redact(None, "", {"event": "x", "nested": {name: "Jane"}})["nested"][name] == HIDDEN


@pytest.mark.parametrize("name", ["tenant_id", "customer_count", "topic", "file_name", "records", "token_valid"])
def test_a_harmless_field_is_kept(name):
    value = True if name == "token_valid" else "x"
    assert redact(None, "", {"event": "x", name: value})[name] == value


@pytest.mark.parametrize(
    "text",
    [
        "Bearer abc.def-ghi",
        "eyJhbGciOi.eyJzdWIi.c2ln",
        "jane.doe+x@mail.example.com",
        "postgresql+asyncpg://iacrm_rfm:hunter2@localhost/iacrm",
        "1 error [type=x, input_value='Jane', input_type=str]",
        "[SQL: insert]\n[parameters: ('Jane', 'hunter2')]",
    ],
)
def test_credentials_and_contents_are_taken_out_of_texts(text):
    cleaned = scrub(f"before {text} after")
    assert HIDDEN in cleaned
    for secret in ("hunter2", "jane", "Jane", "abc.def", "c2ln"):
        assert secret not in cleaned


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.recursive(
            st.none() | st.text() | st.binary() | st.integers(), lambda inner: st.lists(inner) | st.tuples(inner, inner)
        ),
    )
)
def test_redaction_takes_whatever_it_is_given(event):
    redact(None, "", dict(event))


def test_a_noisy_library_is_held_back_and_the_number_told():
    now = [0.0]
    limit = RateLimit(burst=2, period_s=10, clock=lambda: now[0])

    def passes(name: str = "aiokafka.conn") -> str | None:
        record = logging.LogRecord(name, logging.WARNING, "", 0, "cannot connect to %s", ("node 1",), None)
        return record.getMessage() if limit.filter(record) else None

    assert [passes() for _ in range(100)] == ["cannot connect to node 1"] * 2 + [None] * 98
    assert passes("shared.messaging") == "cannot connect to node 1"
    now[0] = 10.0
    assert passes() == "cannot connect to node 1 (98 more like this in the last 10 s)"
