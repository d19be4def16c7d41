"""`python -m services.api_gateway.importer`: imports files until SIGTERM or SIGINT."""

import gc
import signal
import sys

import uvicorn

from services.api_gateway.importer.app import SERVICE, build
from services.api_gateway.importer.settings import ImporterSettings
from shared.messaging import faults
from shared.observability.logging import configure

ALLOCATIONS_PER_COLLECTION = 100_000
"""A part makes tens of thousands of objects and no cycles."""
STOP_TIMEOUT_S = 3


def main() -> None:
    """Reads the settings, runs the importer, returns when it has stopped."""
    settings = ImporterSettings()
    configure(SERVICE, settings.env, settings.log_level)
    faults.check(settings.env)
    # uvicorn raises the signal again once it has stopped; to be asked to stop and to do so is success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = build(settings)
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION, 20, 50)
    uvicorn.run(
        app, host=settings.host, port=settings.port, loop="uvloop", http="httptools", ws="none", lifespan="on",
        log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )  # fmt: skip


if __name__ == "__main__":
    main()
