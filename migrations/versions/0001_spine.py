"""Schemas gateway and rfm with their tables, policies and grants.

Revision ID: 0001
Revises:
"""

from migrations.script import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_sql("0001_gateway_tables", "0001_gateway_access", "0001_rfm_tables", "0001_rfm_access")


def downgrade() -> None:
    raise RuntimeError("the first revision cannot be taken back: drop the database instead")
