"""Figures of long periods from fewer and narrower rows.

Revision ID: 0011
Revises: 0010
"""

from migrations.script import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_sql("0011_reads")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
