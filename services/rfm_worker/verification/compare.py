"""Differences between two frames, in words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

RELATIVE = 1e-9
"""How far a decayed sum may be from its recomputation in binary fractions."""
MOST_LISTED = 20
_SUMS = ("orders", "units", "amount", "weight")
_DECIMALS = {"units": 3, "amount": 4, "gross": 4, "net": 4, "monetary": 4}
"""Of numbers that are compared as whole steps of the last one."""


@dataclass(slots=True)
class Report:
    """What was compared and what differs. It is true when nothing does."""

    compared: dict[str, int] = field(default_factory=dict)
    """Rows per table."""
    differences: list[str] = field(default_factory=list)
    found: int = 0
    """How many differences there are, listed ones and others."""
    tenants: int = 0
    """How many tenants were compared."""

    def __bool__(self) -> bool:
        return self.found == 0

    def count(self, table: str, rows: int) -> None:
        """Notes how many rows of a table were compared."""
        self.compared[table] = self.compared.get(table, 0) + rows

    def add(self, lines: Iterable[str]) -> None:
        """Notes differences; of many alike the first ones are listed."""
        for n, line in enumerate(lines):
            self.found += 1
            if n < MOST_LISTED:
                self.differences.append(line)

    def add_rows(self, bad: pl.DataFrame, sentence: Callable[[Mapping[str, Any]], str]) -> None:
        """Notes one difference per row; the first rows are listed."""
        self.found += bad.height
        self.differences += map(sentence, bad.head(MOST_LISTED).iter_rows(named=True))

    def join(self, other: "Report") -> None:
        """Notes what another report notes, after what is noted already."""
        self.found += other.found
        self.differences += other.differences
        for table, rows in other.compared.items():
            self.count(table, rows)

    def lines(self) -> list[str]:
        """The report for people."""
        rows = ", ".join(f"{rows} {table}" for table, rows in sorted(self.compared.items()))
        if self:
            return [f"no difference in {rows or 'an empty database'}"]
        more = self.found - len(self.differences)
        return [*self.differences, *([f"... and {more} more"] if more else []), f"{self.found} differences in {rows}"]


def without_zeros(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows whose sums came back to nothing are as good as none."""
    sums = [name for name in _SUMS if name in frame.columns]
    return frame.filter(pl.any_horizontal(pl.col(name) != 0 for name in sums))


def compare(
    report: Report,
    table: str,
    keys: Sequence[str],
    *,
    stored: pl.DataFrame,
    computed: pl.DataFrame,
    columns: Sequence[str],
) -> None:
    """Notes every row that stands on one side only, and every column that differs.

    Values must be equal, `weight` to `RELATIVE`.

    Args:
        keys: of each row, which no two rows of a side share.
        table: what rows are called, with their tenant: "day 0192f0c1-...".
    """
    right = computed.select(*keys, *(pl.col(column).alias(f"{column}_computed") for column in columns))
    if _alike(stored, right, keys, columns):
        return
    left = stored.select(*keys, *columns).with_columns(pl.lit(True).alias("is_stored"))
    right = right.with_columns(pl.lit(True).alias("is_computed"))
    both = left.join(right, on=list(keys), how="full", coalesce=True)

    def named(row: Mapping[str, Any]) -> str:
        return f"{table}/{'/'.join(str(row[key]) for key in keys)}"

    missing, extra = pl.col("is_stored").is_null(), pl.col("is_computed").is_null()
    report.add_rows(_first(both, missing, keys), lambda row: f"{named(row)}: missing")
    report.add_rows(_first(both, extra, keys), lambda row: f"{named(row)}: should not exist")
    for column in columns:

        def differs(row: Mapping[str, Any], column: str = column) -> str:
            stored, right = (_shown(column, row[name]) for name in (column, f"{column}_computed"))
            return f"{named(row)}: {column} is {stored}, should be {right}"

        report.add_rows(_first(both, ~missing & ~extra & _differs(column), keys), differs)


def _shown(column: str, value: object) -> object:
    decimals = _DECIMALS.get(column)
    return Decimal(value).scaleb(-decimals) if decimals is not None and isinstance(value, int) else value


def _alike(stored: pl.DataFrame, computed: pl.DataFrame, keys: Sequence[str], columns: Sequence[str]) -> bool:
    """Whether nothing differs, found without a join; where it is False, only a closer look tells."""
    if stored.height != computed.height:
        return False
    mine, other = stored.select(columns), computed.select(f"{column}_computed" for column in columns)
    if not all(stored[key].equals(computed[key], null_equal=False) for key in keys):
        places = _places(stored, computed, keys)
        if places is None:
            return False
        mine, other = (_sorted(frame, place) for frame, place in zip((mine, other), places, strict=True))
        if not mine["place"].equals(other.drop_in_place("place")):
            return False
    return not any(mine.hstack(other).select(_differs(column).any() for column in columns).row(0))


def _sorted(frame: pl.DataFrame, place: pl.Series) -> pl.DataFrame:
    placed = frame.with_columns(place.alias("place"))
    return placed if place.is_sorted() else placed.sort("place")


def _places(stored: pl.DataFrame, computed: pl.DataFrame, keys: Sequence[str]) -> list[pl.Series] | None:
    """For each row of both sides one number that stands for its keys; None where texts or many bits are among them."""
    found = [pl.repeat(0, frame.height, dtype=pl.Int64, eager=True) for frame in (stored, computed)]
    room = 1
    for key in keys:
        sides = [frame[key].to_physical() for frame in (stored, computed)]
        if not all(side.dtype.is_integer() and side.null_count() == 0 for side in sides):
            return None
        sides = [side.cast(pl.Int64) for side in sides]
        least, most = (getattr(pl.concat(sides), name)() or 0 for name in ("min", "max"))
        room *= most - least + 1
        if room >= 2**63:
            return None
        found = [number * (most - least + 1) + (side - least) for number, side in zip(found, sides, strict=True)]
    return found


def _first(both: pl.DataFrame, wrong: pl.Expr, keys: Sequence[str]) -> pl.DataFrame:
    bad = both.filter(wrong)
    return bad.sort(keys) if bad.height else bad


def _differs(column: str) -> pl.Expr:
    mine, other = pl.col(column), pl.col(f"{column}_computed")
    if column != "weight":
        return mine.ne_missing(other)
    return (mine - other).abs() > RELATIVE * pl.max_horizontal(mine.abs(), other.abs())
