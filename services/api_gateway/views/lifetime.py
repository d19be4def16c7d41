"""Customer lifetime value in answers."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field

from services.api_gateway.views.numbers import Amount, Quantity

INTERVAL = 0.8
Status = Literal["ok", "not_enough_data"]
Reason = Literal[
    "not_computed_yet", "no_orders", "new_since_last_run", "not_known_of_the_past", "too_little_history",
    "too_few_repeat_buyers", "too_few_orders_lately", "no_convergence", "value_depends_on_frequency",
    "worse_than_naive", "biased", "interval_misses",
]  # fmt: skip
"""The first four are said of one customer, or before the first run; the others of the whole tenant."""
_CENT, _PART = Decimal("0.01"), 4


class ModelSummary(BaseModel):
    """Which model spoke, and how wrong its forecast of amounts was on the days held out (shares of what came)."""

    name: Literal["bg_nbd_gamma_gamma"] = "bg_nbd_gamma_gamma"
    fitted_at: datetime
    reference_date: date
    holdout_days: int | None
    holdout_error: float | None = Field(description="sum of the customers' absolute errors / what they really brought")
    holdout_bias: float | None = Field(description="error of the total; above 0: too much was expected")


class LifetimeValue(BaseModel):
    """What the customer is expected to bring within the horizon. All numbers are null without enough data."""

    status: Status
    reason: Reason | None
    horizon_days: int | None
    expected_orders: Quantity | None = Field(description="days with an order")
    expected_value: Amount | None
    low: Amount | None = Field(description="lower end of the interval")
    high: Amount | None = Field(description="upper end of the interval")
    interval: float | None = Field(description="share of customers whose true amount lies between low and high")
    probability_alive: float | None = Field(description="that the customer has not left for good, 0 to 1")
    model: ModelSummary | None
    computed_at: datetime | None


class OrdersHoldout(BaseModel):
    """Order days after the split: what came, what was expected, and by how much it missed."""

    actual: Quantity
    expected: Quantity
    error: float = Field(description="sum of the customers' absolute errors / actual")
    bias: float = Field(description="(expected - actual) / actual")


class ValueHoldout(BaseModel):
    """The same of net amounts; `rmse` is the root mean square error per customer."""

    actual: Amount
    expected: Amount
    error: float
    bias: float
    rmse: Amount


class NaiveForecast(BaseModel):
    """The better of two forecasts without a model: everybody goes on at own_pace, or does the same_as_before."""

    name: Literal["own_pace", "same_as_before"]
    error: float
    bias: float
    rmse: Amount


class HoldoutReport(BaseModel):
    """The model was fitted without the last days, and forecast them."""

    days: int
    customers: int
    orders: OrdersHoldout
    value: ValueHoldout
    naive: NaiveForecast
    coverage: float = Field(description="share of true amounts inside the interval; it promises `interval`")


class Decile(BaseModel):
    """A tenth of the customers, the most valuable first."""

    decile: int
    customers: int
    expected_value: Amount
    share: float = Field(description="of the expected value of all customers, 0 to 1")
    lowest: Amount
    highest: Amount
    mean_probability_alive: float


class LifetimeReport(BaseModel):
    """The tenant's model, its test, and what it expects of all customers together."""

    status: Status
    reason: Reason | None
    computed_at: datetime | None
    currency: str | None
    reference_date: date | None
    history_days: int | None
    horizon_days: int | None
    interval: float | None
    customers: int
    expected_orders: Quantity | None
    expected_value: Amount | None
    dependence: float | None = Field(
        description="rank correlation of frequency and amount; the model takes 0 for granted"
    )
    parameters: dict[str, float] | None = Field(description="r, alpha, a, b (days) and p, q, gamma (currency)")
    holdout: HoldoutReport | None
    deciles: list[Decile]


def lifetime_of(row: Any | None, frequency: int) -> LifetimeValue:
    """One customer's value, from the row of `get_lifetime` and the number of counting orders that there are now."""
    if row is None:
        return without_value("no_orders" if frequency == 0 else "not_computed_yet")
    if frequency == 0 or row.status != "ok" or row.computed_at is None:
        return without_value("no_orders" if frequency == 0 else row.reason or "new_since_last_run", row)
    return LifetimeValue(
        status="ok",
        reason=None,
        horizon_days=row.horizon_days,
        expected_orders=row.expected_orders,
        expected_value=row.expected_value,
        low=row.low,
        high=row.high,
        interval=INTERVAL,
        probability_alive=float(row.probability_alive),
        model=_summary(row),
        computed_at=row.computed_at,
    )


def without_value(reason: Reason, row: Any | None = None) -> LifetimeValue:
    """No value, and why; with the row of `get_lifetime` where the tenant has a model."""
    return LifetimeValue(
        status="not_enough_data",
        reason=reason,
        horizon_days=row.horizon_days if row is not None else None,
        expected_orders=None,
        expected_value=None,
        low=None,
        high=None,
        interval=None,
        probability_alive=None,
        model=_summary(row) if row is not None else None,
        computed_at=row.fitted_at if row is not None else None,
    )


def _summary(row: Any) -> ModelSummary:
    holdout = row.holdout
    return ModelSummary(
        fitted_at=row.fitted_at,
        reference_date=row.reference_date,
        holdout_days=holdout["days"] if holdout else None,
        holdout_error=round(holdout["value"]["error"], _PART) if holdout else None,
        holdout_bias=round(holdout["value"]["bias"], _PART) if holdout else None,
    )


def report_of(row: Any | None, currency: str | None) -> LifetimeReport:
    """The tenant's report, from the row of its model."""
    if row is None:
        return LifetimeReport(
            status="not_enough_data", reason="not_computed_yet", computed_at=None, currency=currency,
            reference_date=None, history_days=None, horizon_days=None, interval=None, customers=0,
            expected_orders=None, expected_value=None, dependence=None, parameters=None, holdout=None, deciles=[],
        )  # fmt: skip
    return LifetimeReport(
        status=row.status,
        reason=row.reason,
        computed_at=row.fitted_at,
        currency=currency,
        reference_date=row.reference_date,
        history_days=row.history_days,
        horizon_days=row.horizon_days,
        interval=INTERVAL if row.status == "ok" else None,
        customers=row.customers,
        expected_orders=row.expected_orders,
        expected_value=row.expected_value,
        dependence=None if row.dependence is None else round(row.dependence, _PART),
        parameters=row.parameters,
        holdout=None if row.holdout is None else _holdout(row.holdout),
        deciles=[_decile(n, part, row.expected_value) for n, part in enumerate(row.deciles or [], 1)],
    )


def _holdout(found: Mapping[str, Any]) -> HoldoutReport:
    orders, value, naive = found["orders"], found["value"], found["baseline"]
    return HoldoutReport(
        days=found["days"],
        customers=found["customers"],
        orders=OrdersHoldout(
            actual=_amount(orders["actual"]), expected=_amount(orders["expected"]), **_shares(orders)
        ),
        value=ValueHoldout(
            actual=_amount(value["actual"]), expected=_amount(value["expected"]), rmse=_amount(value["rmse"]),
            **_shares(value),
        ),
        naive=NaiveForecast(name=found["baseline_name"], rmse=_amount(naive["rmse"]), **_shares(naive)),
        coverage=round(found["coverage"], _PART),
    )  # fmt: skip


def _shares(errors: Mapping[str, float]) -> dict[str, float]:
    return {name: round(errors[name], _PART) for name in ("error", "bias")}


def _decile(number: int, part: Mapping[str, Any], total: Decimal) -> Decile:
    return Decile(
        decile=number,
        customers=part["customers"],
        expected_value=_amount(part["expected_value"]),
        share=round(part["expected_value"] / float(total), _PART) if total else 0.0,
        lowest=_amount(part["lowest"]),
        highest=_amount(part["highest"]),
        mean_probability_alive=round(part["mean_alive"], _PART),
    )


def _amount(value: float) -> Decimal:
    """An estimate in cents: more digits would promise what it cannot hold."""
    return Decimal(value).quantize(_CENT)
