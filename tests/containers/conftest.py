"""One engine, one set of images and one running stack for all tests of a run."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.containers.engine import Engine, NoEngineError, open_engine
from tests.containers.images import Images, build_images, remove_images
from tests.containers.stack import Stack, open_stack


@pytest.fixture(scope="session")
def run_tag() -> str:
    """Makes the names of this run's images and containers unique."""
    return uuid.uuid4().hex[:8]


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A container engine; without one the tests are skipped with the reason."""
    if not request.config.getoption("--containers"):
        pytest.skip("builds images and takes minutes: run ./iacrm test --containers")
    with ExitStack() as opened:
        try:
            engine = opened.enter_context(open_engine())
        except NoEngineError as reason:
            pytest.skip(f"no container engine: {reason}")
        yield engine


@pytest.fixture(scope="session")
def images(engine: Engine, run_tag: str) -> Iterator[Images]:
    """Our two images, built from this checkout, and those of Postgres and Kafka."""
    try:
        yield build_images(engine, run_tag)
    except NoEngineError as reason:
        pytest.skip(f"no base image: {reason}")
    finally:
        remove_images(engine, run_tag)


@pytest.fixture(scope="session")
def containers(
    engine: Engine, images: Images, run_tag: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Everything of docker-compose.yml, up and healthy."""
    folder: Path = tmp_path_factory.mktemp("compose")
    with open_stack(engine, images, f"iacrm-test-{run_tag}", folder) as stack:
        yield stack
