"""`python -m cli.demo_picture`: draws docs/demo.svg from a real run of the demo on a stack of its own."""

import io
import os
import re
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console as Rich

from cli import demo
from cli.console import Console
from cli.paths import ROOT

PICTURE = ROOT / "docs" / "demo.svg"
WIDTH = 100
LINES = 200_000
"""As many purchase lines as the demo loads by itself."""
LAST_PART = "Open"
"""Addresses, a password and a key: of this run alone."""
_OF_THIS_RUN = re.compile(r"(?<=port )\d+|(?<=127\.0\.0\.1:)\d+")
# Pages that show the picture may not load fonts from elsewhere.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")


class Picture(Console):
    """A terminal that remembers what it shows, up to the last part, and without what differs from run to run."""

    def __init__(self) -> None:
        super().__init__(terminal=True)
        self._screen = Rich(
            record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
        )
        self._rich_console = self._screen
        self.line("$ ./iacrm demo")

    def say(self, text: str) -> None:
        """A step, without its ports."""
        super().say(_OF_THIS_RUN.sub("…", text))

    def progress(self, label: str, done: int, total: int) -> None:
        """Bars are gone when a step has ended."""

    def heading(self, text: str) -> None:
        """A part; the last one goes to nobody."""
        if text == LAST_PART:
            self._rich_console = Rich(file=io.StringIO())
        super().heading(text)

    def svg(self) -> str:
        """The picture."""
        drawn = self._screen.export_svg(title="./iacrm demo", code_format=_FORMAT, unique_id="demo")
        return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def main(picture: Path = PICTURE) -> int:
    """Runs the demo and writes the picture.

    Returns:
        Exit code: 0 drawn, else that of the demo.
    """
    console = Picture()
    with tempfile.TemporaryDirectory(prefix="iacrm-picture-") as folder:
        Path(folder).chmod(0o755)  # started as root, PostgreSQL runs as somebody else
        os.environ["IACRM_DATA_DIR"] = folder
        code = demo.run(lines=LINES, leave=True, port=None, console=console)
    if code == 0:
        picture.write_text(console.svg(), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
