"""`python -m cli.embedded.relock`: writes kafka.lock anew from the versions below. For maintainers."""

from pathlib import Path
from typing import Any

from cli.embedded.jars import LOCK_FILE, sha256
from cli.paths import cache_folder

KAFKA = "org.apache.kafka:kafka_2.13:4.1.1"
LOG4J = "org.apache.logging.log4j:{}:2.25.1"
LOGGING = [LOG4J.format(name) for name in ("log4j-slf4j-impl", "log4j-core", "log4j-api")]

HEADER = """\
# Apache Kafka and what it needs, as `group:artifact:version size sha256:<hex>`.
# Written by `python -m cli.embedded.relock`; every file is checked against it before every use.
"""


def main() -> None:
    """Resolves, downloads and writes the lock."""
    # Apart, and merged by hand: resolved together, the versions that log4j's own build manages would win over
    # Kafka's, down to a kafka-clients of another release.
    found = {**_resolve(KAFKA), **_resolve("+".join(LOGGING))}
    lines = []
    for (group, artifact), item in sorted(found.items()):
        file: Path = item.resolve()
        lines.append(f"{group}:{artifact}:{item.version} {file.stat().st_size} sha256:{sha256(file)}\n")
    LOCK_FILE.write_text(HEADER + "".join(lines))


def _resolve(endpoint: str) -> dict[tuple[str, str], Any]:
    import jgo
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=cache_folder() / "maven", timeout=30)
    found = {}
    for artifact in jgo.resolve(endpoint):
        component = context.project(artifact.groupId, artifact.artifactId).at_version(artifact.version)
        found[artifact.groupId, artifact.artifactId] = component.artifact()
    return found


if __name__ == "__main__":
    main()
