"""What people see: colours, tables and bars on a terminal; plain lines when the output is piped."""

import errno
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console as Rich
    from rich.progress import Progress, TaskID


class Console:
    """Writes to standard output, errors to standard error. Implements `Report`.

    A reader that leaves (a closed terminal, `| head`) ends the output and nothing else: the stack is still looked
    after, and stopped in order.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = sys.stdout.isatty() if terminal is None else terminal
        self._rich_console: Rich | None = None
        self._bar: tuple[str, Progress, TaskID] | None = None
        self._told: tuple[str, int, float] = ("", -1, 0.0)

    @property
    def rich(self) -> "Rich":
        """The terminal, for output that only a person sees."""
        if self._rich_console is None:
            from rich.console import Console as Rich

            self._rich_console = Rich(highlight=False)
        return self._rich_console

    def say(self, text: str) -> None:
        """One finished step or event."""
        with _to_reader():
            self.end_bar()
            if self.terminal:
                from rich.markup import escape

                self.rich.print(f"[green]•[/] {escape(text)}")
            else:
                print(text, flush=True)

    def line(self, text: str = "") -> None:
        """Text as it is."""
        with _to_reader():
            self.end_bar()
            if self.terminal:
                # The terminal wraps it: a command that is copied from here must not be cut.
                self.rich.print(text, markup=False, soft_wrap=True)
            else:
                print(text, flush=True)

    def heading(self, text: str) -> None:
        """Starts a part of the output."""
        with _to_reader():
            self.end_bar()
            if self.terminal:
                from rich.markup import escape

                self.rich.print(f"\n[bold]{escape(text)}[/]")
            else:
                print(f"\n{text}", flush=True)

    def error(self, text: str) -> None:
        """What went wrong, and how to go on; to standard error."""
        with _to_reader():
            self.end_bar()
        with suppress(OSError):
            print(f"\033[31m{text}\033[0m" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under their column names."""
        with _to_reader():
            self.end_bar()
            if self.terminal:
                self._rich_table(columns, rows)
            else:
                print(plain_table(columns, rows), flush=True)

    def progress(self, label: str, done: int, total: int) -> None:
        """Advances the bar of `label` with its rate and the time left; piped, says every quarter."""
        with _to_reader():
            if self.terminal:
                self._advance(label, done, total)
            else:
                self._say_quarter(label, done, total)

    def _say_quarter(self, label: str, done: int, total: int) -> None:
        known, told, began = self._told
        if known != label:
            told, began = -1, time.monotonic()
        quarter = done * 4 // total if total else 4
        if quarter != told:
            print(f"{label}: {quarter * 25} %{_pace(done, total, time.monotonic() - began)}", flush=True)
        self._told = (label, quarter, began)

    def end_bar(self) -> None:
        """Leaves the current bar behind, finished or not."""
        if self._bar is not None:
            self._bar[1].stop()
            self._bar = None

    def json(self, value: Any) -> None:
        """For programs: one JSON document."""
        with _to_reader():
            print(json.dumps(value, indent=2), flush=True)

    def _rich_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self.rich.print(table)

    def _advance(self, label: str, done: int, total: int) -> None:
        if self._bar is None or self._bar[0] != label:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            self.end_bar()
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[pace]}", style="dim"),
                console=self.rich,
            )
            bar.start()
            self._bar = (label, bar, bar.add_task(label, total=total, pace=""))
            self._told = (label, 0, time.monotonic())
        _, bar, task = self._bar
        pace = _pace(done, total, time.monotonic() - self._told[2]).removeprefix(", ")
        bar.update(task, completed=done, total=total, pace=pace)
        if done >= total:
            self.end_bar()


@contextmanager
def _to_reader() -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if problem.errno in (errno.EPIPE, errno.EIO):
            # For good, also for what the interpreter still writes out at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _pace(done: int, total: int, seconds: float) -> str:
    if not done or seconds <= 0:
        return ""
    left = (total - done) * seconds / done
    return f", {done / seconds:,.0f} a second" + (f", {left:.0f} s left" if done < total else "")


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, separated by two spaces."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
