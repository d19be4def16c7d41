"""Commands that use a service's own code need its settings: those of the environment, else of the running stack."""

import os

from cli.paths import data_folder


class NotRunningError(Exception):
    """Neither does the environment name a database, nor does a stack run here."""


def adopt_settings(service: str) -> None:
    """Puts the settings of one service of the running stack into this process, unless it has its own.

    Raises:
        NotRunningError: there is nothing to connect to.
    """
    if "IACRM_DATABASE_URL" in os.environ:
        return
    from cli.supervisor.environment import Environment
    from cli.supervisor.services import SERVICES

    running = Environment.of_running(data_folder())
    if running is None:
        raise NotRunningError("The stack does not run. Start it with ./iacrm up, or set IACRM_DATABASE_URL")
    os.environ.update(running.service(next(each for each in SERVICES if each.name == service)))


def adopt_administrator() -> None:
    """Puts the administrator's settings of the running stack into this process, unless it has its own.

    Raises:
        NotRunningError: there is nothing to connect to.
    """
    if "IACRM_ADMIN_DATABASE_URL" in os.environ:
        return
    from cli.supervisor.environment import Environment

    running = Environment.of_running(data_folder())
    if running is None:
        raise NotRunningError("The stack does not run. Start it with ./iacrm up, or set IACRM_ADMIN_DATABASE_URL")
    os.environ.update(running.setup())
