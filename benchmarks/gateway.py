"""How much of bare FastAPI's speed is left: accepted sales against routes that only parse the same bodies.

Batches of 500 real baskets and single sales with a bearer token, the baseline and the gateway in turn, several runs.
Run: ./iacrm bench gateway [--runs 3] [--batches 40] [--singles 6000]
"""

import argparse
import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from benchmarks import baskets, report
from benchmarks.http_load import saturate
from benchmarks.stack import Account, Stack, noop, open_account, stack

BATCH = 500
JSON = b"Content-Type: application/json\r\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/gateway.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench gateway", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each; medians are reported")
    parser.add_argument("--batches", type=int, default=40, help="batches of 500 baskets in a run")
    parser.add_argument("--singles", type=int, default=6000, help="single sales in a run")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.runs, arguments.batches, arguments.singles))


async def _measure(runs: int, batches: int, singles: int) -> None:
    real = baskets.load(max(batches * BATCH, singles))
    batch_bodies = [orjson.dumps({"sales": real[n * BATCH : (n + 1) * BATCH]}) for n in range(batches)]
    single_bodies = baskets.bodies(real[:singles])
    async with stack("api_gateway") as running, noop() as port:
        account = await open_account(running)
        result: dict[str, Any] = {
            "batch_of_500": await _compare(running, account, port, "/sales/batch", batch_bodies, runs, 4, BATCH),
            "single": await _compare(running, account, port, "/sales", single_bodies, runs, 32, 1),
            "gateway_rss_mb": running.rss_mb("api_gateway"),
        }
    path = report.record("gateway", {"runs": runs, **result})
    for name in ("batch_of_500", "single"):
        print(f"{name}: {result[name]['gateway_per_s']:.0f} sales/s, {result[name]['ratio_raw']:.2f} of bare parsing")
    print(f"gateway memory {result['gateway_rss_mb']} MB; recorded in {path}")


async def _compare(
    running: Stack,
    account: Account,
    noop_port: int,
    path: str,
    bodies: list[bytes],
    runs: int,
    connections: int,
    size: int,
) -> dict[str, Any]:
    """Rates in sales/s of the two baselines and of the gateway, taken in turn."""
    headers = JSON + account.bearer
    targets = {
        "raw": (noop_port, "/raw" + path, JSON),
        "declared": (noop_port, "/declared" + path, JSON),
        "gateway": (running.gateway_port, "/v1" + path, headers),
    }
    rates: dict[str, list[float]] = {name: [] for name in targets}
    for port, target, head in targets.values():  # one small warm-up each
        await saturate(port, target, bodies[: max(2, len(bodies) // 20)], head, connections=connections)
    for _ in range(runs):
        for name, (port, target, head) in targets.items():
            seconds, answers = await saturate(port, target, bodies, head, connections=connections)
            refused = [answer for answer in answers if answer.status != 202]
            if refused:
                raise RuntimeError(f"{name} answered {refused[0].status}: {refused[0].body[:300]!r}")
            rates[name].append(len(bodies) * size / seconds)
    medians = {f"{name}_per_s": report.median(values) for name, values in rates.items()}
    return {
        **medians,
        "ratio_raw": round(medians["gateway_per_s"] / medians["raw_per_s"], 3),
        "ratio_declared": round(medians["gateway_per_s"] / medians["declared_per_s"], 3),
        "connections": connections,
        "rates": {name: [round(value) for value in values] for name, values in rates.items()},
    }
