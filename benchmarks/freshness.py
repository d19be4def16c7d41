"""How long a sale takes from the start of its POST to the worker's commit, beside a bare consumer's own latency.

Real baskets at a steady rate through the REST API.
Run: ./iacrm bench freshness [--runs 3] [--rates 200 1000] [--seconds 20]
"""

import argparse
import asyncio
import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks import baskets, report
from benchmarks.http_load import Answer, pace
from benchmarks.scored import watched
from benchmarks.stack import DEFAULT_YARDSTICK, Stack, open_account, stack, yardstick

JSON = b"Content-Type: application/json\r\n"
WARM_UP = 0.1
"""Share of the sales at the beginning that is left out, as the bare consumer leaves it out."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/freshness.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench freshness", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each; medians are reported")
    parser.add_argument("--rates", type=int, nargs="+", default=[200, 1000], help="sales per second")
    parser.add_argument("--seconds", type=int, default=20, help="length of a run")
    parser.add_argument("--yardstick", type=Path, default=DEFAULT_YARDSTICK, help="the bare consumer to compare with")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.runs, arguments.rates, arguments.seconds, arguments.yardstick))


async def _measure(runs: int, rates: list[int], seconds: int, bare: Path) -> None:
    real = baskets.load(max(rates) * seconds)
    result: dict[str, Any] = {"runs": runs, "seconds": seconds}
    for rate in rates:
        ours: list[dict[str, Any]] = []
        theirs: list[dict[str, Any]] = []
        for _ in range(runs):
            async with stack() as running:
                paced = ("--paced", str(rate), "--seconds", str(seconds))
                theirs.append(await yardstick(running, bare, *paced))
                running.launch("api_gateway")
                running.launch("rfm_worker")
                ours.append(await _paced(running, baskets.bodies(real[: rate * seconds]), rate))
            print(
                f"{rate}/s: POST to commit p50 {ours[-1]['p50_ms']} p99 {ours[-1]['p99_ms']} ms; "
                f"bare p50 {theirs[-1]['p50_ms']} p99 {theirs[-1]['p99_ms']} ms"
            )
        result[f"at_{rate}_per_s"] = _summary(ours, theirs)
    path = report.record("freshness", result)
    print(f"recorded in {path}")


def _summary(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    names = (
        "p50_ms",
        "p99_ms",
        "last_tenth_p99_ms",
        "segment_p50_s",
        "segment_p99_s",
        "gateway_rss_mb",
        "worker_rss_mb",
    )
    medians = {name: report.median([run[name] for run in ours]) for name in names}
    bare = {f"bare_{name}": report.median([run[name] for run in theirs]) for name in ("p50_ms", "p99_ms")}
    ratio = round(medians["p99_ms"] / bare["bare_p99_ms"], 2)
    return {**medians, **bare, "p99_ratio": ratio, "ours": ours, "bare": theirs}


async def _paced(running: Stack, bodies: list[bytes], rate: int) -> dict[str, Any]:
    await running.ready()
    account = await open_account(running)
    async with running.applied("rfm_worker") as applied, watched(running.admin_url) as requests:
        watch = asyncio.create_task(applied.watch())
        answers = await pace(
            running.gateway_port, "/v1/sales", bodies, JSON + account.bearer, per_second=rate, connections=256
        )
        answers.sort(key=lambda answer: answer.began)
        delays = await applied.delays([_position(answer) for answer in answers], [answer.began for answer in answers])
        watch.cancel()
        await requests.rest()
    scored = [seconds for of_tenant in requests.served.values() for seconds in of_tenant]
    return {
        **_percentiles(delays),
        "segment_p50_s": round(report.percentile(scored, 0.5), 3),
        "segment_p99_s": round(report.percentile(scored, 0.99), 3),
        "last_tenth_p99_ms": _ms(report.percentile(delays[-len(delays) // 10 :], 0.99)),
        "accepted_p99_ms": _ms(report.percentile([answer.ended - answer.began for answer in answers], 0.99)),
        "gateway_rss_mb": running.rss_mb("api_gateway"),
        "worker_rss_mb": running.rss_mb("rfm_worker"),
    }


def _position(answer: Answer) -> tuple[int, int]:
    """Partition and offset from the answer's consistency token."""
    if answer.status != 202:
        raise RuntimeError(f"answered {answer.status}: {answer.body[:300]!r}")
    token = answer.headers[b"x-consistency-token"]
    entry = orjson.loads(base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)))[0]
    return entry["p"], entry["o"]


def _percentiles(delays: list[float]) -> dict[str, float]:
    kept = delays[int(len(delays) * WARM_UP) :]
    return {"p50_ms": _ms(report.percentile(kept, 0.5)), "p99_ms": _ms(report.percentile(kept, 0.99))}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
