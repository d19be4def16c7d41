"""How a rebuild tells what it is doing, without knowing who listens."""

from typing import Protocol


class News(Protocol):
    """Receives what a rebuild has to say."""

    def say(self, text: str) -> None:
        """One finished step, a sentence."""

    def progress(self, label: str, done: int, total: int) -> None:
        """How far a long step is; it ends with `done == total`."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Ignores it."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Ignores it."""
