"""Results as JSON beside the code, so that a change of speed is a change in the history."""

import json
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def median(values: Sequence[float]) -> float:
    """Median, rounded to four significant places after the point."""
    return round(statistics.median(values), 4)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def record(name: str, result: dict[str, Any]) -> Path:
    """Writes `results/<name>.json` with the machine it was measured on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = {"cores": cpu_count(), "system": platform.system(), "python": platform.python_version()}
    document = {"benchmark": name, "measured_at": datetime.now(UTC).isoformat(), "machine": machine, **result}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path
