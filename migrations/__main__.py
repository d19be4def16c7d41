"""`python -m migrations`: roles, grants and every pending revision. Safe to run again and beside another run."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config

from migrations.roles import ensure_roles
from migrations.settings import MigrationSettings


def main() -> None:
    """Brings the database of IACRM_ADMIN_DATABASE_URL to the newest revision."""
    settings = MigrationSettings()
    asyncio.run(ensure_roles(settings.url(), settings.passwords()))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    command.upgrade(config, "head")


if __name__ == "__main__":
    main()
