"""What stands for goods that a till knows by a label alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.events.fields import LONGEST_CODE, Code, label_key
from shared.events.payloads import SaleLine

CODE: TypeAdapter[str] = TypeAdapter(Code)


@pytest.mark.parametrize("label", ["Oak shelf 80", "OAK  SHELF 80", " oak shelf\u00a080 ", "Ｏak shelf 80"])
def test_labels_that_people_take_for_the_same_are_the_same(label: str) -> None:
    assert label_key(label) == "label:oak shelf 80"


def test_long_labels_stay_distinct() -> None:
    first, second = label_key("x" * 150 + "a"), label_key("x" * 150 + "b")
    assert first != second
    assert len(first) == len(second) == LONGEST_CODE
    assert len(label_key("x" * (LONGEST_CODE - len("label:")))) == LONGEST_CODE


@given(label=st.text(max_size=200))
def test_a_key_is_a_code_or_the_line_is_refused(label: str) -> None:
    line = {"label": label, "quantity": "1", "unit_price": "1"}
    made, wrong = _read(line)
    assert wrong <= {"label", "product_key"}
    if made is not None:
        assert CODE.validate_python(made.product_key) == label_key(label)
        assert SaleLine.model_validate({**line, "product_key": made.product_key}) == made


def _read(line: dict[str, str]) -> tuple[SaleLine | None, set[object]]:
    """The line, or the fields that are wrong with it."""
    try:
        return SaleLine.model_validate(line), set()
    except ValidationError as error:
        return None, {problem["loc"][0] for problem in error.errors()}


def test_a_key_that_is_given_stands_whatever_the_label() -> None:
    line = {"label": "Oak", "product_key": "P-88", "quantity": "1", "unit_price": "1"}
    assert SaleLine.model_validate(line).product_key == "P-88"
