"""Requests to the scorer: each batch appends one row per tenant that says whose values it changed, and how."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.rfm_worker.repository.people import CustomerKey
from services.rfm_worker.repository.raw import Raw

_REQUEST = """
insert into score_request (
    tenant_id, codes, was_frequency, was_monetary, was_day, now_frequency, now_monetary, now_day
) values ($1, $2, $3, $4, $5, $6, $7, $8)
"""


@dataclass(frozen=True, slots=True)
class Values:
    """What a customer is scored by."""

    frequency: int
    monetary: Decimal
    last_order_day: date | None


NO_VALUES = Values(0, Decimal(0), None)


@dataclass(frozen=True, slots=True)
class Change:
    """A customer's values before and after."""

    customer: CustomerKey
    was: Values
    now: Values


def changes_of(rows: Iterable[Mapping[str, Any]]) -> list[Change]:
    """The changes in rows with `was_frequency`, `was_monetary`, `was_day` (null for a new customer) beside the new
    values; rows that changed nothing are left out."""
    return [
        Change((row["tenant_id"], row["customer_code"]), was, now)
        for row in rows
        if (was := _was(row)) != (now := Values(row["frequency"], row["monetary"], row["last_order_day"]))
    ]


def _was(row: Mapping[str, Any]) -> Values:
    if row["was_frequency"] is None:
        return NO_VALUES
    return Values(row["was_frequency"], row["was_monetary"], row["was_day"])


async def request_scores(raw: Raw, tenants: Iterable[UUID], changes: Sequence[Change] = ()) -> None:
    """Asks the scorer for fresh cut-offs of these tenants; all changes must be of them."""
    of_tenant: dict[UUID, list[Change]] = {tenant: [] for tenant in sorted(tenants)}
    for change in changes:
        of_tenant[change.customer[0]].append(change)
    await raw.executemany(_REQUEST, [_row(tenant, named) for tenant, named in of_tenant.items()])


def _row(tenant_id: UUID, changes: Sequence[Change]) -> tuple[object, ...]:
    was, now = [c.was for c in changes], [c.now for c in changes]
    return (
        tenant_id, [c.customer[1] for c in changes],
        [v.frequency for v in was], [v.monetary for v in was], [v.last_order_day for v in was],
        [v.frequency for v in now], [v.monetary for v in now], [v.last_order_day for v in now],
    )  # fmt: skip
