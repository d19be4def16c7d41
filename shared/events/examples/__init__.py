"""Golden examples: real records of every payload version. They are never edited; a new version adds new ones.

`<type>/<name>.json` holds `{"headers": {...}, "key": "...", "value": {...} | null}`.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """One record: header names and values as text, the key, and the decoded JSON value (None is a tombstone)."""

    type: str
    name: str
    headers: dict[str, str]
    key: str
    value: dict[str, Any] | None

    def raw_headers(self) -> list[tuple[str, bytes]]:
        """Headers as they stand on the broker."""
        return [(name, value.encode()) for name, value in self.headers.items()]

    def raw_value(self) -> bytes | None:
        """The value as it stands on the broker."""
        return None if self.value is None else json.dumps(self.value).encode()


def load_examples(type_: str) -> list[Example]:
    """All examples of an event type, by name; empty for an unknown type."""
    folder = files(__name__) / type_
    if not folder.is_dir():
        return []
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".json")]
    return [_load(type_, entry.name, entry.read_text("utf-8")) for entry in sorted(found, key=lambda e: e.name)]


def example_types() -> list[str]:
    """Every type that has a folder of examples."""
    folders = [entry for entry in files(__name__).iterdir() if entry.is_dir()]
    return sorted(folder.name for folder in folders if not folder.name.startswith("_"))


def _load(type_: str, filename: str, content: str) -> Example:
    stored = json.loads(content)
    return Example(type_, filename.removesuffix(".json"), stored["headers"], stored["key"], stored["value"])
