"""Rows of the stage: a new sale, a place kept for one that has not come, an order before and after a change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from services.rfm_worker.domain.contribution import ZERO, Contribution, Lines, per_product
from services.rfm_worker.domain.decay import weights
from services.rfm_worker.domain.facts import Accepted, Basket, Sale, SaleText
from services.rfm_worker.repository.text_copy import (
    NULL,
    binary,
    document,
    moment,
    numbers,
    text,
    texts,
    texts_or_nulls,
)

SaleKey = tuple[UUID, str]


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who a sale belongs to.

    `code` stands in the ledger (a pseudonym after an erasure), `counted` is the customer whose values it raises: None
    for an anonymous sale and for an erased person.
    """

    code: str | None
    counted: str | None
    code_hash: bytes | None


NOBODY = Buyer(None, None, None)
_NO_SALE = "\t".join([NULL] * 13)
_NO_PARTS = "\t".join([NULL] * 3)
_NO_VALUES = "\t".join(["0", "0", "0", *[NULL] * 6])


def sale_row(n: int, sale: Sale, buyer: Buyer, mapped: Mapping[str, str]) -> str:
    """A sale as if it were new: its ledger row and its whole contribution.

    Args:
        n: its number on the stage.
        mapped: keys of its lines that stand for other products.
    """
    body, written = sale.body, sale.text or sale_text(sale.accepted, sale.body)
    effective, parts = NULL, written.parts
    if mapped:
        products = [mapped.get(key, key) for key in body.products]
        effective, parts = texts(products), _merged(replace(body.lines(), products=products))
    return "\t".join((
        str(n), "1", str(sale.tenant_id), text(body.sale_id), "t", text(buyer.code), text(buyer.counted),
        binary(buyer.code_hash), written.head, effective, written.lines, parts, NULL,
    )) + "\n"  # fmt: skip


def sale_text(accepted: Accepted, body: Basket) -> SaleText:
    """What of a sale's row depends on nothing but the sale."""
    net, units = sum(map(Decimal, body.amounts), ZERO), sum(map(Decimal, body.quantities), ZERO)
    spend_weight, units_weight = weights(body.sold_at)
    head = (
        body.sold_at.isoformat(), text(body.channel), text(body.currency), accepted[0].isoformat(), text(accepted[1]),
        texts(body.products),
    )  # fmt: skip
    lines = (
        texts_or_nulls(body.labels), numbers(body.quantities), numbers(body.unit_prices), numbers(body.discounts),
        numbers(body.amounts), document(body.metadata), "1" if net > 0 else "0", str(units), str(net),
        str(spend_weight), str(units_weight),
    )  # fmt: skip
    distinct = len(set(body.products)) == len(body.products)
    return SaleText("\t".join(head), "\t".join(lines), _NO_PARTS if distinct else _merged(body.lines()))


def _merged(lines: Lines) -> str:
    units, spent = per_product(lines)
    return "\t".join((texts(list(units)), numbers(map(str, units.values())), numbers(map(str, spent.values()))))


def place_row(n: int, key: SaleKey) -> str:
    """A place for a sale that a return or a cancellation names and that has not come yet."""
    head = "\t".join((str(n), "1", str(key[0]), text(key[1]), "f", *[NULL] * 3))
    return f"{head}\t{_NO_SALE}\t{_NO_VALUES}\n"


def delta_row(
    sign: int, key: SaleKey, sold_at: datetime, buyer: Buyer, given: Contribution, *, day: date | None
) -> str:
    """The contribution of an order, added (sign 1) or taken away (sign -1). It has no number: it is no ledger row.

    Args:
        day: under which the ledger sums the order; None for a sale that is dated in this batch.
    """
    spend_weight, units_weight = weights(sold_at)
    parts = given.parts
    return "\t".join((
        NULL, str(sign), str(key[0]), text(key[1]), "t", text(buyer.code), text(buyer.counted),
        binary(buyer.code_hash), moment(sold_at), *[NULL] * 12, "1" if given.counts else "0", str(given.units),
        str(given.net), str(spend_weight), str(units_weight), texts(list(parts)),
        numbers(str(part.units) for part in parts.values()), numbers(str(part.amount) for part in parts.values()),
        NULL if day is None else day.isoformat(),
    )) + "\n"  # fmt: skip
