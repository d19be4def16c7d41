"""States as of an earlier day.

Revision ID: 0009
Revises: 0008
"""

from migrations.script import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_sql("0009_time_travel")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
