"""The job `self_check`: a tenant's numbers computed again from its ledger, in a process of its own.

Polars keeps what it once took, so the memory goes with the process; and it can be ended at any moment.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from services.rfm_worker.jobs.job import Context, Outcome
from shared.observability.logging import get_logger

LONGEST_S = 600.0
BEAT_S = 10.0
TOP = Path(__file__).parents[3]
"""Where the packages lie: the child finds them there, wherever this process was started."""

log = get_logger(__name__)


class CheckFailedError(Exception):
    """The check itself did not come to its end."""


async def check_tenant(context: Context, tenant_id: UUID) -> Outcome:
    """The outcome is `passed`, or `differences` with their number.

    Raises:
        CheckFailedError: the process ended without an answer, or took too long.
    """
    answer = await _run_child(context, tenant_id)
    if "error" in answer:
        raise CheckFailedError(answer["error"])
    if answer["differences"]:
        # What differs names customers; `./iacrm verify` shows it to who may see them.
        log.error("self-check found differences", tenant_id=str(tenant_id), **answer)
        return Outcome("differences", answer)
    return Outcome("passed", answer)


async def _run_child(context: Context, tenant_id: UUID) -> dict[str, Any]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.rfm_worker.jobs.check", str(tenant_id),
        str(context.settings.self_check_customers), stdout=asyncio.subprocess.PIPE, cwd=TOP,
    )  # fmt: skip
    beating = asyncio.create_task(_beat(context), name="self-check-beat")
    try:
        async with asyncio.timeout(LONGEST_S):
            written, _ = await child.communicate()
        answer: dict[str, Any] = json.loads(written)
    except (TimeoutError, ValueError) as error:
        # Not chained: a check that takes too long is no outage, though Python calls both a TimeoutError.
        raise CheckFailedError(type(error).__name__) from None
    finally:
        beating.cancel()
        if child.returncode is None:
            child.kill()
            with contextlib.suppress(asyncio.CancelledError):
                await child.wait()
    return answer


async def _beat(context: Context) -> None:
    while True:
        context.check()
        await asyncio.sleep(BEAT_S)
