"""Two frames compared: nothing is told of rows that are alike in whatever order, and each difference is."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from services.rfm_worker.verification.compare import Report, compare
from services.rfm_worker.verification.load import MONEY, in_steps

CODE = pl.Categorical(pl.Categories.random())
FIRST = date(1960, 5, 1)
LATER = date(2026, 5, 1)
Row = tuple[date | None, str, str, float]


def frame(rows: Sequence[Row], code: Any = CODE) -> pl.DataFrame:
    schema = {"day": pl.Date, "product_key": code, "amount": pl.String, "weight": pl.Float64}
    return in_steps(pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("amount").cast(MONEY)))


def told(stored: pl.DataFrame, computed: pl.DataFrame, columns: Sequence[str] = ("amount", "weight")) -> list[str]:
    report = Report()
    compare(report, "t", ["day", "product_key"], stored=stored, computed=computed, columns=columns)
    assert report.found == len(report.differences)
    return report.differences


ROWS: list[Row] = [(LATER, "b", "1.0001", 0.5), (FIRST, "a", "2", 0.25), (LATER, "a", "3", 1e9), (FIRST, "b", "4", 0)]


@pytest.mark.parametrize("code", [CODE, pl.String])
def test_rows_that_are_alike_in_another_order_are_no_difference(code: Any) -> None:
    assert told(frame(ROWS, code), frame(ROWS, code)) == []
    assert told(frame(ROWS, code), frame(ROWS[::-1], code)) == []
    assert told(frame([], code), frame([], code)) == []


@pytest.mark.parametrize("code", [CODE, pl.String])
def test_a_value_a_row_too_many_and_a_missing_one_are_told_each(code: Any) -> None:
    stored = frame([(LATER, "b", "1.0002", 0.5), (FIRST, "a", "2", 0.25), (LATER, "c", "3", 1), ROWS[3]], code)
    assert told(stored, frame(ROWS[::-1], code)) == [
        "t/2026-05-01/a: missing",
        "t/2026-05-01/c: should not exist",
        "t/2026-05-01/b: amount is 1.0002, should be 1.0001",
    ]


def test_decimals_are_whole_steps_in_as_many_bits_as_their_sum_needs() -> None:
    small, large = frame(ROWS), frame([(LATER, "a", "922337203685477.5807", 1), (LATER, "b", "0.0001", 1)])
    assert (small.schema["amount"], small["amount"].to_list()) == (pl.Int64, [10_001, 20_000, 30_000, 40_000])
    assert (large.schema["amount"], large["amount"].sum()) == (pl.Int128, 2**63)


def test_one_step_of_the_last_decimal_is_a_difference_however_large_the_number() -> None:
    large = Decimal("99999999999999999999.9999")
    stored, computed = (frame([(LATER, "a", str(x), 1)]) for x in (large, large - Decimal("0.0001")))
    assert told(stored, computed) == [f"t/2026-05-01/a: amount is {large}, should be {large - Decimal('0.0001')}"]


def test_a_weight_may_differ_by_dust_only() -> None:
    def weighing(weight: float) -> pl.DataFrame:
        return frame([(LATER, "b", "1", weight), (FIRST, "a", "2", 1)])

    assert told(weighing(1e6), weighing(1e6 * (1 + 1e-12))[::-1]) == []
    assert [line[:22] for line in told(weighing(1e6), weighing(1e6 * (1 + 1e-8))[::-1])] == ["t/2026-05-01/b: weight"]


def test_keys_that_need_too_many_bits_for_one_number_are_compared() -> None:
    rows = [(LATER - timedelta(days=n), n * 2**33, n) for n in range(3)]
    schema = {"day": pl.Date, "number": pl.Int64, "amount": pl.Int64}
    stored = pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("number") * 2**28)
    report = Report()
    for computed in (stored[::-1], stored[::-1].with_columns(pl.col("amount") + 1)):
        compare(report, "t", ["day", "number"], stored=stored, computed=computed, columns=["amount"])
    assert report.found == 3
