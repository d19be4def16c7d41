"""Workers that come and go while events flow share the partitions and still give the exact answer."""

import asyncio

import pytest

from tests.support.exactness import assert_exact, assert_told
from tests.support.installation import Installation
from tests.support.processes import Process
from tests.support.sales_stream import sales_stream
from tests.support.waiting import until

pytestmark = pytest.mark.faults
TAKEN_RECORDS = 100
"""Records after which a worker has truly taken part."""


async def test_workers_join_and_leave_while_events_flow(installation: Installation) -> None:
    facts = sales_stream(seed=21, events=30_000)
    first = installation.worker()
    await first.ready()
    producing = asyncio.create_task(installation.produce(facts, per_second=2_000), name="produce")

    second = installation.worker()
    await _takes_part(second)
    second.kill()

    third = installation.worker()
    await _takes_part(third)
    assert not producing.done(), "the events ended before the workers changed: the test shows nothing"
    await third.stop()

    # Whoever was there from the start leaves last, without a goodbye, and a newcomer inherits everything.
    fourth = installation.worker()
    await _takes_part(fourth)
    first.kill()
    await producing
    await installation.all_applied()
    await assert_exact(installation, facts)
    await assert_told(installation)
    await fourth.stop()


async def _takes_part(worker: Process) -> None:
    await worker.ready()

    async def applied() -> bool:
        return await worker.metric("iacrm_applied_total") >= TAKEN_RECORDS

    await until(applied, seconds=30, what="the new worker applies events")
