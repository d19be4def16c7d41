"""docker-compose.yml brought up under a name of its own on free ports, with images and secrets made for the run."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.paths import ROOT
from tests.containers.engine import Engine, EngineError
from tests.containers.images import Images


@dataclass(frozen=True)
class Stack:
    """A running compose project."""

    engine: Engine
    """Its environment holds the images and ports of this stack."""
    project: str
    options: tuple[str, ...]
    url: str
    """Where the gateway answers on this machine."""

    def compose(self, *arguments: str, seconds: float = 300) -> str:
        """Runs the compose tool on this project."""
        return self.engine.run(*self.options, *arguments, program=self.engine.compose, seconds=seconds)

    def container(self, service: str) -> str:
        """Id of the service's only container."""
        (container,) = self.containers(service)
        return container

    def containers(self, service: str = "") -> list[str]:
        """Ids of the service's containers, or of all, running or not."""
        filters = [f"label=com.docker.compose.project={self.project}"]
        if service:
            filters.append(f"label=com.docker.compose.service={service}")
        options = [part for one in filters for part in ("--filter", one)]
        return self.engine.run("ps", "--all", "--quiet", *options).split()

    def inspect(self, service: str) -> Any:
        """What the engine knows about the service's container."""
        return json.loads(self.engine.run("inspect", self.container(service)))[0]

    def wait_healthy(self, service: str, seconds: float = 60) -> None:
        """Returns when the service's health check says so.

        Raises:
            EngineError: it does not within `seconds`, or its container ended.
        """
        limit = time.monotonic() + seconds
        while True:
            state = self.inspect(service)["State"]
            status = state.get("Health", {}).get("Status")
            if status == "healthy":
                return
            if not state["Running"] or time.monotonic() > limit:
                raise EngineError(f"{service} is {state['Status']} and {status} after {seconds:.0f} s at most")
            # No engine's command line can wait for health.
            time.sleep(0.3)

    def execute(self, service: str, *command: str) -> str:
        """Output of a command inside the service's container."""
        return self.engine.run("exec", self.container(service), *command)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def open_stack(engine: Engine, images: Images, project: str, folder: Path) -> Iterator[Stack]:
    """Starts everything in docker-compose.yml and waits until it is healthy; removes all of it at the end.

    Args:
        folder: where this run's secrets are written.

    Raises:
        EngineError: it did not come up; the message ends with the logs.
    """
    secrets = folder / "env"
    subprocess.run(["sh", str(ROOT / "deploy/compose/make-env"), str(secrets)], check=True, timeout=20)
    gateway, kafka = free_port(), free_port()
    settings = {
        "IACRM_IMAGE": images.iacrm,
        "IACRM_BATCH_IMAGE": images.batch,
        "IACRM_POSTGRES_IMAGE": images.postgres,
        "IACRM_KAFKA_IMAGE": images.kafka,
        "IACRM_GATEWAY_PORT": str(gateway),
        "IACRM_KAFKA_PORT": str(kafka),
    }
    options = ("--project-name", project, "--file", str(ROOT / "docker-compose.yml"), "--env-file", str(secrets))
    stack = Stack(_with(engine, settings), project, options, f"http://127.0.0.1:{gateway}")
    with ExitStack() as cleanup:
        cleanup.callback(_down, stack)
        cleanup.enter_context(engine.health_checks(project))
        try:
            stack.compose("up", "--no-build", "--detach")
            for service in ("api_gateway", "importer", "rfm_worker", "rfm_jobs"):
                stack.wait_healthy(service)
        except EngineError as error:
            raise EngineError(f"{error}\n{_logs(stack)}") from error
        yield stack


def _with(engine: Engine, settings: Mapping[str, str]) -> Engine:
    # Settings of this machine's own installation must not leak into the stack under test.
    clean = {name: value for name, value in engine.environment.items() if not name.startswith("IACRM_")}
    return replace(engine, environment=clean | settings)


def _down(stack: Stack) -> None:
    with suppress(EngineError):
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "20", seconds=120)


def _logs(stack: Stack) -> str:
    texts = []
    with suppress(EngineError):
        for container in stack.containers():
            done = subprocess.run(
                [stack.engine.name, "logs", "--tail", "60", container],
                env=dict(stack.engine.environment), capture_output=True, text=True, check=False, timeout=30,
            )  # fmt: skip
            texts.append(f"--- {container}\n{done.stdout}{done.stderr}")
    return "\n".join(texts)
