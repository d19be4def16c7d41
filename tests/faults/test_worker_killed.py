"""A worker that dies by SIGKILL, wherever it is, loses nothing and counts nothing twice."""

import asyncio
import random

import pytest

from tests.support.exactness import assert_exact, assert_told
from tests.support.installation import Installation
from tests.support.processes import KILLED
from tests.support.sales_stream import sales_stream
from tests.support.waiting import until

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    ("point", "database_has_it"),
    [("after_stage", False), ("before_commit", False), ("after_commit", True), ("before_offset_commit", True)],
)
async def test_death_at_a_named_point_neither_loses_nor_repeats(
    installation: Installation, point: str, database_has_it: bool
) -> None:
    facts = sales_stream(seed=11, events=900)
    await installation.produce(facts)
    doomed = installation.worker(fault_point=point)
    assert await doomed.ended(40) == KILLED, doomed.tail()
    assert bool(await installation.applied_sales()) is database_has_it
    assert await installation.committed_sales() == 0

    successor = installation.worker()
    await installation.all_applied()
    await until(lambda: _committed_all(installation), seconds=10, what="the successor commits the offsets")
    await assert_exact(installation, facts)
    await successor.stop()


@pytest.mark.timeout(150)
async def test_death_at_random_moments_of_fifty_thousand_events(installation: Installation) -> None:
    facts = sales_stream(seed=12, events=50_000)
    chance = random.Random(13)
    producing = asyncio.create_task(installation.produce(facts), name="produce")
    for share in (0.03, 0.2, 0.4, 0.6, 0.8):
        worker = installation.worker()
        goal = int(len(facts) * share)
        await _until_applied(installation, goal)
        # Somewhere inside the batch that is under way now.
        await asyncio.sleep(chance.uniform(0, 0.1))
        worker.kill()
    await producing
    last = installation.worker()
    await installation.all_applied()
    await assert_exact(installation, facts)
    await assert_told(installation)
    await last.stop()


async def _until_applied(installation: Installation, goal: int) -> None:
    async def reached() -> bool:
        return await installation.applied_sales() >= goal

    await until(reached, seconds=60, what=f"{goal} events are applied")


async def _committed_all(installation: Installation) -> bool:
    return await installation.committed_sales() == sum(installation.produced.values())
