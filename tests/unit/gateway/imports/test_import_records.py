"""Rows become the very events that the REST API makes, in any order and in lots of any size."""

import random
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.api_gateway.importer import flat, masters
from services.api_gateway.importer.documents import RETURN, SALE, from_documents
from services.api_gateway.importer.plain_sales import PLAIN, judged
from services.api_gateway.importer.records import Context
from services.api_gateway.importer.sources import DOCUMENT, ROW, Batch, Reject
from services.api_gateway.importer.spill import Spill
from services.api_gateway.importer.values import Notation
from services.api_gateway.outgoing import to_bytes
from shared.events.payloads import SaleRecordedV1

CONTEXT = Context(
    uuid.UUID(int=1), datetime(2026, 11, 24, tzinfo=UTC), "r", False, "EUR", Notation(".", "iso", "Europe/Paris")
)
COLUMNS = ("sale_id", "customer_code", "sold_at", "channel", "currency", *SALE.line)
MOMENT = "2026-11-20T09:31:00Z"

_numbers = st.decimals(0, 10**6, places=4).map(str) | st.integers(0, 20).map(str) | st.sampled_from(
    ["0", "0.5", "1.2345", "007", "1e3", "-1", "1.23456", "0.0005", "99999.9999", "123456789.1234", "x", "", "1 000"]
)  # fmt: skip
_codes = st.sampled_from(
    ["A", "B", "C-1", 'q"uote', "back\\slash", "a@b.example", "a@b", "é", "x" * 65, "with blank", None]
)
_labels = st.sampled_from([None, "Shelf", "Étagère", 'with "quotes"', "a@b.example", "x" * 201, "tab\there", "\u2028"])
_lines = st.fixed_dictionaries(
    {
        "product_key": _codes,
        "label": _labels,
        "quantity": st.sampled_from(["1", "2", "0.345", "0", "1000000", "999999.999", "1.2345"]) | _numbers,
        "unit_price": _numbers,
        "discount": st.none() | _numbers,
        "amount": st.none() | _numbers,
    }
)


@st.composite
def _likely_lines(draw: st.DrawFn) -> dict[str, str | None]:
    """Lines that are valid or miss it by a hair: in how they round, or in how far the amount is off."""
    quantity = draw(st.sampled_from(["1", "2", "0.5", "1.5", "0.345", "12.25"]))
    price = draw(st.sampled_from(["0.0001", "0.0003", "0.0005", "1.2345", "39.90", "5", "99999.9999"]))
    discount = draw(st.sampled_from([None, "0", "0.01", "1.5"]))
    due = Decimal(quantity) * Decimal(price) - Decimal(discount or 0)
    off = draw(st.sampled_from([None, "0", "0.01", "-0.01", "0.0101", "-0.0101", "0.0099"]))
    amount = None if off is None else format(max(Decimal(0), (due + Decimal(off)).quantize(Decimal("0.0001"))), "f")
    return {
        "product_key": draw(st.sampled_from(["A", "B", "C-1"])),
        "label": draw(st.sampled_from([None, "Shelf", "Étagère"])),
        "quantity": quantity,
        "unit_price": price,
        "discount": discount,
        "amount": amount,
    }


_likely_sales = st.fixed_dictionaries(
    {
        "customer_code": st.sampled_from([None, "C-1", "C-2"]),
        "sold_at": st.sampled_from([MOMENT, "2026-11-20 10:31"]),
        "channel": st.sampled_from([None, "web"]),
        "currency": st.sampled_from([None, "EUR"]),
        "lines": st.lists(_likely_lines(), min_size=1, max_size=3),
    }
)
_wild_sales = st.fixed_dictionaries(
    {
        "customer_code": _codes,
        "sold_at": st.sampled_from(
            [MOMENT, "2026-11-20 10:31", "2026-11-20T10:31:00.5+01:00", "1899-01-01", "2100-01-01", "never"]),
        "channel": st.sampled_from([None, "web", "Click & Collect", "a@b.example", 'q"']),
        "currency": st.sampled_from([None, "EUR", "USD", "XXX"]),
        "lines": st.lists(_lines, min_size=1, max_size=3),
    }
)  # fmt: skip
_sales = _likely_sales | _wild_sales


def table(sales: list[dict[str, Any]]) -> pl.DataFrame:
    rows = [
        {"sale_id": f"S{number}", **{k: v for k, v in sale.items() if k != "lines"}, **line}
        for number, sale in enumerate(sales)
        for line in sale["lines"]
    ]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all())).insert_column(
        0, pl.Series(ROW, range(2, len(rows) + 2), dtype=pl.Int64)
    )


@settings(max_examples=300, deadline=None)
@given(sales=st.lists(_sales, min_size=1, max_size=6))
def test_what_is_written_quickly_is_what_the_model_writes(sales: list[dict[str, Any]]) -> None:
    quick = flat.from_rows(table(sales), SALE, CONTEXT)
    slow = _without_the_quick_way(table(sales))
    assert quick.messages == slow.messages
    assert quick.rejects == slow.rejects
    assert (quick.records, quick.records_rejected) == (slow.records, slow.records_rejected)
    for message in quick.messages:
        model = SaleRecordedV1.model_validate_json(message.value or b"")
        assert to_bytes(model) == message.value


def _without_the_quick_way(frame: pl.DataFrame) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            flat.plain_sales,
            "judged",
            lambda rows, context: judged(rows, context).with_columns(pl.lit(False).alias(PLAIN)),
        )
        return flat.from_rows(frame, SALE, CONTEXT)


def test_usual_sales_go_the_quick_way() -> None:
    line = {"product_key": "P", "label": "Étagère", "quantity": "2", "unit_price": "39.90", "discount": "5.00"}
    sale = {
        "customer_code": "C",
        "sold_at": MOMENT,
        "channel": None,
        "currency": None,
        "lines": [{**line, "amount": None}],
    }
    assert flat._read(table([sale]), SALE, CONTEXT)[PLAIN].to_list() == [True]


@settings(max_examples=60, deadline=None)
@given(
    sales=st.lists(_sales, min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
    parts=st.integers(1, 4),
    size=st.integers(1, 9),
)
def test_any_order_and_any_size_of_lots_make_the_same_events(
    sales: list[dict[str, Any]], seed: int, parts: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frame = table(sales)
    whole = flat.from_rows(frame, SALE, CONTEXT)
    shuffled = frame[random.Random(seed).sample(range(frame.height), frame.height)].with_columns(frame[ROW])
    spill = Spill(tmp_path_factory.mktemp("lots") / "x", "sale_id", parts)
    spill.fill((Batch(shuffled.slice(at, size)) for at in range(0, frame.height, size)), lambda _: None)
    made = [flat.from_rows(rows, SALE, CONTEXT) for part in range(parts) for rows, _ in spill.load(part) if rows.height]
    events = sorted((message for one in made for message in one.messages), key=lambda m: (m.key, m.value))
    assert events == whole.messages
    rejects = [reject for one in made for reject in one.rejects]
    assert _blamed(shuffled, rejects) == _blamed(frame, whole.rejects)


def _blamed(frame: pl.DataFrame, rejects: list[Reject]) -> set[tuple[Any, ...]]:
    """What the refused rows hold, with the field that is to blame: their numbers depend on where they stand."""
    cells = {row: tuple(values) for row, *values in frame.iter_rows()}
    return {(cells[reject.row], reject.field) for reject in rejects}


def sale_rows(**columns: list[str | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    usual = {"sale_id": "A", "sold_at": MOMENT, "product_key": "P", "quantity": "1", "unit_price": "5"}
    rest = {name: [value] * count for name, value in usual.items()}
    frame = pl.DataFrame({**rest, **columns}, schema_overrides=dict.fromkeys(columns, pl.String))
    return frame.insert_column(0, pl.Series(ROW, range(2, count + 2), dtype=pl.Int64))


def test_rows_that_do_not_agree_about_their_sale_refuse_it() -> None:
    made = flat.from_rows(sale_rows(customer_code=["C1", "C2"]), SALE, CONTEXT)
    assert made.messages == []
    assert {(reject.row, reject.field) for reject in made.rejects} == {(2, "customer_code"), (3, "customer_code")}


def test_what_one_row_says_and_the_others_leave_out_holds_for_the_sale() -> None:
    made = flat.from_rows(sale_rows(customer_code=[None, "C1"], channel=["web", None]), SALE, CONTEXT)
    body = orjson.loads(made.messages[0].value or b"")
    assert (body["customer_code"], body["channel"]) == ("C1", "web")


def test_a_sale_of_more_lines_than_a_sale_may_have_is_refused() -> None:
    made = flat.from_rows(sale_rows(product_key=[f"P{n}" for n in range(501)]), SALE, CONTEXT)
    assert (made.records, made.records_rejected, len(made.rejects)) == (0, 1, 501)
    assert flat.from_rows(sale_rows(product_key=[f"P{n}" for n in range(500)]), SALE, CONTEXT).records == 1


def test_an_amount_without_a_price_gets_the_price_that_reaches_it() -> None:
    made = flat.from_rows(sale_rows(unit_price=[None], quantity=["3"], amount=["10.00"]), SALE, CONTEXT)
    (line,) = orjson.loads(made.messages[0].value or b"")["lines"]
    assert (line["unit_price"], line["discount"], line["amount"]) == ("3.3334", "0.0002", "10.00")


def test_another_currency_than_the_tenants_is_refused() -> None:
    made = flat.from_rows(sale_rows(currency=["USD"]), SALE, CONTEXT)
    assert [(reject.field, reject.reason) for reject in made.rejects] == [
        ("currency", "must be EUR, the tenant's currency, or absent")
    ]


def test_documents_are_judged_by_the_model_alone() -> None:
    good = {
        "return_id": "R",
        "sale_id": "A",
        "returned_at": MOMENT,
        "lines": [{"product_key": "P", "quantity": 1, "amount": 1}],
    }
    bad = {**good, "lines": [{"product_key": "P", "quantity": 0, "amount": 1}]}
    frame = pl.DataFrame(
        {ROW: [1, 2], "return_id": ["R", "R"], DOCUMENT: [orjson.dumps(x).decode() for x in (good, bad)]}
    )
    made = from_documents(frame, RETURN, CONTEXT)
    assert made.records == 1
    assert [(reject.row, reject.field) for reject in made.rejects] == [(2, "lines.0.quantity")]
    with pytest.raises(ValidationError):
        RETURN.model.model_validate(bad)


def _customers(**columns: list[str | None]) -> Any:
    frame = pl.DataFrame(columns).insert_column(
        0, pl.Series(ROW, range(2, 2 + len(columns["customer_code"])), dtype=pl.Int64)
    )
    return masters.from_rows(frame, masters.CUSTOMER, CONTEXT)


def test_a_customer_twice_with_other_content_is_refused_and_alike_is_one() -> None:
    made = _customers(customer_code=["A", "A", "B", "B"], last_name=["x", "y", "z", "z"])
    assert [row["customer_code"] for row in made.rows] == ["B"]
    assert {reject.row for reject in made.rejects} == {2, 3}


def test_a_consent_needs_its_moment_and_a_word_that_is_known() -> None:
    made = _customers(
        customer_code=["A", "B", "C", "D"],
        consent_email=["oui", "yes", "perhaps", None],
        consent_email_at=["2026-01-05", None, "2026-01-05", None],
    )
    assert {reject.row: reject.field for reject in made.rejects} == {3: "consent_email_at", 4: "consent_email"}
    first, last = made.rows
    assert first["consents"] == {"email": {"status": "opted_in", "at": "2026-01-04T23:00:00Z", "source": "import"}}
    assert last == {"customer_code": "D"}


def test_the_same_content_has_the_same_id_and_other_content_another() -> None:
    one, again = (CONTEXT.event("t", "s", "r", b"x") for _ in range(2))
    other = CONTEXT.event("t", "s", "r", b"y")
    assert one == again
    assert dict(one.headers)["ce_id"] != dict(other.headers)["ce_id"]
