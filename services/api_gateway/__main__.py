"""`python -m services.api_gateway`: serves until SIGTERM or SIGINT, then lets running requests finish."""

import uvicorn

from services.api_gateway.app import create_app
from services.api_gateway.settings import GatewaySettings
from shared.messaging import faults
from shared.observability.logging import configure


def main() -> None:
    """Reads the settings, starts the server, returns when it has stopped."""
    settings = GatewaySettings()
    configure("api_gateway", settings.env, settings.log_level)
    faults.check(settings.env)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.proxy_ips),
        forwarded_allow_ips=settings.proxy_ips or None,
        timeout_graceful_shutdown=settings.stop_timeout_s,
    )


if __name__ == "__main__":
    main()
