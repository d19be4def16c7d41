"""Finds a container engine: a Docker daemon, else podman with settings and storage of its own in a temporary folder."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_ISOLATED_ENGINE = """\
[containers]
# More than a restricted machine may grant is refused outright ("setrlimit: Operation not permitted").
default_ulimits = ["nofile=10000:10000", "nproc=4000:4000"]
[engine]
{runtime}
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
[network]
network_config_dir = "{folder}/networks"
"""
_ISOLATED_STORAGE = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


class NoEngineError(Exception):
    """No containers can be run here; the message says plainly why."""


class EngineError(Exception):
    """A command of the engine failed; the message holds its output."""


@dataclass(frozen=True)
class Engine:
    """How to reach the engine and its compose tool."""

    name: str
    """`docker` or `podman`: also the program to call."""
    compose: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    """The whole environment of its commands."""

    def run(self, *arguments: str, seconds: float = 120, program: Sequence[str] = ()) -> str:
        """Standard output of `docker|podman <arguments>` (or of `program`).

        Raises:
            EngineError: it failed or took longer than `seconds`.
        """
        command = [*(program or [self.name]), *arguments]
        try:
            done = subprocess.run(
                command, env=dict(self.environment), capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(f"{' '.join(command)}: not done after {seconds} s\n{error.stderr}") from error
        if done.returncode != 0:
            raise EngineError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    @contextmanager
    def health_checks(self, project: str) -> Iterator[None]:
        """While open, health checks of the project's containers run: podman leaves that to systemd timers."""
        if self.name == "docker":
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._check_until, args=(over, project), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _check_until(self, over: threading.Event, project: str) -> None:
        while not over.wait(1.0):
            # A container may end between the list and the question, and "unhealthy" is an exit code too.
            with suppress(EngineError):
                label = f"label=com.docker.compose.project={project}"
                for container in self.run("ps", "--quiet", "--filter", label).split():
                    with suppress(EngineError):
                        self.run("healthcheck", "run", container)


@contextmanager
def open_engine() -> Iterator[Engine]:
    """A usable engine. What was started for it is stopped and removed at the end.

    Raises:
        NoEngineError: there is none, with the reason.
    """
    environment = dict(os.environ)
    if shutil.which("docker") and _answers(["docker", "version", "--format", "{{.Server.Version}}"], environment):
        yield Engine("docker", _compose(environment), environment)
        return
    if not shutil.which("podman"):
        raise NoEngineError("no Docker daemon answers, and podman is not installed")
    with tempfile.TemporaryDirectory(prefix="iacrm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment |= _isolated(folder) if os.geteuid() == 0 else {}
        environment["DOCKER_HOST"] = f"unix://{folder}/podman.sock"
        with _podman_service(folder / "podman.sock", environment):
            engine = Engine("podman", _compose(environment), environment)
            try:
                yield engine
            finally:
                if os.geteuid() == 0:
                    _empty(engine)
                    _end_attendants(folder)


def _isolated(folder: Path) -> dict[str, str]:
    # Root's podman gets its own storage, networks and locks, so that nothing of the machine's own can be touched.
    runtime = 'runtime = "runc"' if shutil.which("runc") else ""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False).stdout
    driver = "vfs" if kind.startswith("overlay") else "overlay"  # overlay on overlay is refused
    (folder / "containers.conf").write_text(_ISOLATED_ENGINE.format(folder=folder, runtime=runtime))
    (folder / "storage.conf").write_text(_ISOLATED_STORAGE.format(folder=folder, driver=driver))
    return {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }


def _empty(engine: Engine) -> None:
    # Everything in the temporary storage is ours. Mounts must go before the folder can.
    with suppress(EngineError):
        engine.run("rm", "--all", "--force", "--time", "0")
        engine.run("network", "prune", "--force")
        engine.run("system", "reset", "--force")


def _end_attendants(folder: Path) -> None:
    # A command that was run through the socket keeps its attendant for five minutes more. Only ours name this folder.
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "conmon" and any(str(folder) in part for part in process.cmdline()):
                process.kill()


@contextmanager
def _podman_service(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Serves Docker's interface on a socket, which docker-compose and testcontainers speak."""
    command = ["podman", "system", "service", "--time", "0", f"unix://{path}"]
    with tempfile.TemporaryFile() as log:
        service = subprocess.Popen(command, env=dict(environment), stdout=log, stderr=log)
        try:
            if not _listens(path, service):
                log.seek(0)
                raise NoEngineError(f"podman does not work here: {log.read().decode(errors='replace').strip()[-600:]}")
            yield
        finally:
            service.terminate()
            try:
                service.wait(10)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()


def _listens(path: Path, service: subprocess.Popen[bytes], seconds: float = 20) -> bool:
    limit = time.monotonic() + seconds
    while service.poll() is None and time.monotonic() < limit:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(str(path)) == 0:
                return True
        with suppress(subprocess.TimeoutExpired):
            service.wait(0.1)
    return False


def _compose(environment: Mapping[str, str]) -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _answers([*command, "version"], environment):
            return command
    raise NoEngineError("neither `docker compose` nor docker-compose is installed")


def _answers(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(command, env=dict(environment), capture_output=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
