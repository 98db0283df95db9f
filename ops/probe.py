"""A container's health check: `python -m ops.probe /readyz` asks the process of this machine."""

import os
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException


def main(path: str, port_given: str | None = None) -> int:
    """Print what the process behind the port, or WALLET_METRICS_PORT, says; 0 where it answers
    200, else 1.
    """
    port = int(port_given or os.environ["WALLET_METRICS_PORT"])
    with closing(HTTPConnection("127.0.0.1", port, timeout=4)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            said, code = answer.read().decode(errors="replace"), int(answer.status != 200)
        except (OSError, HTTPException) as error:
            said, code = f"no answer: {error}\n", 1
    sys.stdout.write(said)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
