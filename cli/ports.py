"""Free TCP ports on the loopback address, remembered so that a restart keeps its addresses."""

import json
import random
import socket
from pathlib import Path

from cli.files import write_atomically

HOST = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152 on macOS): a
# client that keeps trying a stopped broker there can end up connected to itself and occupy the broker's port.
RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an earlier server that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Ports:
    """The ports of one data folder, by name, kept in `ports.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports = _read(path)

    def choose(self, name: str, *, given: int | None = None, prefer: int | None = None) -> int:
        """The given port, else the one remembered while it is free, else the preferred one, else a random free one.

        Raises:
            PortTakenError: the port that was asked for is in use.
        """
        if given is not None:
            if not is_free(given):
                raise PortTakenError(
                    f"port {given} for {name} is in use; choose another one, or leave the choice to me"
                )
            port = given
        else:
            others = {port for other, port in self._ports.items() if other != name}
            port = next(
                port
                for port in (self._ports.get(name), prefer, *random.sample(RANGE, 500))
                if port is not None and port not in others and is_free(port)
            )
        self._ports[name] = port
        write_atomically(self._path, json.dumps(self._ports, indent=2) + "\n")
        return port


class PortTakenError(Exception):
    """A port that was asked for by number is in use."""


def _read(path: Path) -> dict[str, int]:
    try:
        return {str(name): int(port) for name, port in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # nothing remembered: choose anew
