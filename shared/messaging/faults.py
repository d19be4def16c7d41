"""Named points at which tests let a process die as by a power cut."""

import os
import signal

POINTS = frozenset({
    "after_stage", "before_commit", "after_commit", "before_offset_commit", "before_mark", "before_checkpoint",
    "rebuild_opened", "rebuild_filled", "rebuild_locked", "rebuild_swapped",
})  # fmt: skip
_armed = os.environ.get("IACRM_FAULT_POINT", "")


def check(env: str) -> None:
    """Refuses a fault point in production and one that does not exist anywhere.

    Raises:
        ValueError: at the start of the process, before any work.
    """
    if not _armed:
        return
    if env == "production":
        raise ValueError("IACRM_FAULT_POINT is refused in production")
    if _armed not in POINTS:
        raise ValueError(f"IACRM_FAULT_POINT must be one of {', '.join(sorted(POINTS))}")


def reach(point: str) -> None:
    """Kills this process with SIGKILL where the environment names this point; otherwise does nothing."""
    if _armed and _armed == point:
        os.kill(os.getpid(), signal.SIGKILL)
