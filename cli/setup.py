"""`./iacrm setup`: tables, roles and topics, of the settings in the environment or of the running stack."""

import os
import subprocess
import sys

from cli.console import Console
from cli.paths import ROOT, data_folder

MODULES = ("migrations", "shared.messaging.topics")


def run() -> int:
    """Runs the idempotent set-up jobs. Exit code: that of the first that fails, 3 when nothing says where to."""
    console = Console()
    environment = dict(os.environ)
    if "IACRM_ADMIN_DATABASE_URL" not in environment:
        from cli.supervisor.environment import Environment

        running = Environment.of_running(data_folder())
        if running is None:
            console.error("Set IACRM_ADMIN_DATABASE_URL and IACRM_KAFKA_BOOTSTRAP, or start the stack: ./iacrm up")
            return 3
        environment = running.setup()
    for module in MODULES:
        command = [sys.executable, "-P", "-m", module]
        done = subprocess.run(command, cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)}, check=False)
        if done.returncode != 0:
            console.error(f"python -m {module} failed")
            return done.returncode
    console.say("Tables, roles and topics are up to date")
    return 0
