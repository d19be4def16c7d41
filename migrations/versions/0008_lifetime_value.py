"""Customer lifetime value.

Revision ID: 0008
Revises: 0007
"""

from migrations.script import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_sql("0008_lifetime_value")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
