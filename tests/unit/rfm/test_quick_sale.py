"""The quick reader accepts less than the model, and never something else."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.rfm_worker.domain.facts import Basket
from services.rfm_worker.quick_sale import read_quickly
from shared.events.payloads import SaleRecordedV1

EXAMPLES = Path(__file__).parents[3] / "shared" / "events" / "examples" / "sale.recorded.v1"

ODD_TEXT = st.sampled_from([
    "", " ", "a b", " a", "a\nb", "a\tb", "é", "a@b.co", "@", "\u00a0", "\u200b", "\\", '"', "x" * 64, "x" * 65, "\x7f",
])  # fmt: skip
CODE = st.one_of(st.text(st.characters(codec="ascii"), max_size=66), ODD_TEXT, st.just("p1"))
NUMBER = st.one_of(
    st.sampled_from([
        "0", "0.0", "-1", "+1", "1", "01", "1.", ".5", "1.5", "1.5555", "1e3", "NaN", "Infinity", " 1", "1_0", "1,5",
        "1.50001", "999999999", "1000000000", "1000000001", "١", 1, 0, 1.5, None, True,
    ]),
    st.decimals(0, 100, places=2, allow_nan=False).map(str),
)  # fmt: skip
MOMENT = st.sampled_from([
    "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456+02:00", "2026-01-02T03:04:05", "2026-01-02 03:04:05Z",
    "2026-02-30T00:00:00Z", "9999-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "2026-01-02T24:00:00Z",
    "2026-01-02T03:04:60Z", "2026-01-02T03:04:05.1234567Z", "2026-01-02T03:04:05+24:00", 1_767_323_045, None,
    "0001-01-01T00:00:00+14:00",
])  # fmt: skip


@st.composite
def line(draw: st.DrawFn) -> dict[str, Any]:
    price, quantity = draw(st.integers(0, 5000)), draw(st.integers(1, 9))
    plain = {
        "product_key": draw(st.sampled_from(["p1", "p-2"])), "quantity": str(quantity),
        "unit_price": f"{price / 100:.2f}", "discount": "0", "amount": f"{price * quantity / 100:.2f}",
    }  # fmt: skip
    odd = draw(st.dictionaries(
        st.sampled_from(["product_key", "label", "quantity", "unit_price", "discount", "amount", "extra"]),
        st.one_of(CODE, NUMBER), max_size=2,
    )) if draw(st.booleans()) else {}  # fmt: skip
    return plain | odd


SALE = st.fixed_dictionaries(
    {"sale_id": st.one_of(st.just("s1"), CODE), "sold_at": MOMENT, "lines": st.lists(line(), max_size=4)},
    optional={
        "customer_code": st.one_of(st.none(), CODE), "channel": st.one_of(st.just("web"), CODE),
        "currency": st.sampled_from(["EUR", "XXX", "eur", None, 1]),
        "metadata": st.dictionaries(CODE, CODE, max_size=2), "surprise": st.just(1),
    },
)  # fmt: skip


def by_the_model(value: bytes) -> Basket | None:
    try:
        return Basket.of(SaleRecordedV1.model_validate_json(value))
    except ValidationError:
        return None


def numbers_alike(basket: Basket) -> Any:
    from dataclasses import replace
    from decimal import Decimal

    def plain(values: list[str]) -> Any:
        return [Decimal(value) for value in values]

    return replace(
        basket, quantities=plain(basket.quantities), unit_prices=plain(basket.unit_prices),
        discounts=plain(basket.discounts), amounts=plain(basket.amounts),
    )  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(SALE)
def test_what_it_reads_is_what_the_model_reads(sale: dict[str, Any]) -> None:
    value = json.dumps(sale).encode()
    quick = read_quickly(value)
    if quick is not None:
        model = by_the_model(value)
        assert model is not None, "the model refuses it"
        assert numbers_alike(quick) == numbers_alike(model)


def test_it_reads_an_ordinary_sale() -> None:
    sale = {
        "sale_id": "s1", "customer_code": "c1", "sold_at": "2026-01-02T03:04:05+01:00", "currency": "EUR",
        "lines": [
            {"product_key": "p1", "quantity": "2", "unit_price": "1.50", "amount": "3.00", "label": "Café crème"}
        ],
    }  # fmt: skip
    basket = read_quickly(json.dumps(sale).encode())
    assert basket is not None
    assert basket.discounts == ["0"]


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"null", b"\xff", b'{"sale_id": 1}'])
def test_what_is_no_sale_is_left_to_the_model(value: bytes) -> None:
    assert read_quickly(value) is None


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_golden_examples_read_alike(path: Path) -> None:
    example = json.loads(path.read_bytes())
    value = json.dumps(example.get("payload", example.get("value", example))).encode()
    quick, model = read_quickly(value), by_the_model(value)
    assert quick is None or (model is not None and numbers_alike(quick) == numbers_alike(model))
