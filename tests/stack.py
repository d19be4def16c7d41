"""The real servers that tests run on: embedded, in containers, or ones that already run."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from cli.embedded.infrastructure import Infrastructure

ROOT = Path(__file__).resolve().parent.parent
GATEWAY_PASSWORD = "password-of-the-gateway-in-tests-only"
RFM_PASSWORD = "password-of-the-rfm-worker-in-tests-only"
POSTGRES_IMAGE = os.environ.get("IACRM_TEST_POSTGRES_IMAGE", "postgres:18")
KAFKA_IMAGE = os.environ.get("IACRM_TEST_KAFKA_IMAGE", "apache/kafka:4.1.1")


@dataclass(frozen=True)
class Stack:
    """PostgreSQL and Kafka for one run of the tests."""

    admin_url: str
    """URL of the superuser."""
    kafka_bootstrap: str
    infrastructure: Infrastructure | None = None
    """The embedded servers, which a test may kill and start again; None where the run does not own them."""

    def url(self, database: str, role: str | None = None, password: str | None = None) -> str:
        """URL of a database, as the superuser or as a role."""
        url: URL = make_url(self.admin_url).set(drivername="postgresql+asyncpg", database=database)
        if role is not None:
            url = url.set(username=role, password=password)
        return url.render_as_string(hide_password=False)


@dataclass(frozen=True)
class Database:
    """A migrated database of a test's own."""

    name: str
    admin_url: str
    gateway_url: str
    rfm_url: str


@contextmanager
def running_stack(kind: str) -> Iterator[Stack]:
    """The servers that the environment names, else fresh ones of the given kind, stopped afterwards."""
    postgres, kafka = os.environ.get("IACRM_TEST_PG_URL"), os.environ.get("IACRM_TEST_KAFKA")
    if postgres and kafka:
        yield Stack(postgres, kafka)
    elif kind == "testcontainers":
        with _containers() as stack:
            yield stack
    else:
        data = ROOT / ".data" / f"test-{os.getpid()}"
        try:
            with Infrastructure(data, fsync=False) as servers:
                yield Stack(servers.postgres.admin_url, servers.kafka.bootstrap, servers)
        finally:
            shutil.rmtree(data, ignore_errors=True)


@contextmanager
def _containers() -> Iterator[Stack]:
    # Imported here: the other kinds of stack need no container client.
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = _free_port()
    kafka = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(9092, port)
        .with_envs(
            CLUSTER_ID="4L6g3nShT-eMCtK--X86sw",
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_LISTENERS="PLAINTEXT://:9092,CONTROLLER://:9093",
            KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://127.0.0.1:{port}",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR="1",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
            KAFKA_GROUP_COORDINATOR_APPEND_LINGER_MS="0",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
        )
        .waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(120))
    )
    with ExitStack() as running:
        database = running.enter_context(PostgresContainer(POSTGRES_IMAGE, driver="asyncpg", username="postgres"))
        running.enter_context(kafka)
        yield Stack(database.get_connection_url(), f"127.0.0.1:{port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
