"""Average basket and customer profile as functions, room for in-place updates of busy rows.

Revision ID: 0002
Revises: 0001
"""

from migrations.script import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql("0002_profiles")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: the worker needs these functions")
