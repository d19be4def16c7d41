"""`./iacrm logs`: the last lines of the log files, and those that follow."""

import time
from collections.abc import Iterator
from pathlib import Path

from cli.child import tail
from cli.console import Console
from cli.paths import data_folder, log_folder

PAUSE_SECONDS = 0.2


def run(process: str | None, *, follow: bool, lines: int) -> int:
    """Prints log lines. Exit code 1: there is no such log; 0 otherwise, also when following ends with Ctrl-C."""
    console, folder = Console(), log_folder(data_folder())
    files = sorted(folder.glob("*.log"))
    if process is not None:
        files = [file for file in files if file.stem == process]
    if not files:
        names = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        console.error(f"No log of {process or 'any process'}. There are: {names}")
        return 1
    width = max(len(file.stem) for file in files) if len(files) > 1 else 0
    followers = [Follower(file) for file in files]
    for file in files:
        for line in tail(file, lines).splitlines():
            print(_label(file, width) + line, flush=True)
    try:
        while follow:
            for follower in followers:
                for line in follower.new_lines():
                    print(_label(follower.file, width) + line, flush=True)
            time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        pass
    return 0


class Follower:
    """New lines of a file, also after it was moved aside and begun anew."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._inode, self._position = self._look()
        self._rest = ""

    def new_lines(self) -> Iterator[str]:
        """The lines completed since the last call."""
        inode, size = self._look()
        if inode != self._inode or size < self._position:
            self._inode, self._position = inode, 0
        if size > self._position:
            with self.file.open("rb") as file:
                file.seek(self._position)
                content = file.read()
            self._position += len(content)
            *complete, self._rest = (self._rest + content.decode("utf-8", "replace")).split("\n")
            yield from complete

    def _look(self) -> tuple[int, int]:
        try:
            status = self.file.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_size


def _label(file: Path, width: int) -> str:
    return f"{file.stem:<{width}} | " if width else ""
