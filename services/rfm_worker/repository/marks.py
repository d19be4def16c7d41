"""Marks in the database: moved by what the batches said they changed, then stepped to the ranks that are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.rfm_worker.domain.cutoffs import day_number, day_of
from services.rfm_worker.domain.marks import BASKET, DAY, FREQUENCY, KEYS, MONETARY, Key, Mark, wanted_rank
from services.rfm_worker.repository.raw import Raw, Rows

# Every change takes an entry away and puts one in; a mark gains or loses a rank for each that stands before it.
_SHIFTED = """
with change as materialized (
    select v.* from score_request q, unnest(
        q.codes, q.was_frequency, q.was_monetary, q.was_day, q.now_frequency, q.now_monetary, q.now_day
    ) as v(code, was_frequency, was_monetary, was_day, now_frequency, now_monetary, now_day)
    where q.tenant_id = $1 and not q.folded
),
entry as materialized (
    select code collate "C" as code, -1 as sign, was_frequency as frequency, was_monetary as monetary, was_day as day
    from change where was_frequency > 0
    union all
    select code collate "C", 1, now_frequency, now_monetary, now_day from change where now_frequency > 0
),
place as materialized (
    select e.code, e.sign, p.axis, p.value from entry e, lateral (values
        ('day', (e.day - date '1970-01-01')::numeric), ('frequency', e.frequency::numeric), ('monetary', e.monetary),
        ('basket', rfm.average_basket(e.monetary, e.frequency))
    ) as p(axis, value)
)
select m.axis, m.k, m.value, m.customer_code, (m.rank + coalesce(
    sum(p.sign) filter (where (p.value, p.code) < (m.value, m.customer_code)), 0
))::int as rank
from quantile_mark m left join place p on p.axis = m.axis
where m.tenant_id = $1 group by m.tenant_id, m.axis, m.k
"""
_GROWTH = """
select coalesce(sum((v.now > 0)::int - (v.was > 0)::int), 0)::int
from score_request q, unnest(q.was_frequency, q.now_frequency) as v(was, now)
where q.tenant_id = $1 and not q.folded
"""
_COUNT = "select count(*)::int from customer where tenant_id = $1 and frequency > 0"
_STORE = """
insert into quantile_mark (tenant_id, axis, k, rank, value, customer_code)
select $1, * from unnest($2::text[], $3::smallint[], $4::int[], $5::numeric[], $6::text[])
on conflict (tenant_id, axis, k) do update
set rank = excluded.rank, value = excluded.value, customer_code = excluded.customer_code
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """How the customers of an axis are ordered: by a column that only customers with a counting order have above the
    first value, and by code."""

    column: str
    kind: str
    first: str

    def upwards(self) -> str:
        """The two entries from `$4` steps at or behind the place ($2, $3)."""
        return (
            f"select {self.column} as value, customer_code from customer where tenant_id = $1 "  # noqa: S608
            f"and ({self.column}, customer_code) >= ($2::{self.kind}, $3) and {self.column} >= {self.first} "
            f"order by {self.column}, customer_code offset $4 limit 2"
        )

    def downwards(self) -> str:
        """The entry `$4` steps before the one right before the place ($2, $3)."""
        return (
            f"select {self.column} as value, customer_code from customer where tenant_id = $1 "  # noqa: S608
            f"and ({self.column}, customer_code) < ($2::{self.kind}, $3) and {self.column} >= {self.first} "
            f"order by {self.column} desc, customer_code desc offset $4 limit 1"
        )


AXES: Mapping[str, Axis] = {
    DAY: Axis("last_order_day", "date", "date '-infinity'"),
    FREQUENCY: Axis("frequency", "int", "1"),
    MONETARY: Axis("monetary", "numeric", "0.0001"),
    BASKET: Axis("average_basket", "numeric", "0"),
}
_UPWARDS = {name: axis.upwards() for name, axis in AXES.items()}
_DOWNWARDS = {name: axis.downwards() for name, axis in AXES.items()}
_FIRST_PLACE = {DAY: Mark(0, Decimal(-719_162), ""), FREQUENCY: Mark(0, Decimal(1), ""),
                MONETARY: Mark(0, Decimal("0.0001"), ""), BASKET: Mark(0, Decimal(0), "")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standings:
    """The marks at their wanted ranks, and per quantile the values at that rank and the next."""

    count: int
    marks: Mapping[Key, Mark]
    neighbours: Mapping[Key, tuple[Decimal, Decimal]]


class LostMarkError(Exception):
    """No entry stands where a mark says: the marks do not belong to these customers."""


async def shifted_marks(raw: Raw, tenant_id: UUID) -> dict[Key, Mark]:
    """The tenant's marks with their ranks of this moment, the open changes considered. Empty before the first run."""
    rows = await raw.fetch(_SHIFTED, tenant_id)
    return {(r["axis"], r["k"]): Mark(r["rank"], r["value"], r["customer_code"]) for r in rows}


async def grown(raw: Raw, tenant_id: UUID, count: int) -> int:
    """How many customers have a counting order, `count` of them before the open changes."""
    return count + int(await raw.fetchval(_GROWTH, tenant_id))


async def count_all(raw: Raw, tenant_id: UUID) -> int:
    """The same by counting everybody."""
    return int(await raw.fetchval(_COUNT, tenant_id))


async def step(raw: Raw, tenant_id: UUID, count: int, marks: Mapping[Key, Mark]) -> Standings:
    """Steps every mark to its wanted rank; one that is missing starts at the lowest entry.

    Raises:
        LostMarkError: an entry that must be there is not.
    """
    found: dict[Key, Mark] = {}
    neighbours: dict[Key, tuple[Decimal, Decimal]] = {}
    for key in KEYS if count else ():
        mark = marks.get(key, _FIRST_PLACE[key[0]])
        found[key], neighbours[key] = await _step_one(raw, tenant_id, key, mark, wanted_rank(key, count))
    return Standings(count, found, neighbours)


async def _step_one(raw: Raw, tenant_id: UUID, key: Key, mark: Mark, rank: int) -> tuple[Mark, tuple[Decimal, Decimal]]:
    axis, offset = key[0], rank - mark.rank
    if offset < 0:
        rows = await raw.fetch(_DOWNWARDS[axis], tenant_id, _place(axis, mark), mark.code, -offset - 1)
        mark, offset = _mark(axis, rank, rows), 0
    rows = await raw.fetch(_UPWARDS[axis], tenant_id, _place(axis, mark), mark.code, offset)
    here = _mark(axis, rank, rows)
    return here, (here.value, _value(axis, rows[-1]["value"]))


def _mark(axis: str, rank: int, rows: Rows) -> Mark:
    if not rows:
        raise LostMarkError(axis)
    return Mark(rank, _value(axis, rows[0]["value"]), rows[0]["customer_code"])


def _value(axis: str, stored: Any) -> Decimal:
    return Decimal(day_number(stored)) if axis == DAY else Decimal(stored)


def _place(axis: str, mark: Mark) -> object:
    """The value of a mark as the column has it."""
    if axis == DAY:
        return day_of(int(mark.value))
    return int(mark.value) if axis == FREQUENCY else mark.value


async def store_marks(raw: Raw, tenant_id: UUID, marks: Mapping[Key, Mark]) -> None:
    """Makes these the tenant's marks."""
    if not marks:
        await raw.execute("delete from quantile_mark where tenant_id = $1", tenant_id)
        return
    keys = sorted(marks)
    await raw.execute(
        _STORE, tenant_id, [axis for axis, _ in keys], [k for _, k in keys], [marks[key].rank for key in keys],
        [marks[key].value for key in keys], [marks[key].code for key in keys],
    )  # fmt: skip


async def forget_mark(raw: Raw, tenant_id: UUID, code: str) -> None:
    """Removes marks that name a customer; the next run finds their places from the lowest entry on."""
    await raw.execute("delete from quantile_mark where tenant_id = $1 and customer_code = $2", tenant_id, code)
