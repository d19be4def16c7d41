"""How long to wait before a child that died is started again."""

from dataclasses import dataclass

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
STABLE_SECONDS = 30.0
"""A child that ran this long has proven itself: its next death starts from the shortest wait again."""


@dataclass(frozen=True)
class Backoff:
    """The wait before the next start; a value, so that it can be decided without a clock."""

    seconds: float = FIRST_SECONDS

    def after_death(self, ran_for: float) -> tuple[float, "Backoff"]:
        """The seconds to wait now, and the state for the death after this one.

        Args:
            ran_for: seconds from the start of the child to its death.
        """
        wait = FIRST_SECONDS if ran_for >= STABLE_SECONDS else self.seconds
        return wait, Backoff(min(wait * 2, LONGEST_SECONDS))
