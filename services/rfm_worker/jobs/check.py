"""`python -m services.rfm_worker.jobs.check <tenant_id> <customers>`: prints counts of a verification as JSON.

Differences are no failure of this process: it ends with code 0 whenever it has an answer.
"""

import asyncio
import json
import os
import sys
from typing import Any
from uuid import UUID

from services.rfm_worker.jobs.settings import RfmJobsSettings
from services.rfm_worker.tables import SCHEMA
from services.rfm_worker.verification.run import verify_sample
from shared.db.engine import create_engine

NICENESS = 10


async def verify_some(settings: RfmJobsSettings, tenant_id: UUID, customers: int) -> dict[str, Any]:
    """Counts of a verification of some customers of one tenant, chosen by chance.

    Args:
        customers: how many to look at, at most.
    """
    engine = create_engine(
        settings.database_url.get_secret_value(), application_name="self_check", schema=SCHEMA, pool_size=2,
        statement_timeout_s=600,
    )  # fmt: skip
    try:
        report = await verify_sample(engine, customers, tenant_id=tenant_id)
    finally:
        await engine.dispose()
    return {"differences": report.found, "rows": report.compared}


def main() -> None:
    """Verifies the database of `IACRM_DATABASE_URL`."""
    os.nice(NICENESS)
    tenant_id, customers = UUID(sys.argv[1]), int(sys.argv[2])
    try:
        answer = asyncio.run(verify_some(RfmJobsSettings(), tenant_id, customers))
    except Exception as error:
        # The text of a database error may quote a row.
        answer = {"error": type(error).__name__}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
