"""What commands print: plain lines when piped, the same facts on a terminal."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console as Rich

from cli.console import Console, plain_table
from cli.embedded.kafka_settings import render, server_properties
from cli.logs import Follower
from cli.paths import ROOT
from cli.status import describe
from cli.test import last_line


def test_piped_output_has_no_colours_and_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(terminal=False)
    console.table(("process", "log"), [("kafka", "x" * 300)])
    console.say("[bold]is text[/]")
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "x" * 300 in text
    assert "[bold]is text[/]" in text


def test_a_terminal_gets_the_same_facts() -> None:
    console = Console(terminal=True)
    screen = io.StringIO()
    console._rich_console = Rich(file=screen, force_terminal=True, highlight=False, width=100)
    console.table(("process", "port"), [("kafka", "29092")])
    console.say("[bold]is text[/]")
    console.line("curl " + "x" * 200)
    assert "curl " + "x" * 200 in screen.getvalue()
    assert "29092" in screen.getvalue()
    assert "[bold]is text[/]" in screen.getvalue()


def test_piped_progress_says_every_quarter_once(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(terminal=False)
    for done in range(101):
        console.progress("Loading", done, 100)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" %")[0] for line in lines] == [f"Loading: {part}" for part in (0, 25, 50, 75, 100)]
    assert "a second, " in lines[1]
    assert "s left" in lines[1]


def test_columns_of_a_plain_table_line_up() -> None:
    assert plain_table(("a", "bb"), [("ccc", "d")]) == "a    bb\nccc  d"


def test_nothing_running_is_said_as_data(tmp_path: Path) -> None:
    found = describe(tmp_path)
    assert (found["state"], found["gateway_url"], found["processes"]) == ("not running", None, [])


def test_pytests_last_line_is_rebuilt_from_its_report() -> None:
    report = '<testsuites><testsuite tests="7" failures="1" errors="0" skipped="2" time="3.5"/></testsuites>'
    assert last_line(report) == "=== 1 failed, 4 passed, 2 skipped in 3.50s ==="


def test_following_a_log_survives_its_rotation(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("before\n")
    follower = Follower(log)
    with log.open("a") as file:
        file.write("one\ntw")
    assert list(follower.new_lines()) == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert list(follower.new_lines()) == ["two"]
    log.rename(tmp_path / "kafka.log.1")
    log.write_text("new\n")
    assert list(follower.new_lines()) == ["new"]


def test_the_broker_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    settings = server_properties(29092, 29093, tmp_path)
    for address in settings["listeners"].split(","):
        assert address.split("://")[1].startswith("127.0.0.1:")
    assert "group.coordinator.append.linger.ms=0\n" in render(settings)


TALKS = """
import sys
from cli.console import Console
console = Console({terminal})
sys.stdin.read()
console.heading("one")
console.say("two")
console.progress("three", 1, 4)
console.table(("four",), [("five",)])
console.json({{}})
console.line("six")
console.error("still here")
sys.exit(7)
"""


@pytest.mark.parametrize("terminal", [False, True], ids=["a pipe", "a terminal"])
def test_a_reader_that_leaves_ends_the_output_and_nothing_else(terminal: bool) -> None:
    reads, writes = pty.openpty() if terminal else os.pipe()
    command = [sys.executable, "-c", TALKS.format(terminal=terminal)]
    talker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writes, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(writes)
    os.close(reads)
    _, errors = talker.communicate(timeout=60)
    assert errors.decode().strip() == "still here"
    assert talker.returncode == 7
