"""docker-compose.yml, .env.example and make-env agree; these need no engine."""

import json
import re
import stat
import subprocess
from pathlib import Path

from cli.paths import ROOT

MAKE_ENV = ROOT / "deploy/compose/make-env"


def _make_env(target: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", str(MAKE_ENV), str(target)], capture_output=True, text=True, check=False, timeout=20)


def _values(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if re.match(r"IACRM_\w+=", line)]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_every_variable_of_compose_is_explained_in_the_example() -> None:
    used = set(re.findall(r"\$\{(IACRM_\w+)", (ROOT / "docker-compose.yml").read_text()))
    explained = set(re.findall(r"^(?:# )?(IACRM_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == explained


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name, rest in re.findall(r"\$\{(IACRM_\w*(?:SECRET|PASSWORD)\w*)([^}]*)\}", text):
        assert rest.startswith(":?"), name


def test_made_secrets_are_long_different_and_private(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert _make_env(first).returncode == _make_env(second).returncode == 0
    one, other = _values(first), _values(second)
    secrets = {name for name in one if "SECRET" in name or "PASSWORD" in name}
    assert len(secrets) == 5
    assert len({one[name] for name in secrets} | {other[name] for name in secrets}) == 10
    keys = json.loads(one["IACRM_JWT_SECRETS"].strip("'"))
    assert one["IACRM_JWT_ACTIVE_KID"] in keys
    assert all(len(secret) >= 64 for secret in [*keys.values(), *(one[name] for name in secrets)])
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_existing_secrets_are_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "env"
    target.write_text("IACRM_ERASURE_SECRET=kept\n")
    done = _make_env(target)
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert target.read_text() == "IACRM_ERASURE_SECRET=kept\n"
