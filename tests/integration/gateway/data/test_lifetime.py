"""Lifetime values in answers: numbers with their model, or the reason why there are none."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest

from services.api_gateway.views import lifetime as views
from services.rfm_worker.lifetime.assess import Reason
from services.rfm_worker.lifetime.holdout import INTERVAL
from tests.integration.gateway.data.conftest import Tenant, Worker

AT = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
ERRORS = {"actual": 1000.0, "expected": 1012.5, "error": 0.33333, "bias": 0.0125, "rmse": 12.345}
FOUND: dict[str, Any] = {
    "fitted_at": AT,
    "status": "ok",
    "reason": None,
    "reference_date": date(2026, 11, 23),
    "history_days": 800,
    "horizon_days": 365,
    "customers": 20,
    "expected_orders": Decimal("81.5"),
    "expected_value": Decimal("2000"),
    "dependence": 0.1234567,
    "parameters": {"r": 0.5, "alpha": 40.0, "a": 0.8, "b": 2.5, "p": 3.0, "q": 4.0, "gamma": 50.0},
    "holdout": {
        "days": 365, "customers": 18, "orders": ERRORS, "value": ERRORS, "baseline_name": "own_pace",
        "baseline": {**ERRORS, "rmse": 14.0}, "levels": [0.05, 0.9], "coverage": 0.8123456,
    },
    "deciles": [
        {"customers": 2, "expected_value": 900.0, "lowest": 440.004, "highest": 460.0, "mean_alive": 0.98765},
        {"customers": 2, "expected_value": 0.0, "lowest": 0.0, "highest": 0.0, "mean_alive": 0.1},
    ],
}  # fmt: skip
REFUSED = {
    **FOUND, "status": "not_enough_data", "reason": "worse_than_naive", "expected_orders": None,
    "expected_value": None, "deciles": None,
}  # fmt: skip
VALUE = {
    "probability_alive": Decimal("0.8312"), "expected_orders": Decimal("4.25"), "expected_value": Decimal("210.5"),
    "low": Decimal(0), "high": Decimal("480.99"), "computed_at": AT,
}  # fmt: skip


async def of_customer(tenant: Tenant, code: str = "C") -> dict[str, Any]:
    answer = await tenant.get(f"/customers/{code}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["profile"]["lifetime_value"]
    return found


async def test_a_customer_has_a_value_with_its_interval_and_model(tenant: Tenant, worker: Worker) -> None:
    await worker.customer(tenant, "C", frequency=3)
    await worker.insert("lifetime_model", tenant, FOUND)
    await worker.insert("lifetime_value", tenant, {"customer_code": "C", **VALUE})
    assert await of_customer(tenant) == {
        "status": "ok", "reason": None, "horizon_days": 365, "expected_orders": "4.25", "expected_value": "210.50",
        "low": "0", "high": "480.99", "interval": 0.8, "probability_alive": 0.8312,
        "model": {
            "name": "bg_nbd_gamma_gamma", "fitted_at": "2026-11-24T03:05:00Z", "reference_date": "2026-11-23",
            "holdout_days": 365, "holdout_error": 0.3333, "holdout_bias": 0.0125,
        },
        "computed_at": "2026-11-24T03:05:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("frequency", "row", "reason"),
    [
        (0, None, "no_orders"),
        (2, None, "not_computed_yet"),
        (0, FOUND, "no_orders"),
        (2, FOUND, "new_since_last_run"),
        (2, REFUSED, "worse_than_naive"),
    ],
)
async def test_without_enough_data_there_is_a_reason_and_no_number(
    tenant: Tenant, worker: Worker, frequency: int, row: dict[str, Any] | None, reason: str
) -> None:
    await worker.customer(tenant, "C", frequency=frequency)
    if row is not None:
        await worker.insert("lifetime_model", tenant, row)
    found = await of_customer(tenant)
    assert (found["status"], found["reason"]) == ("not_enough_data", reason)
    for name in ("expected_orders", "expected_value", "low", "high", "interval", "probability_alive"):
        assert found[name] is None


async def test_the_report_shows_the_model_its_errors_and_ten_groups(tenant: Tenant, worker: Worker) -> None:
    await worker.insert("lifetime_model", tenant, FOUND)
    found = (await tenant.get("/analytics/lifetime-value")).json()
    assert (found["status"], found["currency"], found["customers"]) == ("ok", "EUR", 20)
    assert (found["expected_value"], found["expected_orders"], found["dependence"]) == ("2000.00", "81.5", 0.1235)
    assert found["parameters"]["gamma"] == 50
    assert found["holdout"] == {
        "days": 365, "customers": 18, "coverage": 0.8123,
        "orders": {"actual": "1000", "expected": "1012.5", "error": 0.3333, "bias": 0.0125},
        "value": {"actual": "1000.00", "expected": "1012.50", "error": 0.3333, "bias": 0.0125, "rmse": "12.35"},
        "naive": {"name": "own_pace", "error": 0.3333, "bias": 0.0125, "rmse": "14.00"},
    }  # fmt: skip
    first, last = found["deciles"]
    assert first == {
        "decile": 1, "customers": 2, "expected_value": "900.00", "share": 0.45, "lowest": "440.00",
        "highest": "460.00", "mean_probability_alive": 0.9877,
    }  # fmt: skip
    assert (last["expected_value"], last["share"]) == ("0", 0)


async def test_the_report_of_a_refused_model_keeps_its_errors_and_gives_no_values(
    tenant: Tenant, worker: Worker
) -> None:
    empty = (await tenant.get("/analytics/lifetime-value")).json()
    assert (empty["status"], empty["reason"], empty["holdout"]) == ("not_enough_data", "not_computed_yet", None)
    await worker.insert("lifetime_model", tenant, REFUSED)
    found = (await tenant.get("/analytics/lifetime-value")).json()
    assert (found["status"], found["reason"]) == ("not_enough_data", "worse_than_naive")
    assert (found["expected_value"], found["deciles"], found["interval"]) == (None, [], None)
    assert found["holdout"]["naive"]["rmse"] == "14.00"


async def test_no_tenant_sees_anothers_model_or_values(tenant: Tenant, other: Tenant, worker: Worker) -> None:
    await worker.insert("lifetime_model", other, FOUND)
    await worker.insert("lifetime_value", other, {"customer_code": "C", **VALUE})
    await worker.customer(tenant, "C", frequency=3)
    assert (await of_customer(tenant))["reason"] == "not_computed_yet"
    assert (await tenant.get("/analytics/lifetime-value")).json()["customers"] == 0


async def test_the_report_needs_a_reader(tenant: Tenant) -> None:
    answer = await tenant.client.get("/analytics/lifetime-value", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401


def test_gateway_and_worker_know_the_same_reasons_and_interval() -> None:
    assert {reason.value for reason in Reason} <= set(get_args(views.Reason))
    assert views.INTERVAL == INTERVAL
