"""The demo's purchases: whole histories, exact amounts, bodies that the API takes."""

from decimal import Decimal

import orjson
import polars as pl
import pytest

from cli import demo_show
from cli.console import Console
from cli.demo_data import BATCH, Slice, load
from shared.events.payloads import CustomerFields, ProductFields, SaleRecordedV1

LINES = 20_000


@pytest.fixture(scope="module")
def data() -> Slice:
    return load(LINES)


@pytest.fixture(scope="module")
def sales(data: Slice) -> list[SaleRecordedV1]:
    bodies = [line for upload in data.sale_uploads() for line in upload.body.split(b"\n")]
    return [SaleRecordedV1.model_validate_json(body) for body in bodies]


def test_a_slice_holds_whole_histories_and_no_more_lines_than_asked_for(data: Slice) -> None:
    everything = load(None).lines
    assert data.lines.height <= LINES
    for household in data.households[:10]:
        wanted = everything.filter(pl.col("household_id") == household)
        assert data.lines.filter(pl.col("household_id") == household).height == wanted.height


def test_every_line_is_exactly_what_was_paid(data: Slice, sales: list[SaleRecordedV1]) -> None:
    for sale in sales:
        for line in sale.lines:
            assert line.quantity * line.unit_price - line.discount == line.amount
    paid = sum((Decimal(str(value)) for value in data.lines["sales_value"]), Decimal(0))
    assert sum(line.net for sale in sales for line in sale.lines) == paid


def test_sales_are_sent_oldest_first_in_full_batches(data: Slice, sales: list[SaleRecordedV1]) -> None:
    moments = [sale.sold_at for sale in sales]
    assert moments == sorted(moments)
    sizes = [upload.body.count(b"\n") + 1 for upload in data.sale_uploads()]
    assert set(sizes[:-1]) == {BATCH}
    assert sum(upload.size for upload in data.sale_uploads()) == data.lines.height


def test_products_and_people_are_valid_and_nobody_is_real(data: Slice) -> None:
    products = [item for upload in data.product_uploads() for item in orjson.loads(upload.body)["products"]]
    people = [item for upload in data.customer_uploads() for item in orjson.loads(upload.body)["customers"]]
    assert {item.pop("product_key") for item in products} == set(data.lines["product_id"].cast(pl.String))
    assert {int(item.pop("customer_code")) for item in people} == set(data.households)
    for item in products:
        ProductFields.model_validate(item)
    for item in people:
        assert str(CustomerFields.model_validate(item).email).endswith("@example.org")


def test_segments_are_drawn_in_proportion(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("Champions", 40), ("Lost", 10), ("Prospects", 0)]
    segments = [
        {"segment": name.lower(), "name": name, "customers": count, "share": count / 50, "revenue": "12.5"}
        for name, count in rows
    ]
    demo_show.segments(Console(terminal=False), {"customers": 50, "reference_date": "2017-12-31", "segments": segments})
    lines = capsys.readouterr().out.splitlines()
    assert [line.count("#") for line in lines[-3:]] == [40, 10, 0]
