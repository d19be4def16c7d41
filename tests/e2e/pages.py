"""Pages of documentation whose blocks are run as they stand."""

import asyncio
import json
import re
import shutil
import stat
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The stack runs already: the command of the first block only has to say where.
IACRM = """#!/bin/sh
case "$1" in
  up) exit 0 ;;
  status) echo '{"gateway_url": "BASE", "kafka_bootstrap": "KAFKA", "processes": []}' ;;
  *) exit 64 ;;
esac
"""


def blocks_of(page: Path, language: str) -> list[str]:
    """A page's blocks in one language."""
    return [code for found, code in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def program(folder: Path, name: str, text: str) -> None:
    """Makes a program that a page calls."""
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


async def bash(script: str, folder: Path, **environment: str) -> str:
    """Runs a script as a reader would paste it; answers what it printed, fails when it fails."""
    process = await asyncio.create_subprocess_exec(
        shutil.which("bash") or "bash",
        "-c",
        "set -euo pipefail\n" + script,
        cwd=folder,
        env={"PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, f"{output.decode()}\n{errors.decode()}"
    return output.decode()


def json_values(text: str) -> list[Any]:
    """The JSON values in what was printed."""
    values, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].strip()
    return values
