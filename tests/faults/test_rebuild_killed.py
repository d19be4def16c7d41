"""A rebuild beside a real worker: killed wherever it is, the tables are untouched and the next one does it."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.stack import GATEWAY_PASSWORD, RFM_PASSWORD, ROOT
from tests.support.exactness import assert_exact, assert_told
from tests.support.installation import Installation
from tests.support.processes import KILLED
from tests.support.sales_stream import sales_stream

pytestmark = pytest.mark.faults
POINTS = ["rebuild_opened", "rebuild_filled", "rebuild_locked", "rebuild_swapped"]


async def rebuild(installation: Installation, *arguments: str, fault_point: str = "") -> tuple[int, str]:
    """`./iacrm rebuild rfm --json` with the settings of the installation; its exit code and output."""
    environment = {
        **installation.environment("rfm_worker", {}),
        "IACRM_ADMIN_DATABASE_URL": installation.stack.url(installation.database),
        "IACRM_GATEWAY_DB_PASSWORD": GATEWAY_PASSWORD,
        "IACRM_RFM_DB_PASSWORD": RFM_PASSWORD,
        "IACRM_FAULT_POINT": fault_point,
    }
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-P", "-m", "cli", "rebuild", "rfm", "--json", *arguments], cwd=ROOT,
        env=environment, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


async def everything(installation: Installation) -> dict[str, Any]:
    """What a killed rebuild must not have touched."""
    found = {}
    for table in ("sale", "customer", "customer_product", "day", "cutoffs", "segment_change", "outbox"):
        (row,) = await installation.query(
            f"select count(*), md5(string_agg(x::text, '|' order by x)) from rfm.{table} x"
        )
        found[table] = tuple(row)
    return found


@pytest.mark.timeout(400)
async def test_killed_anywhere_it_changes_nothing_and_the_next_one_works(installation: Installation) -> None:
    facts = sales_stream(seed=21, events=1500)
    worker = installation.worker()
    await installation.produce(facts)
    await installation.all_applied()
    told = await assert_told(installation)
    await worker.stop()
    before = await everything(installation)
    for point in POINTS:
        code, output = await rebuild(installation, fault_point=point)
        assert code == KILLED, output
        assert await everything(installation) == before
    code, output = await rebuild(installation)
    assert code == 0, output
    answer = json.loads(output)
    assert (answer["source"], answer["segment_changes"]) == ("topics", 0)
    successor = installation.worker()
    await assert_exact(installation, facts)
    assert await assert_told(installation) == told
    await successor.stop()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("source", ["topics", "ledger"])
async def test_a_worker_that_writes_all_the_time_loses_nothing(installation: Installation, source: str) -> None:
    facts = sales_stream(seed=22, events=6000)
    worker = installation.worker()
    producing = asyncio.create_task(installation.produce(facts, per_second=400), name="produce")
    await asyncio.sleep(3)
    for _ in range(2):
        code, output = await rebuild(installation, "--from", source)
        assert code == 0, output
    await producing
    await installation.all_applied()
    await assert_exact(installation, facts)
    await assert_told(installation)
    code, output = await rebuild(installation, "--from", "topics", "--tenant", str(installation.tenant_id))
    assert code == 0, output
    await assert_exact(installation, facts)
    await worker.stop()


async def test_an_id_that_no_tenant_has(installation: Installation) -> None:
    for written, sentence in (("nonsense", "is not the id of a tenant"), (str(installation.tenant_id), "no tenant")):
        code, output = await rebuild(installation, "--tenant", written)
        assert code == 2
        assert sentence in output
        assert "Traceback" not in output
