"""Kafka's jars: a committed list with SHA-256 sums, fetched once into the user's cache, verified before every use."""

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.files import FileLock
from cli.paths import cache_folder
from cli.report import Report

LOCK_FILE = Path(__file__).with_name("kafka.lock")
DOWNLOADS_AT_ONCE = 8
ATTEMPTS = 4
_LINE = re.compile(r"([\w.-]+):([\w.-]+):([\w.-]+) (\d+) sha256:([0-9a-f]{64})")


class JarError(Exception):
    """A jar cannot be fetched, or is not the one that the lock names."""


@dataclass(frozen=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str
    size: int
    """Bytes, for the progress bar."""

    @property
    def path(self) -> Path:
        """Place in a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")

    def is_good(self, repository: Path) -> bool:
        """Whether the file is there with exactly the content of the lock."""
        file = repository / self.path
        return file.is_file() and file.stat().st_size == self.size and sha256(file) == self.sha256


def parse_lock(text: str) -> list[Jar]:
    """Lines `group:artifact:version size sha256:<hex>`; `#` starts a comment.

    Raises:
        JarError: a line has another form.
    """
    jars = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].split()
        if not content:
            continue
        match = _LINE.fullmatch(" ".join(content))
        if match is None:
            raise JarError(f"line {number} of the lock is not `group:artifact:version size sha256:<hex>`")
        group, artifact, version, size, digest = match.groups()
        jars.append(Jar(group, artifact, version, digest, int(size)))
    return jars


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def classpath(report: Report, repository: Path | None = None) -> list[Path]:
    """All jars of the lock, verified; those that are missing or damaged are fetched first.

    Needs no network when all are there.

    Raises:
        JarError: one cannot be fetched, or what was fetched has another checksum.
    """
    repository = repository or cache_folder() / "maven"
    jars = parse_lock(LOCK_FILE.read_text())
    if _bad(jars, repository):
        # Another checkout may be fetching into the same cache: wait for it, then look again.
        with FileLock(repository / ".lock"):
            _fetch_all(_bad(jars, repository), repository, report)
    return [repository / jar.path for jar in jars]


def _bad(jars: Iterable[Jar], repository: Path) -> list[Jar]:
    return [jar for jar in jars if not jar.is_good(repository)]


def _fetch_all(jars: Sequence[Jar], repository: Path, report: Report) -> None:
    if not jars:
        return
    label, done, total = "Fetching Apache Kafka, KB", 0, sum(jar.size for jar in jars)
    report.progress(label, done, total // 1000)
    pool = ThreadPoolExecutor(DOWNLOADS_AT_ONCE)
    try:
        waiting: dict[Future[None], Jar] = {pool.submit(_fetch, jar, repository): jar for jar in jars}
        for future in as_completed(waiting):
            future.result()
            done += waiting[future].size
            report.progress(label, done // 1000, total // 1000)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _fetch(jar: Jar, repository: Path) -> None:
    file = repository / jar.path
    failure: Exception | None = None
    for attempt in range(ATTEMPTS):
        file.unlink(missing_ok=True)  # the rest of an interrupted download
        try:
            _artifact(jar, repository).resolve()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            failure = error
            time.sleep(0.5 * 2**attempt)
            continue
        if jar.is_good(repository):
            return
        file.unlink(missing_ok=True)
        failure = JarError("its checksum is not the one of the lock")
    raise JarError(f"cannot fetch {jar.group}:{jar.artifact}:{jar.version}: {failure}")


def _artifact(jar: Jar, repository: Path) -> Any:
    # Only downloads need it, and it is slow to import.
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, timeout=30)
    return context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
