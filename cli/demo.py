"""`./iacrm demo`: real purchases through the REST API, and what comes out of them."""

import asyncio
import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from cli import demo_show as show
from cli import up
from cli.console import Console
from cli.demo_client import Account, Client
from cli.demo_data import Slice, load
from cli.demo_error import DemoError
from cli.files import write_atomically
from cli.paths import data_folder
from cli.status import describe
from cli.supervisor.stack import Stack

HALF_A_YEAR = timedelta(days=182)
OTHER_BOUNDS = {
    "method": "fixed",
    "bounds": {
        "recency_days": [7, 30, 90, 180],
        "frequency": [5, 20, 50, 100],
        "monetary": ["100", "500", "1500", "4000"],
    },
}


def run(*, lines: int | None, leave: bool, port: int | None, console: Console | None = None) -> int:
    """Shows the demo, on a stack of its own or on the one that runs already.

    Args:
        lines: purchase lines to load, None for all.
        leave: end after the show instead of serving on.
        port: port of the gateway to insist on.
        console: who shows it; else standard output.

    Returns:
        Exit code: 0 shown, 1 failed, 130 interrupted before the end.
    """
    data, console = data_folder(), console or Console()
    running = describe(data)
    if running["state"] == "running":
        return _on_running(console, running["gateway_url"], data, lines)

    async def show_off(stack: Stack, console: Console) -> None:
        await _Demo(console, stack.gateway_url, data).show(lines)
        if not leave:
            console.line("\nServing until Ctrl-C.")

    return up.run(port, show_off, leave=leave, console=console)


def _on_running(console: Console, url: str, data: Path, lines: int | None) -> int:
    console.say(f"Using the stack that runs at {url}; it stays up")
    try:
        asyncio.run(_Demo(console, url, data).show(lines))
    except DemoError as problem:
        console.error(str(problem))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class _Demo:
    def __init__(self, console: Console, url: str, data: Path) -> None:
        self._console = console
        self._url = url
        self._data = data

    async def show(self, lines: int | None) -> None:
        """Account, data, results, one live sale, an earlier day, other bounds, addresses."""
        async with Client(self._url) as client:
            account = await client.open_account(self._data)
            token = await self._fill(client, lines)
            distribution = await client.get("/v1/rfm/distribution", token)
            show.segments(self._console, distribution)
            show.cutoffs(self._console, await client.get("/v1/rfm/cutoffs"))
            await self._show_one(client, "A champion", "champions")
            at_risk = await self._show_one(client, "At risk", "at_risk", "cannot_lose", "hibernating")
            if at_risk is not None:
                await self._sell(client, at_risk, distribution["reference_date"])
            then = date.fromisoformat(distribution["reference_date"]) - HALF_A_YEAR
            show.past(self._console, await client.get("/v1/rfm/distribution", as_of=str(then)), distribution)
            show.what_if(self._console, await client.ask("/v1/rfm/what-if", OTHER_BOUNDS))
        self._addresses(account)

    async def _fill(self, client: Client, lines: int | None) -> str | None:
        """Loads what is missing; answers the token of the last write, None when nothing was missing."""
        marker = _Marker(self._data / "demo.json")
        if marker.covers(lines):
            self._console.say("The demo data are loaded already (./iacrm reset starts anew)")
            return None
        self._console.say("Reading The Complete Journey")
        data = await asyncio.to_thread(load, lines)
        tokens = await self._upload(client, data)
        token = await self._applied(client, tokens)
        marker.write(lines)
        return token

    async def _upload(self, client: Client, data: Slice) -> list[str]:
        steps = (
            ("Products", data.product_uploads(), data.products.height),
            ("Customers", data.customer_uploads(), len(data.households)),
            ("Purchase lines", data.sale_uploads(), data.lines.height),
        )
        tokens: list[str] = []
        for label, uploads, total in steps:
            count = _Count(self._console, label, total)
            tokens += await client.upload(uploads, count.add)
            count.end()
        return tokens

    async def _applied(self, client: Client, tokens: list[str]) -> str:
        """Waits until the worker has applied everything; answers the token that came last."""
        count = _Count(self._console, "Applied by the worker", len(tokens))
        for token in tokens:
            await client.get("/v1/customers", token, limit=1)
            count.add(1)
        count.end(rate=False)
        return tokens[-1]

    async def _show_one(self, client: Client, title: str, *segments: str) -> dict[str, Any] | None:
        """Shows the best customer of the first segment that has one."""
        for segment in segments:
            page = await client.get("/v1/customers", segment=segment, sort="-monetary", limit=1)
            if page["items"]:
                found: dict[str, Any] = await client.get(f"/v1/customers/{page['items'][0]['customer_code']}")
                show.customer(self._console, title, found)
                return found
        return None

    async def _sell(self, client: Client, before: dict[str, Any], day: str) -> None:
        code = before["customer_code"]
        bought = (await client.get(f"/v1/customers/{code}/sales", limit=1))["items"][0]["lines"]
        lines = [{key: line[key] for key in ("product_key", "quantity", "unit_price", "discount")} for line in bought]
        # On the newest day of the data: a sale of today would move the reference date of all customers to today.
        sale = {"sale_id": f"demo-{time.time_ns()}", "customer_code": code, "sold_at": f"{day}T23:59:00Z"}
        self._console.heading(f"One more sale, live: customer {code} buys their last basket again")
        began = time.perf_counter()
        token = await client.post("/v1/sales", {**sale, "channel": "web", "lines": lines})
        after = await client.get(f"/v1/customers/{code}", token)
        show.live_sale(self._console, before, after, (time.perf_counter() - began) * 1000)
        cancellation = {"customer_code": code, "cancelled_at": f"{day}T23:59:30Z", "reason": "end of the demo"}
        undone = await client.post(f"/v1/sales/{sale['sale_id']}/cancellation", cancellation)
        await client.get(f"/v1/customers/{code}", undone)
        self._console.line("The sale was cancelled again, so that all figures stay those of the source files.")

    def _addresses(self, account: Account) -> None:
        self._console.heading("Open")
        rows = (
            ("API, to try out", f"{self._url}/docs"),
            ("status of the workers", f"{self._url}/status"),
            ("metrics", f"{self._url}/metrics"),
            ("username", account.username),
            ("password", account.password),
            ("API key", account.api_key),
            ("for example", f"curl -H 'X-API-Key: {account.api_key}' {self._url}/v1/rfm/distribution"),
        )
        for name, text in rows:
            self._console.line(f"  {name:<22} {text}")


class _Count:
    """Progress of one upload, and its rate at the end."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console, self._label, self._total = console, label, total
        self._done = 0
        self._began = time.monotonic()
        console.progress(label, 0, total)

    def add(self, size: int) -> None:
        """Counts what was accepted."""
        self._done += size
        self._console.progress(self._label, self._done, self._total)

    def end(self, *, rate: bool = True) -> None:
        """Says how long it took."""
        seconds = time.monotonic() - self._began
        speed = f", {self._done / max(seconds, 0.001):,.0f} a second" if rate else ""
        amount = f" {self._done:,}" if rate else ""
        self._console.say(f"{self._label}:{amount} in {seconds:.1f} s{speed}")


class _Marker:
    """Remembers what was loaded, so that a second run is quick. Loading again would be harmless, only slow."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def covers(self, lines: int | None) -> bool:
        """Whether at least that many lines (None: all) were loaded."""
        try:
            loaded = json.loads(self._path.read_text())["lines"]
        except (OSError, ValueError, KeyError):
            return False
        return loaded is None or (lines is not None and lines <= loaded)

    def write(self, lines: int | None) -> None:
        """Everything is loaded and applied."""
        write_atomically(self._path, json.dumps({"lines": lines}) + "\n")
