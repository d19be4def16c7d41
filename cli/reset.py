"""`./iacrm reset`: back to an empty installation."""

import shutil
from contextlib import suppress

import typer

from cli import down
from cli.console import Console
from cli.paths import data_folder

# By name: tests and benchmarks keep folders of their own beside these, and may be running.
OURS = ("postgres", "kafka", "logs", "demo.json", "ports.json", "state.json", "secrets.json")


def run(*, yes: bool) -> int:
    """Stops the stack and deletes what it keeps. Exit code 1: not confirmed, or it could not be stopped."""
    console, data = Console(), data_folder()
    kept = [data / name for name in OURS if (data / name).exists()]
    if not kept:
        console.line("There is nothing to delete.")
        return 0
    if not yes and not typer.confirm(f"Delete all data, secrets and logs in {data}?"):
        console.line("Nothing was deleted.")
        return 1
    code = down.run()
    if code == 0:
        for path in kept:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # something else is still in it
            data.rmdir()
        console.say(f"Deleted the data in {data}")
    return code
