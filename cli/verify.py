"""`./iacrm verify`: the incremental answer compared with the batch answer."""

import asyncio

from cli.connect import NotRunningError, adopt_settings
from cli.console import Console


def run(tenant: str | None, *, as_json: bool) -> int:
    """Compares every row. Exit code 0: no difference, 1: differences, 3: there is no database to connect to."""
    console = Console()
    try:
        adopt_settings("rfm_worker")
    except NotRunningError as problem:
        console.error(str(problem))
        return 3
    from services.rfm_worker.settings import RfmWorkerSettings
    from services.rfm_worker.verification import run as compare

    result = asyncio.run(compare(RfmWorkerSettings(), tenant))
    return 0 if result else 1
