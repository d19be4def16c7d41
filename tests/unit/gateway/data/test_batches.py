"""A batch is read whole; a bad item rejects itself alone and says which field is wrong."""

import json
from typing import Any

import pytest

from services.api_gateway.batches import BatchParser, all_or_nothing
from services.api_gateway.errors import Problem
from shared.events.payloads import SaleRecordedV1

PARSER = BatchParser(SaleRecordedV1, field="sales", id_field="sale_id")


def sale(number: int, **changes: Any) -> dict[str, Any]:
    line = {"product_key": "P", "quantity": "1", "unit_price": "2.50"}
    return {"sale_id": f"S{number}", "sold_at": "2026-11-20T10:00:00Z", "lines": [line], **changes}


def line(**changes: Any) -> list[dict[str, Any]]:
    return [{"product_key": "P", "quantity": "1", "unit_price": "2.50", **changes}]


BAD: list[tuple[Any, str]] = [
    (sale(1, lines=line(quantity="-1")), "lines.0.quantity"),
    (sale(1, lines=line(quantity=float("nan"))), "lines.0.quantity"),
    (sale(1, lines=line(quantity=float("inf"))), "lines.0.quantity"),
    (sale(1, lines=line(quantity="1.2345")), "lines.0.quantity"),
    (sale(1, lines=line(unit_price="NaN")), "lines.0.unit_price"),
    (sale(1, lines=line(unit_price=[])), "lines.0.unit_price"),
    (sale(1, lines=line(discount="3.00")), "lines.0.amount"),
    (sale(1, lines=line(amount="2.52")), "lines.0.amount"),
    (sale(1, lines=line(colour="red")), "lines.0.colour"),
    (sale(1, lines=[]), "lines"),
    (sale(1, lines=line() * 501), "lines"),
    (sale(1, sold_at="2026-11-20T10:00:00"), "sold_at"),
    (sale(1, sold_at="9999-12-31T23:59:59-14:00"), "sold_at"),
    (sale(1, sold_at="0001-01-01T00:00:00+14:00"), "sold_at"),
    (sale(1, currency="XXQ"), "currency"),
    (sale(1, customer_code="ana@example.org"), "customer_code"),
    (sale(1, customer_code="a\u0000b"), "customer_code"),
    (sale(1, customer_code="a\nX-Header: 1"), "customer_code"),
    (sale(1, customer_code="x" * 10_000), "customer_code"),
    (sale(1, channel="x" * 10_000), "channel"),
    (sale(1, metadata={"k": "ana@example.org"}), "metadata.k"),
    (sale(1, sale_id=None), "sale_id"),
    ("text", ""),
    (None, ""),
    ([], ""),
]


@pytest.mark.parametrize(("bad", "field"), BAD)
@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_bad_sale_rejects_itself_alone(bad: Any, field: str, form: str) -> None:
    items = [sale(0), bad, sale(2)]
    if form == "json":
        parsed = PARSER.json(json.dumps({"sales": items}).encode())
    else:
        parsed = PARSER.ndjson("\r\n".join(["", *(json.dumps(item) for item in items), " "]).encode())
    assert [item.sale_id for item in parsed.items] == ["S0", "S2"]
    assert list(parsed.indexes) == [0, 2]
    (rejected,) = parsed.rejected
    assert rejected.index == 1
    assert {error["field"] for error in rejected.errors} == {field}


def test_a_good_batch_is_the_same_in_both_forms() -> None:
    items = [sale(number) for number in range(3)]
    whole = PARSER.json(json.dumps({"sales": items}).encode())
    assert whole.items == PARSER.ndjson("\n".join(json.dumps(item) for item in items).encode()).items
    assert whole.rejected == []


def test_a_line_that_is_not_json_rejects_itself_alone() -> None:
    parsed = PARSER.ndjson(json.dumps(sale(0)).encode() + b"\n{broken\n\xff\n" + json.dumps(sale(3)).encode())
    assert [item.sale_id for item in parsed.items] == ["S0", "S3"]
    assert [(bad.index, bad.id, bad.errors[0]["reason"]) for bad in parsed.rejected] == [
        (1, None, "is not valid JSON"),
        (2, None, "is not valid JSON"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 422, ""),
        (b"{", 400, ""),
        (b"\xff", 400, ""),
        (b"[" * 100_000, 400, ""),
        (b"[]", 422, ""),
        (b'{"sales": {}}', 422, "sales"),
        (b"{}", 422, "sales"),
        (b'{"sales": [], "more": 1}', 422, "more"),
        (b'{"sales": [' + b"1," * 5000 + b"1]}", 422, "sales"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(body: bytes, status: int, field: str) -> None:
    with pytest.raises(Problem) as caught:
        PARSER.json(body)
    assert caught.value.status_code == status
    assert [error["field"] for error in caught.value.errors] == [field]


def test_too_many_lines_are_refused_whole() -> None:
    with pytest.raises(Problem) as caught:
        PARSER.ndjson(b"{}\n" * 5001)
    assert caught.value.status_code == 422


def test_an_atomic_batch_names_the_fields_of_every_bad_sale() -> None:
    parsed = PARSER.json(json.dumps({"sales": [sale(0), sale(1, lines=[]), None]}).encode())
    with pytest.raises(Problem) as caught:
        all_or_nothing(parsed.rejected, "sales")
    assert [error["field"] for error in caught.value.errors] == ["sales.1.lines", "sales.2"]
