"""What docs/sending-sales.md, docs/time-travel.md and README.md tell people to paste works word for word."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiokafka
import pytest

from tests.e2e.installation import TOKEN, Installation, expect
from tests.e2e.pages import IACRM, bash, blocks_of, json_values, program
from tests.stack import ROOT

PAGE = ROOT / "docs" / "sending-sales.md"
# The two programs of the last block that a machine may lack; kcat's stand-in knows the options that the page uses.
UUIDGEN = """#!PYTHON
import uuid
print(uuid.uuid4())
"""
KCAT = """#!PYTHON
import argparse, asyncio, os, sys
from aiokafka import AIOKafkaProducer
parser = argparse.ArgumentParser()
parser.add_argument("-P", action="store_true", required=True)
for option in ("-b", "-t", "-K"):
    parser.add_argument(option, required=True)
parser.add_argument("-X", action="append")
parser.add_argument("-H", action="append")
given = parser.parse_args()
async def main():
    async with AIOKafkaProducer(bootstrap_servers=given.b, **dict(x.split("=") for x in given.X)) as producer:
        for line in sys.stdin:
            key, _, value = line.rstrip("\\n").partition(given.K)
            headers = [(name, text.encode()) for name, _, text in (h.partition("=") for h in given.H)]
            topic = os.environ["TOPIC_PREFIX"] + given.t
            await producer.send_and_wait(topic, value.encode(), key=key.encode(), headers=headers)
asyncio.run(main())
"""


@dataclass(frozen=True)
class QuickStart:
    """The page after its blocks of shell have run: the JSON that each printed, and the variables they set."""

    printed: list[list[Any]]
    variables: dict[str, str]


def blocks(language: str, page: Path = PAGE) -> list[str]:
    """A page's blocks in one language."""
    return blocks_of(page, language)


@pytest.fixture(scope="module")
async def quick_start(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> QuickStart:
    """Runs the page's blocks of shell, all but the last, in one shell."""
    folder = tmp_path_factory.mktemp("quickstart")
    admin = await installation.admin()
    # The page's own name must be free, whoever took it in this run from an example of the OpenAPI document.
    await admin.execute("update gateway.user_account set username = user_id::text where username = 'ana'")
    await admin.close()
    address = installation.stack.kafka_bootstrap
    program(folder, "iacrm", IACRM.replace("BASE", installation.base_url).replace("KAFKA", address))
    marker = "@@@ next block @@@"
    script = f"\necho '{marker}'\n".join(blocks("sh")[:-1])
    script += (
        f"\necho '{marker}'\n"
        'python3 -c \'import json,sys; print(json.dumps(sys.argv[1:]))\' "$BASE" "$KEY" "$TENANT" "$KAFKA"'
    )
    *printed, variables = (json_values(part) for part in (await bash(script, folder)).split(marker))
    return QuickStart(printed, dict(zip(("BASE", "KEY", "TENANT", "KAFKA"), variables[0], strict=True)))


def test_the_page_has_the_blocks_that_are_tested_here() -> None:
    shell, python = blocks("sh"), blocks("python")
    assert (len(shell), len(python)) == (9, 2)
    assert "./iacrm up --detach" in shell[0]
    assert "kcat" in shell[-1]


def test_the_shell_blocks_register_sell_return_cancel_and_send_a_batch(quick_start: QuickStart) -> None:
    registered, sold, asked, undone, before, key, batch, handed_on = quick_start.printed
    assert registered[0]["name"] == "Corner Shop"
    customer, distribution = sold
    assert (customer["customer_code"], customer["rfm"]["frequency"]) == ("C-1042", 1)
    assert customer["rfm"]["monetary"] == "74.80"
    assert distribution["customers"] == 1
    (what_if,) = asked
    assert (what_if["customers"], [each["customers"] for each in what_if["after"] if each["customers"]]) == (1, [1])
    (then,) = before
    assert (then["rfm"]["reference_date"], then["rfm"]["frequency"], then["rfm"]["monetary"]) == (
        "2026-11-20",
        1,
        "74.80",
    )
    assert [answer["sale_id"] for answer in undone] == ["T7-2026-001", "T7-2026-001"]
    assert all(answer["event_id"] for answer in undone)
    assert key == handed_on == []
    (result,) = batch
    assert result["accepted"] == 1
    assert [bad["index"] for bad in result["rejected"]] == [1]
    assert result["rejected"][0]["errors"][0]["field"] == "lines.0.quantity"


@pytest.mark.parametrize(("page", "answers"), [("README.md", 3), ("docs/time-travel.md", 4)])
async def test_the_questions_about_the_past_and_other_settings_are_answered(
    quick_start: QuickStart, tmp_path: Path, page: str, answers: int
) -> None:
    script = "\n".join(code for code in blocks("sh", ROOT / page) if "$BASE" in code)
    printed = json_values(await bash(script, tmp_path, **quick_start.variables))
    assert len(printed) == answers
    assert [answer for answer in printed if "status" in answer] == []
    assert [side for side in ("before", "after", "moves") if side not in printed[-1]] == []


async def test_the_python_block_sends_a_sale_and_reads_the_customer(
    installation: Installation, quick_start: QuickStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in quick_start.variables.items():
        monkeypatch.setenv(name, value)
    names: dict[str, Any] = {}
    await asyncio.to_thread(exec, compile(blocks("python")[0], str(PAGE), "exec"), names)
    assert names["customer"]["customer_code"] == "C-1042"
    key = {"X-API-Key": names["KEY"], TOKEN: names["token"], "Prefer": "wait=30"}
    sale = expect(await installation.http.get("/v1/sales/T7-2026-004", headers=key), 200)
    assert sale["net"] == "39.90"


async def test_the_ways_straight_to_kafka_bring_a_sale_to_the_ledger(
    installation: Installation, quick_start: QuickStart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"X-API-Key": quick_start.variables["KEY"]}
    tenant_id = expect(await installation.http.get("/v1/tenants/current", headers=key), 200)["tenant_id"]
    assert quick_start.variables["TENANT"] == tenant_id
    prefix = installation.prefix

    class PrefixedProducer(aiokafka.AIOKafkaProducer):  # type: ignore[misc]
        """The page's producer on an installation that has a topic prefix."""

        async def send_and_wait(self, topic: str, *args: Any, **kwargs: Any) -> Any:
            return await super().send_and_wait(prefix + topic, *args, **kwargs)

    monkeypatch.setattr(aiokafka, "AIOKafkaProducer", PrefixedProducer)
    for name, value in quick_start.variables.items():
        monkeypatch.setenv(name, value)
    await asyncio.to_thread(exec, compile(blocks("python")[1], str(PAGE), "exec"), {})

    for name, text in (("kcat", KCAT), ("uuidgen", UUIDGEN)):
        program(tmp_path, name, text.replace("PYTHON", sys.executable))
    await bash(blocks("sh")[-1], tmp_path, TOPIC_PREFIX=prefix, **quick_start.variables)

    await installation.all_applied()
    for sale_id in ("T7-2026-006", "T7-2026-005"):
        found = expect(await installation.http.get(f"/v1/sales/{sale_id}", headers=key), 200)
        assert found["net"] == "39.90"
