"""The services of the stack, as data: another worker is one more line."""

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.child import Child
from cli.ports import HOST
from cli.state import StateFile


@dataclass(frozen=True)
class Service:
    """A process of ours that is started with `python -m`."""

    name: str
    role: str
    """Database role; its password is the secret `<password>` and the setting IACRM_<PASSWORD>."""
    password: str
    prefer_port: int | None = None
    signs_tokens: bool = False
    """Receives the secrets of access tokens; nobody else does."""
    module: str | None = None
    """What is started, where it is not `services.<name>`."""
    keeps_files: bool = False
    """Is told where uploaded files are kept."""


SERVICES = (
    Service("rfm_worker", role="iacrm_rfm", password="rfm_db_password"),
    Service("rfm_jobs", role="iacrm_rfm", password="rfm_db_password", module="services.rfm_worker.jobs"),
    Service(
        "importer",
        role="iacrm_gateway",
        password="gateway_db_password",
        module="services.api_gateway.importer",
        keeps_files=True,
    ),
    Service(
        "api_gateway",
        role="iacrm_gateway",
        password="gateway_db_password",
        prefer_port=8000,
        signs_tokens=True,
        keeps_files=True,
    ),
)
"""In the order of their start; the gateway comes last and goes first, so that nothing is accepted too early."""

GATEWAY = "api_gateway"


class ServiceProcess(Child):
    """A running service."""

    stop_seconds = 12.0

    def __init__(
        self, service: Service, *, port: int, log: Path, state: StateFile, environment: Mapping[str, str]
    ) -> None:
        super().__init__(service.name, port=port, log=log, state=state)
        self._module = service.module or f"services.{service.name}"
        self._environment = environment

    @property
    def url(self) -> str:
        """Address of its HTTP server."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        """The module, without the current folder on the search path."""
        return [sys.executable, "-P", "-m", self._module]

    def environment(self) -> Mapping[str, str]:
        """Settings and secrets of this service."""
        return self._environment

    def ready(self) -> bool:
        """Whether it says that it can serve."""
        return self.alive() and answers(f"{self.url}/health/ready")

    def lives(self) -> bool:
        """Whether it answers and makes progress; a process that does not is stuck."""
        return answers(f"{self.url}/health/live", seconds=3.0)


def answers(url: str, seconds: float = 1.0) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as response:
            return int(response.status) == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False
