"""`python -m services.rfm_worker.rebuild [--tenant ID] [--from SOURCE]`: for machines without the command line."""

import argparse
import asyncio
import sys
from uuid import UUID

from services.rfm_worker.rebuild.errors import NoSuchTenantError, RebuildError
from services.rfm_worker.rebuild.run import run
from services.rfm_worker.rebuild.settings import RebuildSettings


def main() -> int:
    """Rebuilds the database of `IACRM_ADMIN_DATABASE_URL`. Exit code 0: done, 1: nothing changed, 2: no such tenant."""
    parser = argparse.ArgumentParser(prog="python -m services.rfm_worker.rebuild", description=__doc__)
    parser.add_argument("--tenant", type=UUID, help="id of one tenant; else all of them")
    parser.add_argument("--from", dest="source", choices=("auto", "topics", "ledger"), default="auto")
    given = parser.parse_args()
    try:
        done = asyncio.run(run(RebuildSettings(), tenant_id=given.tenant, source=given.source))
    except RebuildError as problem:
        sys.stderr.write(f"{problem}\n")
        return 2 if isinstance(problem, NoSuchTenantError) else 1
    sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
