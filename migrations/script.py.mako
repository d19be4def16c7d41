"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from migrations.script import run_sql

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    run_sql(${repr(up_revision)})


def downgrade() -> None:
    raise RuntimeError("restore a backup instead: this revision changes data")
