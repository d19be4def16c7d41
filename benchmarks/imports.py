"""How fast a file gets into Kafka: real purchases (The Complete Journey) as flat CSV and as Parquet, through REST.

The lines are shuffled, so that those of one sale lie anywhere. The clock runs from the start of the upload to the end
of the import. No worker runs beside it: the figure is that of gateway, importer, Kafka and PostgreSQL on one machine.
Run: ./iacrm bench imports [--runs 3] [--copies 1] [--formats csv parquet]; --copies 10 makes a CSV file of 1 GB
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import psutil

from benchmarks import report
from benchmarks.baskets import data_folder
from benchmarks.stack import Account, Stack, open_account, stack
from cli.paths import data_folder as stack_folder

POLL_S = 0.1
LIMIT_S = 900.0
STEPS = 10_000
FORMATS = ("csv", "parquet")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, prints a summary and records `results/imports.json`."""
    parser = argparse.ArgumentParser(prog="./iacrm bench imports", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each; medians are reported")
    parser.add_argument("--copies", type=int, default=1, help="times that the purchases stand in the file")
    parser.add_argument("--formats", choices=FORMATS, nargs="+", default=FORMATS, help="formats to measure")
    parser.add_argument("--name", default="imports", help="of the recorded result")
    arguments = parser.parse_args(argv)
    asyncio.run(_measure(arguments.runs, arguments.copies, arguments.formats, arguments.name))


def purchases() -> pl.DataFrame:
    """Purchase lines as a till's export has them, shuffled; amounts are exact."""
    table = pl.read_parquet(data_folder() / "transactions.parquet").filter(pl.col("quantity") > 0)
    quantity = pl.col("quantity")
    paid = (pl.col("sales_value") * STEPS).round().cast(pl.Int64)
    price = (paid + quantity - 1) // quantity
    flat = table.select(
        "basket_id", "household_id", "transaction_timestamp", "product_id", "quantity", unit_price=_decimal(price),
        discount=_decimal(price * quantity - paid), sales_value=_decimal(paid),
    )  # fmt: skip
    return flat.sample(fraction=1, shuffle=True, seed=1)


def _decimal(steps: pl.Expr) -> pl.Expr:
    return pl.format("{}.{}", steps // STEPS, (steps % STEPS).cast(pl.String).str.pad_start(4, "0"))


def write(table: pl.DataFrame, file: Path, copies: int) -> None:
    """Writes the purchases some times over, under other sale ids each time."""
    if file.suffix == ".parquet":
        parts = [table.with_columns(pl.format("{}-{}", "basket_id", pl.lit(copy))) for copy in range(copies)]
        (table if copies == 1 else pl.concat(parts)).write_parquet(file)
        return
    text = table.with_columns(pl.col("transaction_timestamp").dt.strftime("%Y-%m-%d %H:%M:%S"))
    with file.open("wb") as target:
        for copy in range(copies):
            ids = pl.format("{}-{}", "basket_id", pl.lit(copy)).alias("basket_id")
            text.with_columns(ids).write_csv(target, include_header=copy == 0)


async def _measure(runs: int, copies: int, formats: Sequence[str], name: str) -> None:
    table = purchases()
    sales = table["basket_id"].n_unique()
    result: dict[str, Any] = {"runs": runs, "lines": table.height * copies, "sales": sales * copies}
    with tempfile.TemporaryDirectory(prefix="bench-import-", dir=stack_folder()) as folder:
        files = {format_: Path(folder) / f"sales.{format_}" for format_ in formats}
        for file in files.values():
            write(table, file, copies)
        del table
        for format_ in formats:
            taken = []
            for _ in range(runs):
                async with stack("api_gateway", "importer") as running:
                    taken.append(await _import(running, files[format_]))
                print(f"{format_}: {taken[-1]['lines_per_s']} lines/s, importer {taken[-1]['importer_peak_mb']} MB")
            result[format_] = _summary(taken)
    path = report.record(name, result)
    print(f"recorded in {path}")


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("lines_per_s", "seconds", "upload_s", "importer_cpu_s", "importer_peak_mb", "gateway_peak_mb", "file_mb")
    return {**{name: report.median([run[name] for run in runs]) for name in names}, "all": runs}


async def _import(running: Stack, file: Path) -> dict[str, Any]:
    account = await open_account(running)
    peaks = {"importer": 0, "api_gateway": 0}
    watch = asyncio.create_task(_watch(running, peaks))
    began = time.perf_counter()
    done, uploaded = await _upload_and_wait(running, account, file)
    seconds = time.perf_counter() - began
    watch.cancel()
    if done["state"] != "completed":
        raise RuntimeError(f"the import ended as {done['state']}: {done['reason']}")
    return {
        "file_mb": round(file.stat().st_size / 2**20, 1),
        "upload_s": round(uploaded - began, 2),
        "seconds": round(seconds, 2),
        "lines_per_s": round(done["counts"]["rows"] / seconds),
        "sales_per_s": round(done["counts"]["records"] / seconds),
        "rejected": done["counts"]["rows_rejected"],
        "importer_cpu_s": round(running.cpu_seconds("importer"), 1),
        "gateway_cpu_s": round(running.cpu_seconds("api_gateway"), 1),
        "importer_peak_mb": peaks["importer"],
        "gateway_peak_mb": peaks["api_gateway"],
    }


async def _upload_and_wait(running: Stack, account: Account, file: Path) -> tuple[dict[str, Any], float]:
    bearer = account.bearer.decode().strip().partition(": ")[2]
    base = f"http://127.0.0.1:{running.gateway_port}/v1"
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": bearer}, timeout=300) as client:
        with file.open("rb") as content:
            answer = await client.post(
                "/imports", data={"kind": "sales", "timezone": "UTC"}, files={"file": (file.name, content)}
            )
        answer.raise_for_status()
        uploaded = time.perf_counter()
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            found = (await client.get(f"/imports/{answer.json()['import_id']}")).json()
            if found["state"] in ("completed", "failed", "cancelled"):
                return dict(found), uploaded
            await asyncio.sleep(POLL_S)
    raise RuntimeError("the import does not end")


async def _watch(running: Stack, peaks: dict[str, int]) -> None:
    """The most resident memory that each process was seen with."""
    while True:
        for service, peak in peaks.items():
            rss = psutil.Process(running.processes[service].pid).memory_info().rss
            peaks[service] = max(peak, round(rss / 2**20))
        await asyncio.sleep(POLL_S)
