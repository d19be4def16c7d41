"""Where things lie: the checkout, its data folder, and the user's cache."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: every child process works in it."""


def data_folder() -> Path:
    """The folder of everything that a stack keeps: `.data/` of the checkout, or IACRM_DATA_DIR."""
    given = os.environ.get("IACRM_DATA_DIR")
    return Path(given).expanduser().resolve() if given else ROOT / ".data"


def cache_folder() -> Path:
    """The user's cache, shared by all checkouts: downloads that can be fetched again."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given) / "ia-crm"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ia-crm"
    return Path.home() / ".cache" / "ia-crm"


def log_folder(data: Path) -> Path:
    """Log files of a stack, one per process."""
    return data / "logs"
