"""What a process imports, early or late, is in the lock of its image; the online ones start without heavy libraries."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions

import grimp
import pytest

from cli.paths import ROOT

ONLINE = (
    "services.api_gateway.__main__",
    "services.api_gateway.operators",
    "services.rfm_worker.__main__",
    "services.rfm_worker.rebuild.__main__",
    "migrations.__main__",
    "migrations.env",
    "shared.messaging.topics",
)
BATCH = (
    "services.api_gateway.importer.__main__",
    "services.rfm_worker.jobs.__main__",
    "services.rfm_worker.jobs.check",
    "services.rfm_worker.verification.__main__",
)
PROCESSES = [*((process, "runtime") for process in ONLINE), *((process, "batch") for process in BATCH)]
HEAVY = frozenset({"polars", "scipy", "numpy", "pyarrow", "botocore"})
"""Between them most of the images' size; a process that never needs one does not pay for it."""

_START = """
import importlib, json, sys
given = json.load(sys.stdin)
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in given["absent"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
importlib.import_module(given["process"])
print(*sys.modules)
"""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _locked(lock: str) -> set[str]:
    """Names of the distributions in a lock."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return {_plain(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def _present(module: str, lock: str) -> bool:
    distributions = {_plain(name) for name in packages_distributions().get(module, ())}
    return bool(distributions & _locked(lock))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of ours, also those inside functions."""
    return grimp.build_graph("services", "shared", "migrations", include_external_packages=True, cache_dir=None)


def _imported(graph: grimp.ImportGraph, process: str) -> set[str]:
    """Packages of others that a process may ever import."""
    others = {module for module in graph.find_upstream_modules(process) if graph.is_module_squashed(module)}
    return others - sys.stdlib_module_names


def _start(process: str, absent: Sequence[str]) -> set[str]:
    """What is loaded once a process has imported its own modules, as if `absent` were not installed."""
    done = subprocess.run(
        [sys.executable, "-c", _START], input=json.dumps({"process": process, "absent": absent}),
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.split())


@pytest.mark.parametrize(("process", "lock"), PROCESSES)
def test_whatever_a_process_imports_is_in_the_lock_of_its_image(
    graph: grimp.ImportGraph, process: str, lock: str
) -> None:
    imported = _imported(graph, process)
    assert imported
    assert {module for module in imported if not _present(module, lock)} == set()


@pytest.mark.parametrize(("process", "lock"), [each for each in PROCESSES if each[0] != "migrations.env"])
def test_a_process_starts_with_the_packages_of_its_image_alone(process: str, lock: str) -> None:
    locked = _locked(lock)
    absent = [
        module
        for module, distributions in packages_distributions().items()
        if not locked & {_plain(name) for name in distributions}
    ]
    assert "pytest" in absent
    loaded = _start(process, absent)
    if lock == "runtime":
        assert loaded & HEAVY == set()


def test_each_lock_holds_the_one_before() -> None:
    runtime, batch, dev = (_pins(lock) for lock in ("runtime", "batch", "dev"))
    assert runtime < batch < dev


def _pins(lock: str) -> set[str]:
    """Every line `name==version ; condition` of a lock."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return {line.rstrip("\\ ") for line in text.splitlines() if re.match(r"[\w.-]+==", line)}
