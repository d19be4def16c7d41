"""How a file is read: which column means what, and how it writes numbers and dates."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.api_gateway.import_fields import KINDS, combine, suggest
from services.api_gateway.importer import documents, masters
from services.api_gateway.importer.csv_source import CsvSource
from services.api_gateway.importer.ndjson_source import NdjsonSource
from services.api_gateway.importer.parquet_source import ParquetSource
from services.api_gateway.importer.sources import DOCUMENT, ImportRefusedError, Source, check_mapping
from services.api_gateway.importer.values import DAY_OR_MONTH, ISO, Evidence, Notation


@dataclass(frozen=True, slots=True)
class Understanding:
    """A file's columns and their meaning."""

    kind: str
    header: list[str]
    suggestion: dict[str, str]
    mapping: dict[str, str]
    documents: bool

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the rows that are read."""
        return [KINDS[self.kind].key, DOCUMENT] if self.documents else list(self.mapping.values())

    def evidence(self) -> Evidence:
        """What to look at in the rows."""
        columns = () if self.documents else tuple(self.mapping.values())
        numbers, dates = _numbers(self.kind), _dates(self.kind)
        return Evidence([name for name in columns if name in numbers], [name for name in columns if name in dates])

    def as_json(self, settings: Mapping[str, str]) -> dict[str, Any]:
        """For the row of the import."""
        return {
            "header": self.header,
            "suggestion": self.suggestion,
            "mapping": self.mapping,
            "settings": dict(settings),
        }


def open_source(path: Path, format_: str, kind: str, options: Mapping[str, Any], *, mapped: bool) -> Source:
    """Opens a file.

    Raises:
        ImportRefusedError: it cannot be read.
    """
    if format_ == "parquet":
        return ParquetSource(path)
    if format_ == "csv":
        return CsvSource(path, delimiter=options.get("delimiter"), encoding=options.get("encoding"))
    nested = "lines" if kind in documents.SHAPES else None
    source = NdjsonSource(path, key=KINDS[kind].key, nested=nested, encoding=options.get("encoding"))
    if mapped and nested is None:
        source.documents = False
    return source


def understand(source: Source, kind: str, wanted: Mapping[str, str | None]) -> Understanding:
    """Which column means what.

    Raises:
        ImportRefusedError: the mapping names a column that is not there, or a field that is needed has none.
    """
    header = list(source.header)
    if source.documents:
        return Understanding(kind, header, {}, {}, documents=True)
    check_mapping(dict.fromkeys(wanted, ""), header)
    suggestion = suggest(kind, header)
    chosen = combine(suggestion, wanted)
    mapping = {column: chosen[column] for column in header if column in chosen}
    missing = [field.name for field in KINDS[kind].fields if field.required and field.name not in mapping.values()]
    if kind == "sales" and not {"unit_price", "amount"} & set(mapping.values()):
        missing.append("unit_price or amount")
    understanding = Understanding(kind, header, suggestion, mapping, documents=False)
    if missing:
        raise NotUnderstoodError(f"No column is known to hold {', '.join(missing)}: send a mapping.", understanding)
    return understanding


class NotUnderstoodError(ImportRefusedError):
    """Fields that are needed have no column; what is understood so far helps to write the mapping."""

    def __init__(self, reason: str, understanding: Understanding) -> None:
        super().__init__(reason)
        self.understanding = understanding


def notation_of(evidence: Evidence, options: Mapping[str, Any], timezone: str) -> Notation:
    """How numbers and dates are written: as told, else as found.

    Raises:
        ImportRefusedError: day and month cannot be told apart.
    """
    date_format = options.get("date_format") or evidence.date_format
    if date_format == DAY_OR_MONTH:
        raise ImportRefusedError(
            "Nothing tells whether the day or the month comes first: send date_format dd/mm/yyyy or mm/dd/yyyy."
        )
    return Notation(options.get("decimal") or evidence.decimal, date_format, options.get("timezone") or timezone)


def settings_of(source_settings: Mapping[str, str], notation: Notation) -> dict[str, str]:
    """Everything that was told or found out, by the names of the options."""
    return {
        **source_settings,
        "decimal": notation.decimal,
        "date_format": notation.date_format,
        "timezone": notation.timezone,
    }


def notation_from(settings: Mapping[str, str]) -> Notation:
    """The inverse, for an import that goes on."""
    return Notation(settings["decimal"], settings.get("date_format", ISO), settings["timezone"])


def _numbers(kind: str) -> tuple[str, ...]:
    return documents.SHAPES[kind].numbers if kind in documents.SHAPES else masters.SHAPES[kind].numbers


def _dates(kind: str) -> tuple[str, ...]:
    if kind in documents.SHAPES:
        return (documents.SHAPES[kind].moment,)
    return (*masters.SHAPES[kind].days, *masters.SHAPES[kind].moments)
