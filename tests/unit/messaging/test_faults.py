"""Fault points kill where they are named, and never in production."""

import os
import signal
import subprocess
import sys

import pytest

from shared.messaging.faults import POINTS


def run(code: str, point: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IACRM_FAULT_POINT": point}
    return subprocess.run(
        [sys.executable, "-c", f"from shared.messaging import faults; {code}; print('alive')"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("point", sorted(POINTS))
def test_the_process_dies_at_the_point_that_is_named(point):
    assert run(f"faults.reach({point!r})", point).returncode == -signal.SIGKILL


def test_it_lives_on_at_other_points():
    assert run("faults.reach('after_commit')", "before_offset_commit").stdout == "alive\n"


@pytest.mark.parametrize(("point", "env"), [("after_commit", "production"), ("no_such_point", "development")])
def test_a_point_in_production_or_a_misspelt_one_is_refused_at_the_start(point, env):
    assert "ValueError" in run(f"faults.check({env!r})", point).stderr
