"""`./iacrm rebuild rfm`: a worker's tables anew, while it works on."""

import asyncio
from dataclasses import asdict
from typing import Literal
from uuid import UUID

from cli.connect import NotRunningError, adopt_administrator
from cli.console import Console
from cli.report import Report, Silent


def run(tenant: str | None, source: Literal["auto", "topics", "ledger"], *, as_json: bool) -> int:
    """Rebuilds. Exit code 0: done, 1: it could not be done and nothing changed, 2: no such tenant, 3: no database."""
    console = Console()
    try:
        tenant_id = UUID(tenant) if tenant is not None else None
    except ValueError:
        console.error(f"{tenant!r} is not the id of a tenant: ids look like 0192f0c1-7a1e-4c55-9f3e-2b7d4c1a9e10.")
        return 2
    try:
        adopt_administrator()
    except NotRunningError as problem:
        console.error(str(problem))
        return 3
    from services.rfm_worker import rebuild

    news: Report = Silent() if as_json else console
    try:
        done = asyncio.run(rebuild.run(rebuild.RebuildSettings(), tenant_id=tenant_id, source=source, news=news))
    except rebuild.RebuildError as problem:
        console.error(str(problem))
        return 2 if isinstance(problem, rebuild.NoSuchTenantError) else 1
    if as_json:
        console.json(asdict(done))
        return 0
    console.say(
        f"Rebuilt from the {done.source}: {done.records:,} records with {done.lines:,} lines of sales in "
        f"{done.seconds:.1f} s; the worker waited {done.waiting_s:.1f} s"
    )
    if done.refused:
        console.say(f"{done.refused:,} records can never be applied; they are in the dead letters")
    console.say(f"{done.segment_changes:,} customers stand elsewhere than was last told")
    return 0
