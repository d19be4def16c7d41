"""Profiles of many customers at once.

Revision ID: 0010
Revises: 0009
"""

from migrations.script import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_sql("0010_profiles_of_many")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
