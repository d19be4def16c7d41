"""Plots of results, as SVG for the documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs" / "performance"
mpl.rcParams["svg.hashsalt"] = "ia-crm"


def scale_plot(series: Mapping[str, Sequence[Mapping[str, Any]]], exponents: Mapping[str, Mapping[str, float]]) -> Path:
    """Cost of a batch over customers and over ledger lines, both axes logarithmic."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for place, (axis, rows) in zip(figure.subplots(1, 2, sharey=True), series.items(), strict=True):
        for step, label in (("apply", "apply 500 sales"), ("score", "find cut-offs, move customers")):
            costs = [row[f"{step}_cpu_ms"] for row in rows]
            place.plot([row[axis] for row in rows], costs, marker="o", label=f"{label}: n^{exponents[axis][step]:.2f}")
        place.set(xscale="log", yscale="log", xlabel="customers" if axis == "customers" else "lines in the ledger")
        place.set_ylim(1, 10_000)
        place.grid(visible=True, which="both", alpha=0.25)
        place.legend(frameon=False)
    figure.axes[0].set_ylabel("processor time, ms")
    return _save(figure, "rfm-scale.svg")


def _save(figure: Figure, name: str) -> Path:
    DOCS.mkdir(parents=True, exist_ok=True)
    path = DOCS / name
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path
