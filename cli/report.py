"""How long work tells what it is doing, without knowing whether a person or a file reads it."""

from typing import Protocol


class Report(Protocol):
    """Receives news of a start. Implemented by the console; silent in tests."""

    def say(self, text: str) -> None:
        """One finished step or event, a sentence."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Bytes or pieces done so far of a long step; ends with `done == total`."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Ignores it."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Ignores it."""
