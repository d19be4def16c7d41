"""Customers and products: each row sets the fields that the file has, and leaves the others as they are stored."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl
from pydantic import ValidationError

from services.api_gateway.alias_rules import why_no_product
from services.api_gateway.import_fields import ATTRIBUTE
from services.api_gateway.importer.records import Context, Made
from services.api_gateway.importer.sources import DOCUMENT, ROW, Reject
from services.api_gateway.importer.spill import MOST_ROWS_PER_KEY, too_many
from services.api_gateway.importer.values import day, moments, number
from services.api_gateway.master_writes import CUSTOMERS_KIND, PRODUCTS_KIND, Kind
from services.api_gateway.reasons import field_reasons
from services.api_gateway.views.customers import CustomerBody
from services.api_gateway.views.products import ProductBody
from shared.events.payloads import Payload

SOURCE = "import"
_YES = frozenset("yes y true t 1 oui o vrai v active actif enabled subscribed opted_in opt_in x si ja".split())  # noqa: SIM905
_NO = frozenset("no n false f 0 non faux inactive inactif disabled unsubscribed opted_out opt_out nein".split())  # noqa: SIM905
_TAGS = re.compile(r"\s*[|,;]\s*")
_CHANNELS = ("email", "sms")


@dataclass(frozen=True, slots=True)
class MasterShape:
    """A kind of master data: how its rows are read, and where they are kept."""

    kind: Kind
    model: type[Payload]
    numbers: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells records apart."""
        return self.kind.master.key


CUSTOMER = MasterShape(
    CUSTOMERS_KIND, CustomerBody, days=("birth_date",), moments=tuple(f"consent_{name}_at" for name in _CHANNELS)
)
PRODUCT = MasterShape(PRODUCTS_KIND, ProductBody, numbers=("price", "margin", "stock"))
SHAPES = {"customers": CUSTOMER, "products": PRODUCT}


def from_rows(frame: pl.DataFrame, shape: MasterShape, context: Context) -> Made:
    """Rows to store, of rows that hold all rows of each record."""
    notation = context.notation
    read = frame.with_columns(
        *(number(name, notation.decimal) for name in shape.numbers if name in frame.columns),
        *(day(name, notation) for name in shape.days if name in frame.columns),
    )
    for name in shape.moments:
        if name in frame.columns:
            read = moments(read, name, notation)
    collected = _Collected(shape, context.aliases)
    for cells in read.sort(shape.key, ROW).iter_rows(named=True):
        row = cells.pop(ROW)
        if DOCUMENT in cells:
            collected.check(row, cells[shape.key], cells[DOCUMENT].encode())
            continue
        try:
            collected.check(row, cells[shape.key], orjson.dumps(_body(cells)))
        except _Unclear as unclear:
            collected.refuse(row, cells[shape.key], [Reject(row, unclear.field, unclear.reason)])
    return collected.made()


class _Unclear(Exception):  # noqa: N818 - never leaves this module
    """A cell that means nothing known."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


class _Collected:
    """Records by their key, each said once or always alike: no row is worth more for standing further down."""

    def __init__(self, shape: MasterShape, aliases: Mapping[str, str]) -> None:
        self._shape, self._aliases = shape, aliases
        self._said: dict[str, list[tuple[int, Mapping[str, Any] | None]]] = {}
        self._rejects: list[Reject] = []

    def check(self, row: int, key: str, body: bytes) -> None:
        try:
            record = self._shape.model.__pydantic_validator__.validate_json(body)
        except ValidationError as error:
            reasons = field_reasons(error.errors(include_url=False))
            self.refuse(row, key, [Reject(row, reason["field"], reason["reason"]) for reason in reasons])
            return
        if key in self._aliases:
            self.refuse(row, key, [Reject(row, self._shape.key, why_no_product(self._aliases[key]))])
            return
        said = record.model_dump(mode="json", exclude_unset=True)
        if "consents" in said:
            said["consents"] = {name: consent for name, consent in said["consents"].items() if consent is not None}
        self._said.setdefault(key, []).append((row, said))

    def refuse(self, row: int, key: str, reasons: list[Reject]) -> None:
        self._said.setdefault(key, []).append((row, None))
        self._rejects += reasons

    def made(self) -> Made:
        """The outcome."""
        made = Made(rejects=self._rejects)
        for said in self._said.values():
            good = [(row, record) for row, record in said if record is not None]
            same = all(record == good[0][1] for _, record in good)
            if good and same and len(said) <= MOST_ROWS_PER_KEY:
                made.rows.append(good[0][1])
                made.records += 1
                continue
            made.records_rejected += 1
            reason = too_many() if same else f"the same {self._shape.key} stands in the file with other content"
            made.rejects += [Reject(row, self._shape.key, reason) for row, _ in good]
        return made


def _body(cells: Mapping[str, str | None]) -> dict[str, Any]:
    """A body of the REST API from the cells of one row."""
    body: dict[str, Any] = {}
    consents: dict[str, Any] = {}
    for name, value in cells.items():
        if name.startswith(ATTRIBUTE):
            if value is not None:
                body.setdefault("attributes", {})[name.removeprefix(ATTRIBUTE)] = value
        elif name == "tags":
            body[name] = [tag for tag in _TAGS.split(value) if tag] if value else []
        elif name == "active":
            if value is not None:
                body[name] = _flag(name, value)
        elif not name.startswith("consent_"):
            body[name] = value
    for channel in _CHANNELS:
        if cells.get(f"consent_{channel}") is not None:
            consents[channel] = _consent(cells, f"consent_{channel}")
    return {**body, "consents": consents} if consents else body


def _consent(cells: Mapping[str, str | None], name: str) -> dict[str, Any]:
    value, at = cells[name], cells.get(f"{name}_at")
    assert value is not None  # noqa: S101 - the caller has looked
    status = "opted_in" if _flag(name, value) else "opted_out"
    if at is None:
        raise _Unclear(f"{name}_at", f"is required beside {name}: a consent without its moment proves nothing")
    return {"status": status, "at": at, "source": SOURCE}


def _flag(name: str, value: str) -> bool:
    word = value.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise _Unclear(name, "must be yes or no")
