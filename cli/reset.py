"""`./iacrm reset`: back to an empty installation."""

import shutil

import typer

from cli import down
from cli.console import Console
from cli.paths import data_folder


def run(*, yes: bool) -> int:
    """Stops the stack and deletes its data folder. Exit code 1: not confirmed, or it could not be stopped."""
    console, data = Console(), data_folder()
    if not data.exists():
        console.line("There is nothing to delete.")
        return 0
    if not yes and not typer.confirm(f"Delete all data, secrets and logs in {data}?"):
        console.line("Nothing was deleted.")
        return 1
    code = down.run()
    if code == 0:
        shutil.rmtree(data)
        console.say(f"Deleted {data}")
    return code
