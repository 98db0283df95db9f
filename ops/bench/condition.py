"""Under which conditions was measured: the machine, the versions, the settings that matter."""

import os
import platform
import timeit
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import confluent_kafka
import psycopg

from ops.bench.ground import Ground
from ops.bench.load import MIXED
from ops.bench.plan import Plan
from schemas.command import COMMANDS

_POSTGRES = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_level",
    "shared_buffers", "max_wal_size",
)  # fmt: skip


def conditions(ground: Ground, plan: Plan) -> dict[str, Any]:
    """What has to be the same for two measurements to be compared."""
    settings = ground.settings
    with ground.connect() as session:
        postgres = {name: _shown(session, name) for name in _POSTGRES}
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "processor": _processor(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "python_ns_per_turn": _ns_per_turn(),
        "librdkafka": confluent_kafka.libversion()[0],
        "psycopg": psycopg.__version__,
        "postgres": postgres,
        "partitions": settings.partitions,
        "batch_records_max": settings.batch_records_max,
        "relay_records_max": settings.relay_records_max,
        "worker_nice": settings.worker_nice,
        "clients": plan.clients,
        "workers": list(plan.workers),
        "group_protocol": settings.group_protocol,
        "commands": plan.commands,
        "warm_up_commands": plan.warm_up,
        "baseline_commands": plan.baseline_commands if plan.baseline else None,
        "mix": "40 % credit, 40 % debit, 20 % transfer",
        "all_types": f"as many of each of {len(COMMANDS)} types, about"
        if MIXED in plan.others
        else None,
    }


def _ns_per_turn() -> float:
    """How long a turn of a loop that adds takes: by how Python was built, and by how quick a core
    of a shared machine is just now, other figures differ as much.
    """
    turns = 200_000
    best_s = min(timeit.repeat("n += i", "n, i = 0, 7", number=turns, repeat=5))
    return round(best_s / turns * 1e9, 1)


def _shown(session: psycopg.Connection[Any], name: str) -> str:
    row = session.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()
