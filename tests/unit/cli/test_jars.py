"""The lock of Kafka's jars: what it says, and what is refused."""

import hashlib
from pathlib import Path

import pytest

from cli.embedded import jars
from cli.embedded.jars import LOCK_FILE, Jar, JarError, classpath, parse_lock
from cli.report import Silent

CONTENT = b"the bytes of a jar"
JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


class Store:
    """Stands in for the network: serves one content, a few failures first."""

    def __init__(self, repository: Path, content: bytes, failures: int = 0) -> None:
        self.repository, self.content, self.failures, self.asked = repository, content, failures, 0

    def __call__(self, jar: Jar, _repository: Path) -> "Store":
        return self

    def resolve(self) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError("connection reset")
        file = self.repository / JAR.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.content)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    lock = tmp_path / "test.lock"
    lock.write_text(f"# a comment\norg.example:thing:1.0 {JAR.size} sha256:{JAR.sha256}\n")
    monkeypatch.setattr(jars, "LOCK_FILE", lock)
    monkeypatch.setattr("cli.embedded.jars.time.sleep", lambda _seconds: None)
    store = Store(tmp_path / "maven", CONTENT)
    monkeypatch.setattr(jars, "_artifact", store)
    return store


def test_the_committed_lock_names_one_kafka_of_one_version() -> None:
    locked = {jar.artifact: jar.version for jar in parse_lock(LOCK_FILE.read_text())}
    assert locked["kafka_2.13"] == "4.1.1"
    assert {version for name, version in locked.items() if name.startswith("kafka")} == {"4.1.1"}
    assert "log4j-slf4j-impl" in locked


@pytest.mark.parametrize(
    "line",
    ["a:b 1 sha256:00", "a:b:c x sha256:" + "0" * 64, "a:b:c 1 md5:" + "0" * 64, "a:../b:c 1 sha256:" + "0" * 64],
)
def test_a_malformed_line_is_refused(line: str) -> None:
    with pytest.raises(JarError, match="line 2"):
        parse_lock("# comment\n" + line)


def test_a_missing_jar_is_fetched_and_a_present_one_is_not(store: Store) -> None:
    paths = classpath(Silent(), store.repository)
    assert [path.read_bytes() for path in paths] == [CONTENT]
    classpath(Silent(), store.repository)
    assert store.asked == 1


def test_a_damaged_jar_is_fetched_again(store: Store) -> None:
    (path,) = classpath(Silent(), store.repository)
    path.write_bytes(CONTENT[:-1] + b"!")
    classpath(Silent(), store.repository)
    assert path.read_bytes() == CONTENT


def test_a_failing_network_is_tried_again(store: Store) -> None:
    store.failures = 2
    assert classpath(Silent(), store.repository)


def test_other_bytes_than_the_lock_names_are_never_used(store: Store) -> None:
    store.content = b"something else"
    with pytest.raises(JarError, match="checksum"):
        classpath(Silent(), store.repository)
    assert not (store.repository / JAR.path).exists()
