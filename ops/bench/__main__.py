"""A process of the measurement: `python -m ops.bench ROLE ARGUMENTS`, ARGUMENTS as JSON."""

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from ops.bench.baseline import run_baseline_relay, run_baseline_worker
from ops.bench.load import run_load
from ops.bench.reader import run_reader
from ops.bench.stub import run_stub
from ops.bench.worker import run_worker
from ops.process import run_until_signalled
from ops.telemetry import configure_logging
from schemas.settings import Settings, load_settings

Role = Callable[[Settings, dict[str, Any], threading.Event], None]

ROLES: dict[str, Role] = {
    "load": run_load,
    "reader": run_reader,
    "stub": run_stub,
    "worker": run_worker,
    "baseline-worker": run_baseline_worker,
    "baseline-relay": run_baseline_relay,
}


def main() -> None:
    """Run one role until it is done, SIGTERM comes, or the process that started it is gone."""
    role, arguments = sys.argv[1], json.loads(sys.argv[2])
    settings = load_settings()
    configure_logging(settings, process=f"bench {role}")
    run_until_signalled(lambda stop: ROLES[role](settings, arguments, stop), bound=True)


main()
