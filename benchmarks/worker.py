"""How fast the worker drains waiting sales, as a share of a bare consumer's rate in the same run.

Run: ./iacrm bench worker [--runs 3] [--sales 20000] [--yardstick FILE]
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import baskets, report
from benchmarks.feed import fill
from benchmarks.stack import DEFAULT_YARDSTICK, Stack, stack, yardstick


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/worker.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench worker", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each; medians are reported")
    parser.add_argument("--sales", type=int, default=20_000, help="waiting baskets")
    parser.add_argument("--yardstick", type=Path, default=DEFAULT_YARDSTICK, help="the bare consumer to compare with")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.runs, arguments.sales, arguments.yardstick))


async def _measure(runs: int, sales: int, bare: Path) -> None:
    real = baskets.load(sales)
    lines = sum(len(basket["lines"]) for basket in real)
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for _ in range(runs):
        async with stack() as running:
            theirs.append(await yardstick(running, bare, "--sales", str(sales)))
            ours.append(await _drain(running, real, lines))
        print(f"worker {ours[-1]['lines_per_s']} lines/s, bare consumer {theirs[-1]['lines_per_s']} lines/s")
    rate = report.median([run["lines_per_s"] for run in ours])
    bare_rate = report.median([run["lines_per_s"] for run in theirs])
    result = {
        "runs": runs,
        "sales": sales,
        "lines": lines,
        "worker_lines_per_s": rate,
        "bare_lines_per_s": bare_rate,
        "ratio": round(rate / bare_rate, 3),
        "ratios": [round(a["lines_per_s"] / b["lines_per_s"], 3) for a, b in zip(ours, theirs, strict=True)],
        "worker_rss_mb": report.median([run["rss_mb"] for run in ours]),
        "worker": ours,
        "bare": theirs,
    }
    path = report.record("worker", result)
    print(f"{result['ratio']:.2f} of the bare consumer, worker memory {result['worker_rss_mb']} MB; recorded in {path}")


async def _drain(running: Stack, real: list[dict[str, Any]], lines: int) -> dict[str, Any]:
    """Fills the topic, then starts the worker and waits until all is applied.

    The clock starts at the first applied batch, whose sales do not count: starting a process and joining a group are
    not what is measured, as the bare consumer's clock starts with its first batch too.
    """
    await fill(running, real)
    running.launch("rfm_worker")
    async with running.applied("rfm_worker") as applied:
        first, began = await applied.until(1)
        _, ended = await applied.until(len(real))
    seconds = ended - began
    cpu = running.cpu_seconds("rfm_worker")
    result = {
        "seconds": round(seconds, 3),
        "lines_per_s": round(lines * (1 - first / len(real)) / seconds),
        "sales_per_s": round((len(real) - first) / seconds),
        "worker_cpu_us_per_line": round(cpu / lines * 1e6, 1),
        "rss_mb": running.rss_mb("rfm_worker"),
        "measured_at": time.time(),
    }
    running.end("rfm_worker")
    return result
