"""The question what would be if scores were cut otherwise, and its answer."""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.api_gateway.repository.rfm import SegmentCount
from services.api_gateway.views.numbers import Amount, Number
from services.api_gateway.views.rfm import SegmentShare, distribution_of
from shared.events.payloads import Segment
from shared.events.tenant_settings import ReferenceDate, RfmSettings

NOTHING = SegmentCount(0, Decimal(0))


class WhatIf(RfmSettings):
    """A method with its bounds, checked as the tenant's settings are; bounds have no effect on quintiles."""

    method: Literal["quintile", "fixed"]
    reference_date: ReferenceDate | None = Field(
        None, description="now, latest_sale, or a fixed date; the tenant's own setting where absent"
    )


class Scores(BaseModel):
    """Three scores and their code; null while a customer has none."""

    r: int | None
    f: int | None
    m: int | None
    rfm_code: str | None


class Mover(BaseModel):
    """A customer who would move, with the values that decide it."""

    customer_code: str
    recency_days: int
    frequency: int
    monetary: Amount
    before: Scores
    after: Scores


class SegmentMove(BaseModel):
    """Everybody who would move from one segment to one other."""

    from_: Segment = Field(serialization_alias="from")
    to: Segment
    customers: int
    revenue: Amount = Field(description="their net revenue of all time")
    examples: list[Mover] = Field(description="up to ten, largest monetary value first")


class WhatIfResult(BaseModel):
    """The distribution as it is and as it would be, and who would move."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    method: str
    reference_date: date
    recency_days: list[Number] = Field(description="the bounds that would apply; empty while nobody has ordered")
    frequency: list[Number]
    monetary: list[Amount]
    customers: int
    moved: int = Field(description="how many of them would be in another segment")
    before: list[SegmentShare]
    after: list[SegmentShare]
    moves: list[SegmentMove] = Field(description="largest first")


def result_of(method: str, rows: Sequence[Any]) -> WhatIfResult:
    """The answer, from the rows of `repository.what_if.find_moves`."""
    flows = [row for row in rows if row.segment is not None]
    moves = [row for row in flows if row.previous != row.segment]
    before, after = _by(flows, "previous"), _by(flows, "segment")
    return WhatIfResult(
        method=method,
        reference_date=rows[0].reference_date,
        recency_days=rows[0].recency_days,
        frequency=rows[0].frequency,
        monetary=rows[0].monetary,
        customers=sum(row.customers for row in flows),
        moved=sum(row.customers for row in moves),
        before=distribution_of(before, None).segments,
        after=distribution_of(after, None).segments,
        moves=[_move(row) for row in sorted(moves, key=lambda row: (-row.customers, row.previous, row.segment))],
    )


def _by(flows: Iterable[Any], side: str) -> dict[str, SegmentCount]:
    found: dict[str, SegmentCount] = {}
    for row in flows:
        was = found.get(getattr(row, side), NOTHING)
        found[getattr(row, side)] = SegmentCount(was.customers + row.customers, was.revenue + row.revenue)
    return found


def _move(row: Any) -> SegmentMove:
    movers = [
        Mover.model_validate(each | {"before": _scores(each["before"]), "after": _scores(each["after"])})
        for each in row.examples
    ]
    return SegmentMove(
        from_=row.previous, to=row.segment, customers=row.customers, revenue=row.revenue, examples=movers
    )


def _scores(found: dict[str, int | None]) -> Scores:
    code = None if found["r"] is None else f"{found['r']}{found['f']}{found['m']}"
    return Scores(**found, rfm_code=code)
