"""Cut-offs at a cost that does not grow with customers.

Revision ID: 0003
Revises: 0002
"""

from migrations.script import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run_sql("0003_scoring")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
