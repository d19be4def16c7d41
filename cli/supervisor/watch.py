"""Looking after children: one that died, or is stuck, is started again after a growing wait, and it is said."""

import time
from dataclasses import dataclass, field

from cli.backoff import Backoff
from cli.child import Child
from cli.report import Report
from cli.supervisor.services import ServiceProcess

LIVENESS_SECONDS = 10.0
STUCK_AFTER = 3
"""Liveness questions in a row without an answer that make a process count as stuck."""


@dataclass
class Watch:
    """One child and what is known about its health."""

    child: Child
    report: Report
    backoff: Backoff = field(default_factory=Backoff)
    _restart_at: float | None = None
    _starting: bool = False
    _asked_at: float = field(default_factory=time.monotonic)
    _unanswered: int = 0

    def look(self, now: float) -> None:
        """Does what is due at the monotonic time `now`; called several times a second."""
        if self._restart_at is not None:
            if now >= self._restart_at:
                self._start_again()
        elif not self.child.alive():
            self._died(now)
        elif self._starting:
            self._check_start(now)
        elif now - self._asked_at >= LIVENESS_SECONDS:
            self._check_liveness(now)

    def _died(self, now: float) -> None:
        wait, self.backoff = self.backoff.after_death(now - self.child.launched_at)
        self._restart_at = now + wait
        self.child.note("restarting")
        self.report.say(f"{self.child.name} {self.child.how_it_ended()}; starting it again in {wait:g} s")

    def _start_again(self) -> None:
        self._restart_at = None
        self._starting = True
        self.child.restarts += 1
        self.child.launch()

    def _check_start(self, now: float) -> None:
        took = now - self.child.launched_at
        if self.child.ready():
            self._starting = False
            self._asked_at, self._unanswered = now, 0
            self.child.note("running")
            self.report.say(f"{self.child.name} is back (process {self.child.pid}, {took:.1f} s)")
        elif took > self.child.start_seconds:
            self.report.say(f"{self.child.name} is not ready after {took:.0f} s")
            self.child.end_process()

    def _check_liveness(self, now: float) -> None:
        self._asked_at = now
        if not isinstance(self.child, ServiceProcess) or self.child.lives():
            self._unanswered = 0
            return
        self._unanswered += 1
        if self._unanswered >= STUCK_AFTER:
            self._unanswered = 0
            self.report.say(f"{self.child.name} does not answer; ending it")
            self.child.end_process()
