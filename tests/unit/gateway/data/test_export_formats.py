"""Files of exports: cells that cannot calculate, types that stay, nothing lost."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api_gateway.exports import parquet
from services.api_gateway.exports.response import FORMATS
from services.api_gateway.exports.texts import Csv, defused
from services.api_gateway.repository.exports import EXPORTS, Column, Kind

KINDS: tuple[Kind, ...] = ("text", "words", "json", "integer", "money", "sum", "time", "date", "boolean")
COLUMNS = tuple(Column(f"a_{kind}", kind, "", "") for kind in KINDS)
WHEN = datetime(2026, 11, 20, 9, 31, 0, 250000, tzinfo=UTC)
ROW = ('Oak, "80"', ["a", "=b"], '{"k":"v"}', -3, Decimal("-1.5"), Decimal(10) ** 19, WHEN, date(2026, 11, 20), True)
NOTHING = (None,) * len(KINDS)
TRIGGERS = "=+-@\t\r"


def made(format_: str, columns: Sequence[Column], *parts: Sequence[Sequence[Any]]) -> bytes:
    """A whole file."""
    file = FORMATS[format_](columns)
    return file.begin() + b"".join(file.add(part) for part in parts) + file.end()


def cells(data: bytes) -> list[list[str]]:
    """A CSV file as every reader sees it."""
    return list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))


def test_a_csv_file_keeps_numbers_as_numbers_and_quotes_texts() -> None:
    header, row, empty = made("csv", COLUMNS, [ROW], [NOTHING]).decode().splitlines()
    assert header == ",".join(f'"a_{kind}"' for kind in KINDS)
    assert row == (
        '"Oak, ""80""","[""a"",""=b""]","{""k"":""v""}",-3,-1.5000,10000000000000000000.0000,'
        "2026-11-20T09:31:00.250000+00:00,2026-11-20,true"
    )
    assert empty == "," * (len(KINDS) - 1)


@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("before", ["", " ", '"', "'", "  \t"])
def test_no_cell_and_no_header_can_begin_a_formula(trigger: str, before: str) -> None:
    text = f"{before}{trigger}1+cmd|' /C calc'!A0"
    ((header,), (cell,)) = cells(made("csv", [Column(text, "text", "", "")], [[text]]))
    assert cell == header == "'" + text


@given(text=st.text())
def test_a_cell_is_what_was_stored_or_that_behind_an_apostrophe(text: str) -> None:
    safe = defused(text)
    assert safe in (text, "'" + text)
    assert not safe.lstrip(' "').startswith(tuple(TRIGGERS))
    data = Csv([Column("c", "text", "", "")]).add([[text]])
    assert data.decode() == '"' + safe.replace('"', '""') + '"\r\n'


@pytest.mark.parametrize("harmless", ["Ana", "3-4", "a=b", "ana@example.org", "", "é", "(+33)"])
def test_harmless_texts_stay_as_they_are(harmless: str) -> None:
    assert defused(harmless) == harmless


def test_an_ndjson_file_holds_one_object_a_line() -> None:
    row, empty = (
        orjson.loads(line) for line in made("ndjson", COLUMNS, [ROW], [(*NOTHING[:2], "{}", *NOTHING[3:])]).splitlines()
    )
    assert row == {
        "a_text": 'Oak, "80"', "a_words": ["a", "=b"], "a_json": {"k": "v"}, "a_integer": -3, "a_money": "-1.5000",
        "a_sum": "10000000000000000000.0000", "a_time": "2026-11-20T09:31:00.250000+00:00", "a_date": "2026-11-20",
        "a_boolean": True,
    }  # fmt: skip
    assert set(empty) == set(row)


TYPES: dict[Kind, tuple[Any, str]] = {
    "text": (pl.String, "VARCHAR"),
    "words": (pl.List(pl.String), "VARCHAR[]"),
    "json": (pl.String, "VARCHAR"),
    "integer": (pl.Int32, "INTEGER"),
    "money": (pl.Decimal(18, 4), "DECIMAL(18,4)"),
    "sum": (pl.Decimal(38, 4), "DECIMAL(38,4)"),
    "time": (pl.Datetime("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
    "date": (pl.Date, "DATE"),
    "boolean": (pl.Boolean, "BOOLEAN"),
}


@pytest.mark.parametrize("rows", [[], [ROW], [NOTHING], [ROW, NOTHING]], ids=len)
def test_polars_and_duckdb_read_one_parquet_file_with_the_same_types(
    rows: list[tuple[Any, ...]], tmp_path: Any
) -> None:
    path = tmp_path / "file.parquet"
    path.write_bytes(made("parquet", COLUMNS, rows) if rows else made("parquet", COLUMNS))
    frame = pl.read_parquet(path)
    assert dict(frame.schema) == {f"a_{kind}": TYPES[kind][0] for kind in KINDS}
    with duckdb.connect() as connection:
        described = connection.execute(f"describe select * from '{path}'").fetchall()
        connection.execute("set timezone = 'UTC'")
        read = connection.execute(f"select * from '{path}'").fetchall()
    assert {name: type_ for name, type_, *_ in described} == {f"a_{kind}": TYPES[kind][1] for kind in KINDS}
    assert frame.rows() == rows
    assert [tuple(row) for row in read] == rows


def test_parquet_row_groups_leave_as_soon_as_they_are_full(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(parquet, "ROWS_OF_A_GROUP", 10)
    file = parquet.Parquet([Column("n", "integer", "", "")])
    parts = [file.begin(), *(file.add([[4 * part + n] for n in range(4)]) for part in range(6)), file.end()]
    assert [bool(part) for part in parts] == [True, False, False, True, False, False, True, True]
    path = tmp_path / "file.parquet"
    path.write_bytes(b"".join(parts))
    assert pl.read_parquet(path)["n"].to_list() == list(range(24))


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.name)
def test_the_columns_of_an_export_have_names_of_their_own(export: Any) -> None:
    names = [column.name for column in export.columns]
    assert len(set(names)) == len(names)
    assert all(defused(name) == name and name.isidentifier() for name in names)
