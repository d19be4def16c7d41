"""Runs the SQL files of a revision, statement by statement (the driver prepares each, so it takes one at a time)."""

import re
from pathlib import Path

from alembic import op

SQL = Path(__file__).parent / "sql"
_QUOTED = re.compile(r"\$\$.*?\$\$|'[^']*'", re.DOTALL)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


def run_sql(*names: str) -> None:
    """Executes `migrations/sql/<name>.sql` for each name, in order, in the migration's transaction."""
    for name in names:
        for statement in statements((SQL / f"{name}.sql").read_text(encoding="utf-8")):
            op.get_bind().exec_driver_sql(statement)


def statements(script: str) -> list[str]:
    """Splits a script at the semicolons that stand outside `$$` bodies, quoted text and line comments."""
    script = _COMMENT.sub("", script)
    quoted = _QUOTED.findall(script)
    parts = _QUOTED.sub("\x00", script).split(";")
    rest = iter(quoted)
    return ["".join(next(rest) if char == "\x00" else char for char in part).strip() for part in parts if part.strip()]
