"""Labels of tills and shops mapped to products.

Revision ID: 0006
Revises: 0005
"""

from migrations.script import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run_sql("0006_aliases")


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: what this revision added is needed")
