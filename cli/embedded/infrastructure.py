"""PostgreSQL and Kafka together, in one data folder: what the stack, the tests and the benchmarks start."""

import signal
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from cli.child import Child, end
from cli.credentials import Credentials
from cli.embedded.jars import classpath
from cli.embedded.kafka import Kafka
from cli.embedded.postgres import Postgres
from cli.files import FileLock
from cli.paths import log_folder
from cli.ports import Ports
from cli.report import Report, Silent
from cli.spawn import settle
from cli.state import StateFile


class AlreadyRunningError(Exception):
    """Another process runs a stack in this data folder."""


class Infrastructure:
    """Both servers of one data folder. Synchronous; may be used from any thread, also as a context manager.

    Args:
        data: folder that keeps everything; made when missing. Only one process at a time can start it.
        postgres_port, kafka_port: ports to insist on; else free ones are chosen and remembered while they are free.
        fsync: False spares the disk where only processes die and never the machine (tests).
        report: told about progress.
    """

    def __init__(
        self,
        data: Path,
        *,
        postgres_port: int | None = None,
        kafka_port: int | None = None,
        fsync: bool = True,
        shared_buffers: str | None = None,
        report: Report | None = None,
    ) -> None:
        """Args:
        fsync: off only for tests, whose data nobody misses after a power failure.
        shared_buffers: PostgreSQL's, where the usual ones are too few.
        """
        self.data = data.resolve()
        self.state = StateFile(self.data / "state.json")
        self.credentials = Credentials(self.data)
        self._given = {"postgres": postgres_port, "kafka": kafka_port}
        self._settings = {"fsync": "on" if fsync else "off"}
        if shared_buffers is not None:
            self._settings["shared_buffers"] = shared_buffers
        self._report = report or Silent()
        self._lock = FileLock(self.data / "lock")

    @cached_property
    def ports(self) -> Ports:
        """The ports of this folder; other processes of a stack choose theirs here too."""
        return Ports(self.data / "ports.json")

    @cached_property
    def postgres(self) -> Postgres:
        """The database server: `.port`, `.admin_url`, `.url(role, password)`, `.kill()`, `.start()`, `.stop()`."""
        return Postgres(
            folder=self.data / "postgres",
            port=self.ports.choose("postgres", given=self._given["postgres"]),
            log=log_folder(self.data) / "postgres.log",
            state=self.state,
            password=self.credentials.get("postgres_password"),
            settings=self._settings,
        )

    @cached_property
    def kafka(self) -> Kafka:
        """The broker: `.bootstrap`, `.kill()`, `.start()`, `.stop()`."""
        return Kafka(
            folder=self.data / "kafka",
            port=self.ports.choose("kafka", given=self._given["kafka"]),
            controller_port=self.ports.choose("kafka_controller"),
            log=log_folder(self.data) / "kafka.log",
            state=self.state,
            jars=self._jars,
        )

    def start(self) -> None:
        """Starts both and waits until they serve. Ends what an earlier, killed owner left running.

        Raises:
            AlreadyRunningError: another process holds the folder.
            PortTakenError, JarError, StartError: what was started is stopped again.
        """
        self.acquire()
        try:
            self.end_leftovers()
            self._jars()
            self.postgres.prepare()
            self.kafka.prepare()
            for server in self.servers():
                server.launch()
            for server in self.servers():
                server.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops Kafka, then PostgreSQL, and frees the folder. Data stay. Harmless when nothing runs."""
        if not self._lock.held:
            return
        settle()
        try:
            for server in reversed(self.servers()):
                server.stop()
        finally:
            if not self.state.entries():
                self.state.remove()
            self._lock.release()

    def acquire(self) -> None:
        """Reserves the folder for this process until `stop`; `start` does it too.

        Raises:
            AlreadyRunningError: another process holds it.
        """
        if not self._lock.held and not self._lock.acquire():
            raise AlreadyRunningError(f"a stack already runs in {self.data}")

    def end_leftovers(self) -> None:
        """Ends every process that the state file of a killed owner names, last started first."""
        for name, entry in reversed(self.state.entries().items()):
            if entry.identity.process() is not None:
                self._report.say(f"Stopping {name} (process {entry.pid}), left over from a stack that was killed")
                end(entry.identity, signal.SIGINT if name == "postgres" else signal.SIGTERM)
            self.state.drop(name)

    def servers(self) -> Sequence[Child]:
        """The servers that were asked for so far: stopping must not choose ports or make secrets."""
        return [self.__dict__[name] for name in ("postgres", "kafka") if name in self.__dict__]

    def _jars(self) -> list[Path]:
        if "_classpath" not in self.__dict__:
            self.__dict__["_classpath"] = classpath(self._report)
        return list(self.__dict__["_classpath"])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
