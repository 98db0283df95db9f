"""How `make test` divides the tests between its processes."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

# Their tests share what takes seconds to make: of several processes one makes it.
_TOGETHER = {
    "tests/ledger/test_verification.py": "damaged books",
    "tests/ops/test_cli_readme.py": "a stack of one's own",
    "tests/ops/test_cli_send.py": "a running wallet",
    "tests/ops/test_currencies.py": "a running wallet",
    "tests/ops/test_history.py": "a running wallet",
    "tests/ops/test_show.py": "a running wallet",
    "tests/ops/test_stack.py": "a stack for all",
}


class Schedule(LoadScopeScheduling):  # type: ignore[misc]  # it is typed, but does not say so
    """Test by test, the largest groups first; xdist's own groups do nothing under pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER.get(nodeid.partition("::")[0], nodeid)
