"""Services as real processes: started, asked, killed, and never left behind."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cli.ports import HOST
from cli.spawn import Plan, spawn
from tests.support.waiting import until

MODULES = {"importer": "services.api_gateway.importer"}
KILLED = -signal.SIGKILL
START_S = 40.0
STOP_S = 15.0


class Process:
    """One `python -m <module of the service>`. It dies with this process, whatever happens."""

    def __init__(self, service: str, environment: Mapping[str, str], log: Path, port: int) -> None:
        self.service = service
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.log = log
        command = [sys.executable, "-P", "-m", MODULES.get(service, f"services.{service}")]
        plan = Plan(command, environment, log, death_signal=signal.SIGKILL)
        self._process: subprocess.Popen[bytes] = spawn(plan, lambda _: None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: killed by that signal."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        self._process.kill()
        self._process.wait()

    async def stop(self) -> None:
        """SIGTERM. Fails when the process takes longer than it may, or complains."""
        self._process.terminate()
        code = await self.ended(STOP_S)
        assert code == 0, f"{self.service} ended with {code}\n{self.tail()}"

    async def ended(self, seconds: float) -> int:
        """Waits for the end of the process; answers its exit code."""
        try:
            return await asyncio.to_thread(self._process.wait, seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.service} still runs after {seconds:g} s\n{self.tail()}") from None

    async def ready(self, seconds: float = START_S) -> None:
        """Waits until it says that it is ready; fails when it ends before."""
        await self.answers("/health/ready", 200, seconds)

    async def answers(self, path: str, status: int, seconds: float = START_S) -> None:
        """Waits until a GET is answered with that status; fails when the process ends before."""

        async def asked() -> bool:
            assert self.exit_code is None, f"{self.service} ended with {self.exit_code}\n{self.tail()}"
            return await self.status(path) == status

        try:
            await until(asked, seconds=seconds, what=f"{self.service} answers {path} with {status}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    async def status(self, path: str) -> int | None:
        """Status of a GET; None when nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=3) as client:
                return (await client.get(self.url + path)).status_code
        except httpx.TransportError:
            return None

    async def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that carry these labels; 0 when there is none."""
        async with httpx.AsyncClient(timeout=5, follow_redirects=True) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
