"""The reference of exports, generated from what can be exported."""

from pathlib import Path

from services.api_gateway.exports.parquet import TYPES
from services.api_gateway.exports.response import FORMATS, STALLED_AFTER_S
from services.api_gateway.repository.exports import EXPORTS, Column, Export, Kind

PAGE = Path(__file__).parents[1] / "docs" / "exports.md"
HEAD = f"""# Exports
This page is generated from the code: `python -m cli.exports`.

```sh
curl -OJ -H "Authorization: Bearer $TOKEN" "http://127.0.0.1:8000/v1/exports/sales.parquet?from=2026-01-01&to=2026-06-30"
```

- `GET /v1/exports/<name>.<format>` with the scope `read`; formats: {", ".join(f"`{name}`" for name in FORMATS)};
  names: {", ".join(f"[`{export.name}`](#{export.name})" for export in EXPORTS)}.
- The file is sent while it is made, in memory that does not grow with it, as of the moment at which it was asked for. A
  client that takes nothing for {STALLED_AFTER_S:.0f} s is cut off. A transfer that breaks off is not a whole file:
  ask again.
- A few exports run at once (`IACRM_EXPORT_CONCURRENCY`, `IACRM_EXPORT_CONCURRENCY_PER_TENANT`); one more is answered
  503 with `Retry-After`.
- `from` and `to` take dates (local days of the tenant, both included) or times with an offset (the later one excluded).
- With nothing to export the file is valid all the same: a header, or a schema, and no rows.

## Types
| type | CSV | NDJSON | Parquet, and so in Polars and DuckDB |
|---|---|---|---|
"""
_TEXTS: dict[Kind, tuple[str, str]] = {
    "text": ("quoted", "string"),
    "words": ("quoted JSON array", "array of strings"),
    "json": ("quoted JSON object", "object"),
    "integer": ("number", "number"),
    "money": ("number with 4 decimals", "decimal string"),
    "sum": ("number with 4 decimals", "decimal string"),
    "time": ("RFC 3339 in UTC", "RFC 3339 in UTC"),
    "date": ("`2026-11-20`", "`2026-11-20`"),
    "boolean": ("`true`, `false`", "`true`, `false`"),
}
CSV = """
CSV is RFC 4180 in UTF-8: commas, CRLF, one header. Texts are always quoted and numbers never; an empty cell without
quotation marks is null. **No cell can start a formula**: a text that a spreadsheet would calculate (it begins with `=`,
`+`, `-`, `@`, a tab or a line break, also behind spaces or quotation marks) has an apostrophe before it. Parquet and
NDJSON hold every text as it is.
"""


def render() -> str:
    """The whole page as Markdown."""
    types = [f"| {kind} | {csv} | {json} | `{TYPES[kind]()}` |" for kind, (csv, json) in _TEXTS.items()]
    return "\n".join([HEAD + "\n".join(types), CSV, *(_export(export) for export in EXPORTS)])


def _export(export: Export) -> str:
    filters = " and ".join(f"`{name}`" for name in export.filters)
    about = f"{export.about} Filters: {filters}." if filters else export.about
    rows = ["| column | type | meaning |", "|---|---|---|", *(_row(column) for column in export.columns)]
    return "\n".join([f"## {export.name}", about, "", *rows, ""])


def _row(column: Column) -> str:
    return f"| `{column.name}` | {column.kind} | {column.meaning} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE}")
