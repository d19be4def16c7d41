"""Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly stop, the second for an immediate one."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class StopRequested(BaseException):
    """Raised in the main thread by the first signal."""


class Signals:
    """Handles signals while it is entered; main thread only.

    Args:
        hurry: called (in a signal handler) for every signal after the first.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._received = False
        self._armed = True
        self._previous: dict[signal.Signals, Any] = {}

    def stopping(self) -> None:
        """From here on no signal raises: the stop has begun, a further one only hurries it."""
        self._armed = False

    def __enter__(self) -> Self:
        for each in self._SIGNALS:
            self._previous[each] = signal.signal(each, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._received:
            self._hurry()
            return
        self._received = True
        if self._armed:
            self._armed = False
            raise StopRequested
