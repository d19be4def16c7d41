"""`--stack testcontainers`: the integration tests' servers come from images, through the engine's own interface."""

import subprocess
import sys

import pytest

from cli.paths import ROOT
from tests.containers.engine import Engine
from tests.containers.images import Images

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

MESSAGING = "tests/integration/messaging"
SAMPLE = (
    f"{MESSAGING}/test_topics.py",
    f"{MESSAGING}/test_relay.py::test_each_key_is_published_in_the_order_of_its_changes_with_its_place",
)
"""They need both servers, a migrated database and topics."""


def test_integration_tests_run_on_testcontainers(engine: Engine, images: Images) -> None:
    environment = {
        **engine.environment,
        "IACRM_TEST_POSTGRES_IMAGE": images.postgres,
        "IACRM_TEST_KAFKA_IMAGE": images.kafka,
        # Its helper container comes from a registry and cleans up after crashes; here the fixtures do.
        "TESTCONTAINERS_RYUK_DISABLED": "true",
    }
    if engine.name == "podman":
        # The service runs on this very machine, also where this machine is itself a container.
        environment |= {"TESTCONTAINERS_CONNECTION_MODE": "docker_host", "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1"}
    for name in ("IACRM_TEST_PG_URL", "IACRM_TEST_KAFKA"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--stack=testcontainers", *SAMPLE],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert engine.run("ps", "--quiet", "--filter", "label=org.testcontainers=true") == ""
