"""A wall clock of PostgreSQL's own, which can be set while it runs: libfaketime loaded into it."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

_LIBRARY = "vendor/libfaketime/src/libfaketime.so.1"
# Its processes look at the file so often.
LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class ServerClock:
    """The file that says how far the clock is off, and the library beside it."""

    file: Path
    library: Path

    def command(self) -> list[str]:
        """The beginning of a command line that runs the rest of it by this clock."""
        variables = {
            "LD_PRELOAD": self.library,
            "FAKETIME_TIMESTAMP_FILE": self.file,
            "FAKETIME_CACHE_DURATION": f"{LOOK_S:.0f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return ["env", *(f"{name}={value}" for name, value in variables.items())]

    def set(self, off_s: int) -> None:
        """Have it be so many seconds ahead, or behind, of the real one."""
        part = self.file.with_suffix(".part")
        part.write_text(f"{off_s:+d}\n", encoding="ascii")
        part.chmod(0o644)  # for PostgreSQL's own user
        part.replace(self.file)


def server_clock(folder: Path) -> ServerClock | None:
    """A clock that goes right, in a folder which PostgreSQL's user may pass; None where the library
    is not installed.
    """
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None:
        return None
    library = folder / "libfaketime.so.1"
    shutil.copyfile(Path(spec.origin).parent / _LIBRARY, library)
    library.chmod(0o755)
    clock = ServerClock(folder / "clock", library)
    clock.set(0)
    return clock
