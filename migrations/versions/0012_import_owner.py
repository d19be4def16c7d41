"""A killed importer is seen at once.

Revision ID: 0012
Revises: 0011
"""

from migrations.script import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_sql("0012_import_owner")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
