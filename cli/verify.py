"""`./iacrm verify`: the incremental answer compared with the batch answer."""

from dataclasses import asdict

from cli.connect import NotRunningError, adopt_settings
from cli.console import Console


def run(tenant: str | None, *, as_json: bool) -> int:
    """Compares every row. Exit code 0: no difference, 1: differences, 2: no such tenant, 3: nothing to connect to."""
    console = Console()
    try:
        adopt_settings("rfm_worker")
    except NotRunningError as problem:
        console.error(str(problem))
        return 3
    from services.rfm_worker.settings import RfmWorkerSettings
    from services.rfm_worker.verification import NoSuchTenantError, run_alone

    try:
        report = run_alone(RfmWorkerSettings(), tenant)
    except NoSuchTenantError as problem:
        console.error(str(problem))
        return 2
    if as_json:
        console.json({"equal": bool(report), "found": report.found, **asdict(report)})
    else:
        for line in report.lines():
            console.line(line)
    return 0 if report else 1
