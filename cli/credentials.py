"""Secrets of one installation: made at random when first asked for, kept readable by their owner alone."""

import json
import secrets
from pathlib import Path

from cli.files import write_atomically


class Credentials:
    """Named secrets of a data folder, in `secrets.json` (mode 0600)."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._path = data / "secrets.json"

    def get(self, name: str) -> str:
        """The secret of that name: 43 random URL-safe characters, made now if there is none yet."""
        known = self._read()
        if name not in known:
            known[name] = secrets.token_urlsafe(32)
            self._write(known)
        return known[name]

    def put(self, name: str, value: str) -> None:
        """Keeps a secret that was made elsewhere, such as an API key."""
        self._write({**self._read(), name: value})

    def find(self, name: str) -> str | None:
        """The secret of that name, or None; makes nothing."""
        return self._read().get(name)

    def _read(self) -> dict[str, str]:
        try:
            return dict(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return {}

    def _write(self, known: dict[str, str]) -> None:
        write_atomically(self._path, json.dumps(known, indent=2) + "\n", mode=0o600)
