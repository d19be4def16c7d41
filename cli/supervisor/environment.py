"""What each process is told: addresses, its own role, and only the secrets that it needs."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from cli.credentials import Credentials
from cli.embedded.postgres import DATABASE, SUPERUSER
from cli.paths import ROOT
from cli.ports import HOST
from cli.state import StateFile
from cli.supervisor.services import SERVICES, Service

_KEY_ID = "local"


@dataclass(frozen=True)
class Environment:
    """Builds the environment variables of a stack's processes."""

    credentials: Credentials
    postgres_port: int
    kafka_port: int

    @classmethod
    def of_running(cls, data: Path) -> Self | None:
        """The environment of the stack that runs in that data folder, or None."""
        entries = StateFile(data / "state.json").entries()
        running = {name: entry for name, entry in entries.items() if entry.identity.process() is not None}
        if "postgres" not in running or "kafka" not in running:
            return None
        return cls(Credentials(data), running["postgres"].port, running["kafka"].port)

    def common(self) -> dict[str, str]:
        """For every process of ours; what the user sets for tuning is passed on."""
        return {
            "IACRM_ENV": "development",
            **os.environ,
            "IACRM_KAFKA_BOOTSTRAP": f"{HOST}:{self.kafka_port}",
            "IACRM_ERASURE_SECRET": self.credentials.get("erasure_secret"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }

    def setup(self) -> dict[str, str]:
        """For migrations and topics: the superuser, and the passwords that the roles get."""
        passwords = {f"IACRM_{each.password.upper()}": self.credentials.get(each.password) for each in SERVICES}
        superuser = self._database(SUPERUSER, self.credentials.get("postgres_password"))
        return {**self.common(), "IACRM_ADMIN_DATABASE_URL": superuser, **passwords}

    def service(self, service: Service, port: int = 0) -> dict[str, str]:
        """For one service, listening on `port`."""
        settings = {
            **self.common(),
            "IACRM_DATABASE_URL": self._database(service.role, self.credentials.get(service.password)),
            "IACRM_HOST": HOST,
            "IACRM_PORT": str(port),
        }
        if service.keeps_files:
            settings["IACRM_IMPORT_STORAGE"] = os.environ.get(
                "IACRM_IMPORT_STORAGE", str(self.credentials.data / "imports")
            )
            settings["IACRM_IMPORT_WORK"] = os.environ.get(
                "IACRM_IMPORT_WORK", str(self.credentials.data / "import-work")
            )
        if service.signs_tokens:
            settings["IACRM_JWT_SECRETS"] = json.dumps({_KEY_ID: self.credentials.get("jwt_secret")})
            settings["IACRM_JWT_ACTIVE_KID"] = _KEY_ID
        return settings

    def _database(self, role: str, password: str) -> str:
        return f"postgresql+asyncpg://{role}:{quote(password, safe='')}@{HOST}:{self.postgres_port}/{DATABASE}"
