"""Rebuild beside the running worker.

Revision ID: 0007
Revises: 0006
"""

from migrations.script import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run_sql("0007_rebuild")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
