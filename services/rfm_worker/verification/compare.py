"""Differences between two frames, in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

RELATIVE = 1e-9
"""How far a decayed sum may be from its recomputation in binary fractions."""
MOST_LISTED = 20
_SUMS = ("orders", "units", "amount", "weight")


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


def differences(
    table: str, keys: Sequence[str], actual: pl.DataFrame, expected: pl.DataFrame, columns: Sequence[str]
) -> Iterable[str]:
    """One sentence per row and column that differs, or that stands on one side only.

    Decimals and integers must be equal, `weight` to `RELATIVE`.
    """
    left = actual.select(*keys, *columns).with_columns(pl.lit(True).alias("stored"))
    right = expected.select(*keys, *columns).with_columns(pl.lit(True).alias("computed"))
    both = left.join(right, on=list(keys), how="full", coalesce=True, suffix="_computed")
    wrong = [_differs(column).alias(f"{column}_wrong") for column in columns]
    one_sided = pl.col("stored").is_null() | pl.col("computed").is_null()
    both = both.with_columns(one_sided.alias("one_sided"), *wrong)
    bad = both.filter(pl.any_horizontal("one_sided", *(f"{column}_wrong" for column in columns))).sort(keys)
    for row in bad.iter_rows(named=True):
        name = f"{table} {'/'.join(str(row[key]) for key in keys)}"
        if row["stored"] is None:
            yield f"{name}: missing"
        elif row["computed"] is None:
            yield f"{name}: should not exist"
        else:
            for column in columns:
                if row[f"{column}_wrong"]:
                    yield f"{name}: {column} is {row[column]}, should be {row[f'{column}_computed']}"


def _differs(column: str) -> pl.Expr:
    mine, other = pl.col(column), pl.col(f"{column}_computed")
    if column != "weight":
        return mine.ne_missing(other)
    return (mine - other).abs() > RELATIVE * pl.max_horizontal(mine.abs(), other.abs())
