"""The stack of one checkout: PostgreSQL, Kafka, tables and topics, then the services."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from cli.child import TICK_SECONDS, Child, StartError, tail
from cli.embedded.infrastructure import Infrastructure
from cli.paths import log_folder
from cli.report import Report
from cli.spawn import Plan, settle, spawn
from cli.state import Identity, StateFile
from cli.supervisor.environment import Environment
from cli.supervisor.services import GATEWAY, SERVICES, ServiceProcess
from cli.supervisor.watch import Watch

WATCH_SECONDS = 0.2
SETUP_SECONDS = 120.0


class Stack:
    """Owns every process of a data folder from `start` to `stop`.

    Args:
        data: folder that keeps everything.
        gateway_port: port to insist on, else 8000 or a free one.
        report: told about every step and every restart.
    """

    def __init__(self, data: Path, report: Report, *, gateway_port: int | None = None) -> None:
        self.data = data
        self._report = report
        self._gateway_port = gateway_port
        self._infrastructure = Infrastructure(data, report=report)
        self._services: list[ServiceProcess] = []
        self._watches: list[Watch] = []
        self._once: Identity | None = None

    @property
    def state(self) -> StateFile:
        """What other commands read."""
        return self._infrastructure.state

    @property
    def gateway_url(self) -> str:
        """Where the REST API answers."""
        return next(service.url for service in self._services if service.name == GATEWAY)

    def start(self) -> None:
        """Starts everything in order and waits until it serves. `stop` must follow, whatever happens.

        Raises:
            AlreadyRunningError, PortTakenError, JarError, StartError: what to tell the user.
        """
        self._infrastructure.acquire()
        self._reserve_port()
        self.state.set(supervisor=asdict(Identity.of(os.getpid())), ready=False)
        began = time.monotonic()
        servers = self._infrastructure
        servers.start()
        self._report.say(
            f"PostgreSQL on port {servers.postgres.port} and Kafka on {servers.kafka.bootstrap} "
            f"({time.monotonic() - began:.1f} s)"
        )
        servers.postgres.ensure_database()
        environment = Environment(servers.credentials, servers.postgres.port, servers.kafka.port)
        for module in ("migrations", "shared.messaging.topics"):
            self._run_once(module, environment.setup())
        self._report.say("Tables and topics are up to date")
        self._start_services(environment)
        self._watches = [Watch(child, self._report) for child in self._children()]
        self.state.set(gateway_url=self.gateway_url, ready=True)

    def _reserve_port(self) -> None:
        """Refuses a port in use before anything is started; what a killed stack left may be what holds it."""
        if self._gateway_port is not None:
            self._infrastructure.end_leftovers()
            self._infrastructure.ports.choose(GATEWAY, given=self._gateway_port)

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keeps everything alive until `until` says so or an exception (a signal) ends it."""
        while not until():
            for watch in self._watches:
                watch.look(time.monotonic())
            time.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """Stops gateway, workers, Kafka and PostgreSQL in this order; leaves no process and no lock."""
        settle()
        for service in reversed(self._services):
            running = service.alive()
            service.stop()
            if running:
                self._report.say(f"Stopped {service.name}")
        self._end_once()
        self._infrastructure.stop()

    def hurry(self) -> None:
        """Turns every wait for an orderly stop, also of a `stop` under way, into SIGKILL."""
        for child in self._children():
            child.hurry.set()

    def _children(self) -> Sequence[Child]:
        return [*self._infrastructure.servers(), *self._services]

    def _start_services(self, environment: Environment) -> None:
        for service in SERVICES:
            given = self._gateway_port if service.name == GATEWAY else None
            port = self._infrastructure.ports.choose(service.name, given=given, prefer=service.prefer_port)
            process = ServiceProcess(
                service,
                port=port,
                log=log_folder(self.data) / f"{service.name}.log",
                state=self.state,
                environment=environment.service(service, port),
            )
            self._services.append(process)
            process.launch()
        for process in self._services:
            process.wait_ready()
            self._report.say(f"{process.name} on port {process.port}")

    def _run_once(self, module: str, environment: dict[str, str]) -> None:
        log = log_folder(self.data) / f"{module.rpartition('.')[2]}.log"
        start = log.stat().st_size if log.exists() else 0
        plan = Plan([sys.executable, "-P", "-m", module], environment, log)
        process = spawn(plan, lambda child: setattr(self, "_once", Identity.of(child.pid)))
        deadline = time.monotonic() + SETUP_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)
        if process.poll() != 0:
            problem = "takes too long" if process.poll() is None else f"ended with code {process.poll()}"
            raise StartError(f"python -m {module} {problem}\n{tail(log, 15, start)}")
        self._once = None

    def _end_once(self) -> None:
        process = self._once.process() if self._once is not None else None
        if process is not None:
            process.kill()
