"""Asks this container's own process for /health/<live|ready>; the exit code is the answer (0 = healthy).

Only http.client: an image without curl stays smaller, and importing more would cost more than the question.
"""

import http.client
import os
import sys

SECONDS = 4.0


def main() -> int:
    """0 when the process answers 200, else 1 with the reason on standard output (engines keep it)."""
    question = f"/health/{sys.argv[1] if len(sys.argv) > 1 else 'live'}"
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("IACRM_PORT", "8000")), timeout=SECONDS)
    try:
        connection.request("GET", question)
        answer = connection.getresponse()
        sys.stdout.write(f"{answer.status} {answer.read(2000).decode(errors='replace')}\n")
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"{question}: {error!r}\n")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
