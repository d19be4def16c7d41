"""How fast the tables are rebuilt beside the worker, and compared, against the worker's own drain of the same run.

Run: ./iacrm bench rebuild [--sales 155518] [--runs 1]
"""

import argparse
import asyncio
import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psutil

from benchmarks import baskets, report
from benchmarks.feed import fill
from benchmarks.stack import Stack, stack

ALL_SALES = 1_000_000
"""More than there are: The Complete Journey has 155,518 baskets with 1.46 million lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/rebuild.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench rebuild", description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="runs of each; medians are reported")
    parser.add_argument("--sales", type=int, default=ALL_SALES, help="baskets in the topic; else all of them")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.runs, arguments.sales))


async def _measure(runs: int, sales: int) -> None:
    real = baskets.load(sales)
    lines = sum(len(basket["lines"]) for basket in real)
    measured: list[dict[str, Any]] = []
    for _ in range(runs):
        async with stack() as running:
            measured.append(await _one(running, real))
        print(json.dumps(measured[-1]))
    result: dict[str, Any] = {"runs": runs, "sales": len(real), "lines": lines}
    for name in measured[0]:
        seconds = report.median([run[name] for run in measured])
        result[name] = seconds
        if name in ("drain_s", "from_topics_s", "from_ledger_s", "verify_s"):
            result[f"{name.removesuffix('_s')}_lines_per_s"] = round(lines / seconds)
    path = report.record("rebuild", {**result, "measured": measured})
    print(
        f"{lines:,} lines: drained in {result['drain_s']:.1f} s, rebuilt from the topics in "
        f"{result['from_topics_s']:.1f} s, from the ledger in {result['from_ledger_s']:.1f} s, verified in "
        f"{result['verify_s']:.1f} s; recorded in {path}"
    )


async def _one(running: Stack, real: list[dict[str, Any]]) -> dict[str, float]:
    """Drains, rebuilds from each source beside the idle worker, and verifies; seconds of each, processes included.

    Beside each the processor time of all processes: on a machine that is shared it says more than the clock.
    """
    await fill(running, real)
    found: dict[str, float] = {}
    with _timed(found, "drain"):
        running.launch("rfm_worker")
        async with running.applied("rfm_worker") as applied:
            await applied.until(len(real))
    for source in ("topics", "ledger"):
        with _timed(found, f"from_{source}"):
            answer = json.loads(await _command(running, "rebuild", "rfm", "--from", source, "--json"))
        found[f"from_{source}_waiting_s"] = answer["waiting_s"]
    with _timed(found, "verify"):
        await _command(running, "verify")
    return found


@contextlib.contextmanager
def _timed(found: dict[str, float], name: str) -> Iterator[None]:
    began, used = time.perf_counter(), _processor_s()
    yield
    found[f"{name}_s"] = round(time.perf_counter() - began, 2)
    found[f"{name}_cpu_s"] = round(_processor_s() - used, 2)


def _processor_s() -> float:
    """What every process under this one has used, those that ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


async def _command(running: Stack, *arguments: str) -> bytes:
    environment = {
        **running.environment("rfm_worker"),
        "IACRM_ADMIN_DATABASE_URL": running.admin_url.replace("postgresql://", "postgresql+asyncpg://"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {output.decode()}")
    return output
