"""`python -m services.rfm_worker.jobs`: runs the background jobs until SIGTERM or SIGINT."""

import signal
import sys

import uvicorn

from services.rfm_worker.jobs.app import SERVICE, build
from services.rfm_worker.jobs.settings import RfmJobsSettings
from shared.observability.logging import configure

STOP_TIMEOUT_S = 3


def main() -> None:
    """Reads the settings, runs the process, returns when it has stopped."""
    settings = RfmJobsSettings()
    configure(SERVICE, settings.env, settings.log_level)
    # uvicorn raises the signal again once it has stopped; to be asked to stop and to do so is success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        build(settings).asgi, host=settings.host, port=settings.port, loop="uvloop", http="httptools", ws="none",
        lifespan="on", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )  # fmt: skip


if __name__ == "__main__":
    main()
