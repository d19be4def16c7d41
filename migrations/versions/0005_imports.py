"""Imports of files.

Revision ID: 0005
Revises: 0004
"""

from migrations.script import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql("0005_imports")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
