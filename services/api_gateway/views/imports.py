"""Imports in requests and answers."""

from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import orjson
from pydantic import BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

from services.api_gateway.import_fields import KINDS, may_map_to
from shared.events.fields import Currency, Label, TimeZone
from shared.events.payloads import Payload

Kind = Literal["sales", "returns", "customers", "products"]
Format = Literal["csv", "ndjson", "parquet"]
DateFormat = Literal["iso", "dd/mm/yyyy", "mm/dd/yyyy", "yyyy/mm/dd", "yyyymmdd"]
State = Literal["uploading", "queued", "running", "paused", "completed", "failed", "cancelled"]
MOST_COLUMNS = 1_000
Scope = Literal["sales:write", "customers:write", "products:write"]
SCOPES: dict[str, Scope] = {
    "sales": "sales:write",
    "returns": "sales:write",
    "customers": "customers:write",
    "products": "products:write",
}


class ImportOptions(Payload):
    """The fields of POST /imports beside the file. What is left out is found out from the file itself."""

    kind: Kind
    format: Format | None = Field(None, description="found from the content and the name when absent")
    dry_run: bool = Field(False, description="read and check everything, change nothing")
    backfill: bool = Field(False, description="history: counts as usual, and never causes a message to a person")
    mapping: dict[str, str | None] = Field(
        default_factory=dict,
        max_length=MOST_COLUMNS,
        description="JSON object: column of the file -> field, null to ignore it; the others follow the suggestion",
    )
    delimiter: Literal[",", ";", "tab", "|"] | None = None
    decimal: Literal[".", ","] | None = Field(None, description="the decimal mark of numbers")
    encoding: Literal["utf-8", "windows-1252"] | None = None
    date_format: DateFormat | None = Field(
        None, description="order of day, month and year; / . - are alike, and a time of day may follow"
    )
    timezone: TimeZone | None = Field(None, description="of times without an offset; the tenant's when absent")
    currency: Currency | None = Field(None, description="of sales that name none")
    channel: Label | None = Field(None, description="of sales that name none; `store` when absent")

    @field_validator("mapping", mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return orjson.loads(value)
        except ValueError:
            raise PydanticCustomError("mapping_json", "must be a JSON object") from None

    @field_validator("mapping")
    @classmethod
    def _known(cls, value: dict[str, str | None], info: Any) -> dict[str, str | None]:
        kind = info.data.get("kind")
        targets = [field for field in value.values() if field is not None]
        if kind in KINDS:
            unknown = sorted({field for field in targets if not may_map_to(kind, field)})
            if unknown:
                raise PydanticCustomError(
                    "mapping_field", "names unknown fields: {names}", {"names": ", ".join(unknown)}
                )
        twice = sorted({field for field in targets if targets.count(field) > 1})
        if twice:
            raise PydanticCustomError("mapping_twice", "maps two columns to {names}", {"names": ", ".join(twice)})
        return value


class ImportAccepted(BaseModel):
    """The file is stored, and an importer will take it."""

    import_id: UUID


class RowError(BaseModel):
    """One thing that is wrong with one row."""

    row: int = Field(description="as in the file: the header of a CSV file is row 1")
    field: str = Field(description="our name of the field; empty for the row as a whole")
    column: str | None = Field(description="the file's name of it")
    reason: str


class Counts(BaseModel):
    """How many so far. A record is a sale, a return, a customer or a product; a sale may have many rows."""

    rows: int = 0
    rows_rejected: int = 0
    records: int = 0
    records_rejected: int = 0
    unchanged: int = Field(0, description="customers and products that were stored just so already")


class Understood(BaseModel):
    """How the file is read."""

    header: list[str] = Field(description="columns of the file, in their order")
    suggestion: dict[str, str] = Field(description="column -> field, as far as the names tell")
    mapping: dict[str, str] = Field(description="column -> field, as used")
    settings: dict[str, str] = Field(description="delimiter, encoding, decimal, date_format, timezone as used")


class Import(BaseModel):
    """An import and how far it is."""

    import_id: UUID
    kind: Kind
    state: State
    dry_run: bool
    backfill: bool
    format: Format | None
    file_name: str | None
    size_bytes: int
    sha256: str | None = Field(description="of the file")
    options: dict[str, Any] = Field(description="as sent")
    progress: float = Field(ge=0, le=1, description="share of the work that is done")
    counts: Counts
    understood: Understood | None = Field(description="null until the importer has looked into the file")
    errors: list[RowError] = Field(description="the first ones; all are in /rejected")
    sample: list[dict[str, Any]] | None = Field(description="the first records as understood; of a dry run only")
    reason: str | None = Field(description="why it failed")
    created_at: datetime
    created_by: str
    started_at: datetime | None
    finished_at: datetime | None


def import_of(row: Any) -> Import:
    """An import, from its row."""
    options = row.options
    return Import(
        import_id=row.import_id,
        kind=row.kind,
        state=row.state,
        dry_run=options.get("dry_run", False),
        backfill=options.get("backfill", False),
        format=row.format,
        file_name=row.file_name,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        options=options,
        progress=_progress(row),
        counts=Counts.model_validate(row.counts),
        understood=None if row.understood is None else Understood.model_validate(row.understood),
        errors=[RowError.model_validate(error) for error in row.errors],
        sample=row.sample,
        reason=row.reason,
        created_at=row.created_at,
        created_by=row.created_by,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


READING_SHARE = 0.2
"""What taking the file apart counts in the progress; the rest goes by finished parts."""


def _progress(row: Any) -> float:
    if row.state == "completed":
        return 1.0
    if row.parts:
        return round(READING_SHARE + (1 - READING_SHARE) * cast(float, row.parts_done / row.parts), 4)
    read = row.counts.get("bytes_read", 0)
    return round(READING_SHARE * min(1.0, read / row.size_bytes), 4) if row.size_bytes else 0.0
