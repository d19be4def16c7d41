"""Segments and cut-offs in answers."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field

from services.api_gateway.views.numbers import Amount, Number
from shared.events.payloads import Segment

NAMES: dict[str, str] = {
    "champions": "Champions",
    "loyal": "Loyal",
    "potential_loyalist": "Potential Loyalist",
    "new": "New Customers",
    "promising": "Promising",
    "need_attention": "Need Attention",
    "about_to_sleep": "About To Sleep",
    "at_risk": "At Risk",
    "cannot_lose": "Cannot Lose Them",
    "hibernating": "Hibernating",
    "lost": "Lost",
    "prospect": "Prospects",
}


class SegmentShare(BaseModel):
    """One segment: how many customers, their share of all, and their net revenue of all time."""

    segment: Segment
    name: str
    customers: int
    share: float = Field(description="of all customers, 0 to 1, four decimals")
    revenue: Amount


class Recomputing(BaseModel):
    """A change of settings is being applied to everybody: until it is done, these are the answers from before it, or
    some of both."""

    cause: Literal["settings", "repair"]
    step: Literal["days", "customers", "scores"]
    done: int = Field(description="of `total` sales or customers of this step")
    total: int = Field(description="0 while it is not counted yet")
    requested_at: datetime


class Distribution(BaseModel):
    """All twelve segments, always in the same order."""

    reference_date: date | None
    computed_at: datetime | None = Field(description="when the cut-offs were found; null before the first")
    customers: int
    segments: list[SegmentShare]
    recomputing: Recomputing | None = Field(None, description="null when nothing is under way")


class Cutoffs(BaseModel):
    """Four bounds per axis, lowest first; empty lists while no customer has a counting order."""

    method: str
    reference_date: date | None
    computed_at: datetime | None
    recency_days: list[Number]
    frequency: list[Number]
    monetary: list[Amount]
    recomputing: Recomputing | None = Field(None, description="null when nothing is under way")


def distribution_of(counts: Mapping[str, Any], cutoffs: Any | None) -> Distribution:
    """The distribution, from the rows per segment and the row of the cut-offs."""
    total = sum(row.customers for row in counts.values())
    segments = []
    for key in get_args(Segment):
        row = counts.get(key)
        customers, revenue = (row.customers, row.revenue) if row is not None else (0, Decimal(0))
        segments.append(
            SegmentShare(
                segment=key,
                name=NAMES[key],
                customers=customers,
                revenue=revenue,
                share=round(customers / total, 4) if total else 0.0,
            )
        )
    return Distribution(
        reference_date=cutoffs.reference_date if cutoffs is not None else None,
        computed_at=cutoffs.computed_at if cutoffs is not None else None,
        customers=total,
        segments=segments,
        recomputing=recomputing_of(cutoffs),
    )


def cutoffs_of(row: Any | None, method: str) -> Cutoffs:
    """The cut-offs, from their row; `method` is the tenant's setting, for as long as there is no row."""
    if row is None:
        return Cutoffs(method=method, reference_date=None, computed_at=None, recency_days=[], frequency=[], monetary=[])
    found = Cutoffs.model_validate(row, from_attributes=True)
    return found.model_copy(update={"recomputing": recomputing_of(row)})


def recomputing_of(row: Any | None) -> Recomputing | None:
    """How far a recomputation is, from the row of the cut-offs; None without one, and for an earlier day."""
    if getattr(row, "recompute_cause", None) is None:
        return None
    names = Recomputing.model_fields
    return Recomputing.model_validate({name: getattr(row, f"recompute_{name}") for name in names})
