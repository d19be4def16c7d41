"""How files are read: columns, separators, numbers, dates, and parts on disk."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.api_gateway.import_fields import KINDS, combine, suggest
from services.api_gateway.importer import spill as spilling
from services.api_gateway.importer.csv_source import CsvSource
from services.api_gateway.importer.sources import ROW, Batch, ImportRefusedError
from services.api_gateway.importer.spill import Spill
from services.api_gateway.importer.values import DAY_OR_MONTH, Evidence, Notation, moments, number
from services.api_gateway.rejected_rows import safe_cell
from services.api_gateway.uploads import format_of


@pytest.mark.parametrize(
    ("kind", "header", "expected"),
    [
        ("sales", ["N° ticket", "Code client", "Date de vente", "Réf.", "Qté", "PU TTC"],
         ["sale_id", "customer_code", "sold_at", "product_key", "quantity", "unit_price"]),
        ("sales", ["basket_id", "household_id", "transaction_timestamp", "product_id", "quantity", "sales_value"],
         ["sale_id", "customer_code", "sold_at", "product_key", "quantity", "amount"]),
        ("sales", ["OrderID", "CUSTOMER-CODE", "Order Dat", "Sku", "Quantty", "Unit Price"],
         ["sale_id", "customer_code", "sold_at", "product_key", "quantity", "unit_price"]),
        ("customers", ["Customer number", "Prénom", "Nom", "Courriel", "Téléphone"],
         ["customer_code", "first_name", "last_name", "email", "phone"]),
        ("products", ["EAN", "Libellé", "Famille", "Prix de vente", "Marge"],
         ["product_key", "name", "family", "price", "margin"]),
        ("returns", ["Avoir", "Ticket", "Date retour", "Article", "Quantité", "Montant remboursé"],
         ["return_id", "sale_id", "returned_at", "product_key", "quantity", "amount"]),
    ],
)  # fmt: skip
def test_names_in_english_and_french_suggest_their_fields(kind: str, header: list[str], expected: list[str]) -> None:
    assert suggest(kind, header) == dict(zip(header, expected, strict=True))


def test_a_suggestion_gives_no_field_twice_and_leaves_strangers_alone() -> None:
    header = ["Date", "Order date", "Colour", "x"]
    assert suggest("sales", header) == {"Date": "sold_at"} or suggest("sales", header) == {"Order date": "sold_at"}
    for kind in KINDS:
        every = [field.name for field in KINDS[kind].fields]
        assert suggest(kind, every) == dict(zip(every, every, strict=True))


def test_what_is_wanted_goes_before_what_is_suggested() -> None:
    suggestion = {"Date": "sold_at", "Total": "amount", "Qty": "quantity"}
    wanted = {"Paid at": "sold_at", "Total": None}
    assert combine(suggestion, wanted) == {"Paid at": "sold_at", "Qty": "quantity"}


def _csv(folder: Path, content: bytes) -> CsvSource:
    path = folder / "file.csv"
    path.write_bytes(content)
    return CsvSource(path, delimiter=None, encoding=None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_separators_and_encodings_are_found(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = delimiter.join(["clé", "b"]) + "\r\n" + delimiter.join(["é", '"x\n""y"""']) + "\r\n"
    source = _csv(tmp_path, text.encode(encoding))
    (batch,) = source.batches({"clé": "k", "b": "v"})
    assert batch.frame.rows() == [(2, "é", 'x\n"y"')]
    assert source.settings["encoding"] == ("windows-1252" if encoding == "cp1252" else "utf-8")


def test_rows_that_do_not_fit_refuse_themselves_and_blank_ones_do_not_count(tmp_path: Path) -> None:
    source = _csv(tmp_path, b"a,b\n1,2\n\n1,2,3\n ,\n1,2,\na,b\n1\n3,4\n")
    (batch,) = source.batches({"a": "a", "b": "b"})
    assert batch.frame.rows() == [(2, "1", "2"), (6, "1", "2"), (9, "3", "4")]
    assert [(reject.row, reject.reason) for reject in batch.rejects] == [
        (4, "has 3 cells, and the header has 2"),
        (7, "repeats the header"),
        (8, "has 1 cells, and the header has 2"),
    ]


def test_a_quotation_mark_that_is_not_closed_ends_the_import(tmp_path: Path) -> None:
    source = _csv(tmp_path, b'a,b\n1,"' + b"x\n" * 3_000_000)
    with pytest.raises(ImportRefusedError, match="quotation mark"):
        list(source.batches({"a": "a"}))


def test_a_quotation_mark_that_is_not_closed_takes_no_later_row_with_it(tmp_path: Path) -> None:
    source = _csv(tmp_path, b'a,b\n1,2\n"3,4\n5,6\n')
    with pytest.raises(ImportRefusedError, match=r"After \d rows .* quotation mark"):
        list(source.batches({"a": "a"}))
    inches = _csv(tmp_path, b'a,b\n1,5" shelf\n2,"two\nlines"\n')
    assert [row for batch in inches.batches({"a": "a"}) for row in batch.frame.rows()] == [(2, "1"), (3, "2")]


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=2), max_size=20),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
)  # fmt: skip
def test_whatever_a_csv_writer_writes_is_read_as_it_was(
    rows: list[list[str]], delimiter: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["one", "two"], *rows])
    source = _csv(tmp_path_factory.mktemp("csv"), text.getvalue().encode())
    read = [row for batch in source.batches({"one": "one", "two": "two"}) for row in batch.frame.rows()]
    stripped = [[pl.Series([cell]).str.strip_chars()[0] or None for cell in row] for row in rows]
    expected = [
        (place, *cells)
        for place, (cells, raw) in enumerate(zip(stripped, rows, strict=True), start=2)
        if raw != ["one", "two"] and any(cell.strip() for cell in raw)
    ]
    assert read == expected


@pytest.mark.parametrize(
    ("written", "decimal", "read"),
    [
        ("1,5", ",", "1.5"),
        ("1.234,56", ",", "1234.56"),
        ("1 234,56", ",", "1234.56"),
        ("1\u202f234", ",", "1234"),
        ("1'234.50", ".", "1234.50"),
        ("1,234.50", ".", "1234.50"),
        ("1,234", ".", "1,234"),
        ("1.234", ",", "1,234"),
        ("12.5", ",", "12.5"),
        ("-3,5", ",", "-3.5"),
        ("1,2,3", ",", "1,2,3"),
        ("1e3", ".", "1e3"),
    ],
)
def test_numbers_are_read_or_left_to_be_refused_never_guessed(written: str, decimal: str, read: str) -> None:
    assert pl.DataFrame({"n": [written]}).select(number("n", decimal)).item() == read


@pytest.mark.parametrize(
    ("written", "form", "read"),
    [
        ("2026-11-20T10:31:00+01:00", "iso", "2026-11-20T09:31:00Z"),
        ("2026-11-20 10:31:00", "iso", "2026-11-20T09:31:00Z"),
        ("2026-11-20", "iso", "2026-11-19T23:00:00Z"),
        ("2026-11-20T10:31:00.25Z", "iso", "2026-11-20T10:31:00.250000Z"),
        ("20/11/2026 10:31", "dd/mm/yyyy", "2026-11-20T09:31:00Z"),
        ("20.11.2026", "dd/mm/yyyy", "2026-11-19T23:00:00Z"),
        ("5-1-2026 9:05", "dd/mm/yyyy", "2026-01-05T08:05:00Z"),
        ("11/20/2026 10:31:07", "mm/dd/yyyy", "2026-11-20T09:31:07Z"),
        ("20261120 10:31", "yyyymmdd", "2026-11-20T09:31:00Z"),
        ("2026/11/20 10:31", "yyyy/mm/dd", "2026-11-20T09:31:00Z"),
        ("2026-10-25 02:30:00", "iso", "2026-10-25T00:30:00Z"),
        ("2026-03-29 02:30:00", "iso", None),
        ("2026-02-30", "iso", None),
        ("2026-11-20 25:00:00", "iso", None),
        ("20/11/26", "dd/mm/yyyy", None),
        ("1763629860", "iso", None),
        (None, "iso", None),
    ],
)
def test_moments_are_read_in_the_tenants_zone(written: str | None, form: str, read: str | None) -> None:
    frame = pl.DataFrame({"t": [written]}, schema={"t": pl.String})
    assert moments(frame, "t", Notation(".", form, "Europe/Paris"))["t"].to_list() == [read]


@pytest.mark.parametrize(
    ("dates", "form"),
    [
        (["2026-11-20", "x"], "iso"),
        (["20/11/2026", "01/02/2026"], "dd/mm/yyyy"),
        (["01/02/2026 10:00", "11/20/2026 10:00"], "mm/dd/yyyy"),
        (["01/02/2026"], DAY_OR_MONTH),
        (["20261120"], "yyyymmdd"),
        (["2026/11/20"], "yyyy/mm/dd"),
        ([], "iso"),
    ],
)
def test_the_dates_of_a_file_tell_their_form_in_any_order(dates: list[str], form: str) -> None:
    for rows in (dates, dates[::-1]):
        evidence = Evidence([], ["t"])
        for value in rows:
            evidence.add(pl.DataFrame({"t": [value]}))
        assert evidence.date_format == form


@pytest.mark.parametrize(
    ("numbers", "decimal"), [(["1,5", "2"], ","), (["1.50"], "."), (["1,234"], "."), (["1,234", "5,5"], ","), ([], ".")]
)
def test_the_numbers_of_a_file_tell_their_decimal_mark(numbers: list[str], decimal: str) -> None:
    evidence = Evidence(["n"], [])
    evidence.add(pl.DataFrame({"n": numbers}, schema={"n": pl.String}))
    assert evidence.decimal == decimal


@settings(deadline=None)
@given(
    keys=st.lists(st.sampled_from("abcdefghij"), max_size=60),
    parts=st.integers(1, 5),
    size=st.integers(1, 7),
)
def test_parts_hold_every_row_once_and_all_rows_of_a_record(
    keys: list[str], parts: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = pl.DataFrame({ROW: range(len(keys)), "k": keys}, schema={ROW: pl.Int64, "k": pl.String})
    spill = Spill(tmp_path_factory.mktemp("spill") / "x", "k", parts)
    spill.fill((Batch(frame.slice(start, size)) for start in range(0, max(1, len(keys)), size)), lambda _: None)
    assert spill.complete
    found = [rows for part in range(parts) for rows, _ in spill.load(part)]
    assert sorted(row for rows in found for row in rows[ROW]) == list(range(len(keys)))
    assert sum(rows["k"].n_unique() for rows in found) == len(set(keys))
    spill.remove()
    assert not spill.complete


def test_a_part_that_grew_too_large_is_divided_and_a_giant_record_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spilling, "LARGEST_PART", 20_000)
    monkeypatch.setattr(spilling, "PART_BYTES", 5_000)
    keys = ["giant"] * 501 + [f"k{number % 400}" for number in range(3_000)]
    frame = pl.DataFrame({ROW: range(len(keys)), "k": keys}, schema={ROW: pl.Int64, "k": pl.String})
    spill = Spill(tmp_path / "x", "k", 1)
    spill.fill(iter([Batch(frame)]), lambda _: None)
    frames, rejects = zip(*spill.load(0), strict=True)
    assert len(frames) > 2
    assert [reject.row for found in rejects for reject in found] == list(range(501))
    assert sum(rows.height for rows in frames) == 3_000
    assert sum(rows["k"].n_unique() for rows in frames) == 400


def test_what_nobody_has_worked_on_for_a_day_is_removed(tmp_path: Path) -> None:
    (tmp_path / "import" / "parts").mkdir(parents=True)
    touched = (tmp_path / "import").stat().st_mtime
    spilling.remove_abandoned(tmp_path, touched + spilling.ABANDONED_S)
    assert (tmp_path / "import").exists()
    spilling.remove_abandoned(tmp_path, touched + spilling.ABANDONED_S + 1)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_cut_off_does_not_count_as_complete(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "x", "k", 1)
    spill.fill(iter([Batch(pl.DataFrame({ROW: [1], "k": ["a"]}))]), lambda _: None)
    part = tmp_path / "x" / "part-00000.arrow"
    part.write_bytes(part.read_bytes()[:-10])
    assert not spill.complete


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx"])
def test_no_cell_starts_a_formula(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert safe_cell("a" + text) == "a" + text


@pytest.mark.parametrize(
    ("head", "name", "found"),
    [
        (b"a;b\n1;2\n", "x.tsv", "csv"),
        (b'\xef\xbb\xbf{"a": 1}\n', "x", "ndjson"),
        (b"PAR1....", "x.parquet", "parquet"),
    ],
)  # fmt: skip
def test_the_first_bytes_tell_the_format(head: bytes, name: str, found: str) -> None:
    assert format_of(head, name, None) == found
