"""Numbers and moments as files write them, turned into the form that the REST API takes; column by column."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

ISO = "iso"
LAST_MONTH = 12
_CLEAR = (ISO, "yyyymmdd", "yyyy/mm/dd")
_SHORT = "day or month first"
_TIME = r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6}))?)?)?"
_OFFSET = r"\s*(Z|[+-]\d{2}:?\d{2})?"
_PATTERNS = {
    ISO: rf"^(\d{{4}})-(\d{{2}})-(\d{{2}}){_TIME}{_OFFSET}$",
    "dd/mm/yyyy": rf"^(\d{{1,2}})[/.-](\d{{1,2}})[/.-](\d{{4}}){_TIME}{_OFFSET}$",
    "mm/dd/yyyy": rf"^(\d{{1,2}})[/.-](\d{{1,2}})[/.-](\d{{4}}){_TIME}{_OFFSET}$",
    "yyyy/mm/dd": rf"^(\d{{4}})[/.-](\d{{1,2}})[/.-](\d{{1,2}}){_TIME}{_OFFSET}$",
    "yyyymmdd": rf"^(\d{{4}})(\d{{2}})(\d{{2}}){_TIME}{_OFFSET}$",
}
_ORDER = {
    ISO: (1, 2, 3),
    "dd/mm/yyyy": (3, 2, 1),
    "mm/dd/yyyy": (3, 1, 2),
    "yyyy/mm/dd": (1, 2, 3),
    "yyyymmdd": (1, 2, 3),
}
_DAYS = r"\d{2}[/.-]\d{2}[/.-]\d{4}"
_CLOCK = r"[T ]\d{2}:\d{2}(:\d{2})?$"
_USUAL = {
    ISO: r"^\d{4}-\d{2}-\d{2}" + _CLOCK,
    "dd/mm/yyyy": f"^{_DAYS}{_CLOCK}",
    "mm/dd/yyyy": f"^{_DAYS}{_CLOCK}",
    "yyyy/mm/dd": r"^\d{4}[/.-]\d{2}[/.-]\d{2}" + _CLOCK,
    "yyyymmdd": r"^\d{8}" + _CLOCK,
}
_CHRONO = {
    ISO: "%Y-%m-%d", "dd/mm/yyyy": "%d/%m/%Y", "mm/dd/yyyy": "%m/%d/%Y", "yyyy/mm/dd": "%Y/%m/%d", "yyyymmdd": "%Y%m%d",
}  # fmt: skip
_LONGEST_WITHOUT_SECONDS = {name: 14 if name == "yyyymmdd" else 16 for name in _CHRONO}
_READ = "__read"
DAY_OR_MONTH = "ambiguous"
_SPACES = r"[\s\u00a0\u202f'’]"


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file writes things."""

    decimal: str
    date_format: str
    timezone: str


class Evidence:
    """What all rows of a file show of how it writes numbers and dates; their order is of no account.

    Args:
        numbers: columns of numbers.
        dates: columns of dates and moments.
    """

    def __init__(self, numbers: Sequence[str], dates: Sequence[str]) -> None:
        self._numbers, self._dates = numbers, dates
        self._marks: Counter[str] = Counter()
        self._forms: Counter[str] = Counter()

    def add(self, frame: pl.DataFrame) -> None:
        """Looks at more rows."""
        for name in self._numbers:
            values = frame[name].drop_nulls()
            for mark in (",", "."):
                # Three digits behind a mark may as well be thousands, and tell nothing.
                self._marks[mark] += int(values.str.contains(rf"\{mark}(\d{{1,2}}|\d{{4}})$").sum())
        for name in self._dates:
            self._look_at_dates(frame[name].unique().drop_nulls())

    @property
    def decimal(self) -> str:
        """The decimal mark."""
        return "," if self._marks[","] > self._marks["."] else "."

    @property
    def date_format(self) -> str:
        """The order of day, month and year; `DAY_OR_MONTH` where nothing tells which comes first."""
        seen, often = max(((name, self._forms[name]) for name in (*_CLEAR, _SHORT)), key=lambda found: found[1])
        if not often:
            return ISO
        if seen != _SHORT:
            return seen
        day_first, month_first = self._forms["dd/mm/yyyy"], self._forms["mm/dd/yyyy"]
        if day_first == month_first:
            return DAY_OR_MONTH
        return "dd/mm/yyyy" if day_first > month_first else "mm/dd/yyyy"

    def _look_at_dates(self, values: pl.Series) -> None:
        for name in _CLEAR:
            self._forms[name] += int(values.str.contains(_PATTERNS[name]).sum())
        parts = values.str.extract_groups(r"^(\d{1,2})[/.-](\d{1,2})[/.-]\d{4}\b").struct.unnest().drop_nulls()
        self._forms[_SHORT] += parts.height
        self._forms["dd/mm/yyyy"] += int((parts["1"].cast(pl.Int32) > LAST_MONTH).sum())
        self._forms["mm/dd/yyyy"] += int((parts["2"].cast(pl.Int32) > LAST_MONTH).sum())


def number(column: str, decimal: str) -> pl.Expr:
    """A number with a decimal point and without thousands separators; what is no number stays as it is.

    Spaces and apostrophes between groups of three digits go; the other mark only where the decimal mark follows it,
    because "1,234" may be either.
    """
    other = "." if decimal == "," else ","
    text = pl.col(column)
    grouped = text.str.contains(rf"^-?\d{{1,3}}({_SPACES}\d{{3}})+([.,]\d+)?$")
    text = pl.when(grouped).then(text.str.replace_all(_SPACES, "")).otherwise(text)
    marked = text.str.contains(rf"^-?\d{{1,3}}(\{other}\d{{3}})+\{decimal}\d+$")
    text = pl.when(marked).then(text.str.replace_all(other, "", literal=True)).otherwise(text)
    if decimal == ",":
        plain = text.str.replace(",", ".", literal=True)
        # "1.234" may be meant either way: with a comma in it, it is no number, and is refused rather than guessed.
        doubtful = text.str.replace_all(".", ",", literal=True)
        text = (
            pl.when(text.str.contains(r"^-?\d+,\d+$"))
            .then(plain)
            .when(text.str.contains(r"^-?\d{1,3}(\.\d{3})+$"))
            .then(doubtful)
            .otherwise(text)
        )
    return text.alias(column)


def moments(frame: pl.DataFrame, column: str, notation: Notation) -> pl.DataFrame:
    """The frame with a column of moments as RFC 3339 in UTC, with Z; null where it is none, or does not exist locally.

    A local time that exists twice is the first of the two. A date alone is its midnight. Each value is read once,
    because the lines of a sale share theirs.
    """
    values = frame.select(column).unique().drop_nulls()
    usual = pl.col(column).str.contains(_USUAL[notation.date_format])
    read = pl.concat(
        [
            values.filter(usual).with_columns(_usual(column, notation).alias(_READ)),
            values.filter(~usual).with_columns(_any(column, notation).alias(_READ)),
        ]
    ).with_columns(_written(pl.col(_READ)))
    return frame.join(read, on=column, how="left", maintain_order="left").drop(column).rename({_READ: column})


def _usual(column: str, notation: Notation) -> pl.Expr:
    """The quick way, for date and time without fraction and offset."""
    form = _CHRONO[notation.date_format]
    text = pl.col(column).str.replace("T", " ", literal=True)
    if notation.date_format != ISO:
        text = text.str.replace_all(r"[.-]", "/")
    short = text.str.len_chars() <= _LONGEST_WITHOUT_SECONDS[notation.date_format]
    full = pl.when(short).then(pl.concat_str(text, pl.lit(":00"))).otherwise(text)
    return _placed(full.str.to_datetime(f"{form} %H:%M:%S", strict=False, time_unit="us"), notation)


def _any(column: str, notation: Notation) -> pl.Expr:
    parts = pl.col(column).str.extract_groups(_PATTERNS[notation.date_format])
    year, month, day_ = (parts.struct.field(str(place)) for place in _ORDER[notation.date_format])
    hour, minute, second, fraction, offset = (parts.struct.field(str(place)) for place in range(4, 9))
    zero = pl.lit("0")
    local = pl.format(
        "{}-{}-{} {}:{}:{}.{}",
        year, month, day_, hour.fill_null(zero), minute.fill_null(zero), second.fill_null(zero),
        fraction.fill_null(zero).str.pad_end(6, "0"),
    ).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")  # fmt: skip
    given = (local - pl.duration(minutes=_minutes(offset))).dt.replace_time_zone("UTC")
    return pl.when(offset.is_null()).then(_placed(local, notation)).otherwise(given)


def _placed(local: pl.Expr, notation: Notation) -> pl.Expr:
    return local.dt.replace_time_zone(
        notation.timezone, ambiguous="earliest", non_existent="null"
    ).dt.convert_time_zone("UTC")


def _written(utc: pl.Expr) -> pl.Expr:
    exact = utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.when(utc.dt.microsecond() == 0).then(utc.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).otherwise(exact)


def day(column: str, notation: Notation) -> pl.Expr:
    """A date as YYYY-MM-DD; what is none stays as it is."""
    parts = pl.col(column).str.extract_groups(_PATTERNS[notation.date_format])
    year, month, day_ = (parts.struct.field(str(place)) for place in _ORDER[notation.date_format])
    found = pl.format("{}-{}-{}", year, month.str.zfill(2), day_.str.zfill(2))
    return pl.coalesce(found, pl.col(column)).alias(column)


def _minutes(offset: pl.Expr) -> pl.Expr:
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    digits = offset.str.extract(r"(\d{2}):?\d{2}$").cast(pl.Int64, strict=False) * 60
    return sign * (digits + offset.str.extract(r"\d{2}:?(\d{2})$").cast(pl.Int64, strict=False)).fill_null(0)


def why_no_moment(notation: Notation) -> str:
    """The reason against a moment that could not be read."""
    form = "YYYY-MM-DD hh:mm:ss" if notation.date_format == ISO else f"{notation.date_format} hh:mm:ss"
    return f"must be a date such as {form}, with an offset or a time that exists in {notation.timezone}"
