"""Figures for the dashboards.

Revision ID: 0004
Revises: 0003
"""

from migrations.script import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql("0004_analytics")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
