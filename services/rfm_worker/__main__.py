"""`python -m services.rfm_worker`: applies events until SIGTERM or SIGINT; ends with code 1 after a fatal error."""

import gc
import signal
import sys

import uvicorn

from services.rfm_worker.app import Worker, build
from services.rfm_worker.settings import RfmWorkerSettings
from shared.messaging import faults
from shared.observability.logging import configure

ALLOCATIONS_PER_COLLECTION = 100_000
"""A batch makes tens of thousands of objects and no cycles: collecting every 700 costs a third of its CPU time."""
STOP_TIMEOUT_S = 3


def main() -> None:
    """Reads the settings, runs the worker, returns when it has stopped."""
    settings = RfmWorkerSettings()
    configure("rfm_worker", settings.env, settings.log_level)
    faults.check(settings.env)
    worker = build(settings)
    # uvicorn raises the signal again once it has stopped; to be asked to stop and to do so is success.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_exit_code(worker)))
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS_PER_COLLECTION, 20, 50)
    uvicorn.run(
        worker.asgi, host=settings.host, port=settings.port, loop="uvloop", http="httptools", ws="none",
        lifespan="on", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )  # fmt: skip
    sys.exit(_exit_code(worker))


def _exit_code(worker: Worker) -> int:
    return 0 if worker.consumer.failure is None else 1


if __name__ == "__main__":
    main()
