"""Connections to Postgres, with the session settings that the guarantees rest on."""

import select
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

from psycopg import Connection, Error, sql
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.waiting import Wait

RUNTIME_ROLE = "wallet_runtime"

# Where the server or the way to it is gone, libpq finds out in about this time and not after two
# hours.
_CLIENT_SETTINGS: dict[str, str] = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

_SESSION_SETTINGS: dict[str, str] = {
    "timezone": "UTC",
    "jit": "off",  # costs 0.6 to 1 s per large statement
    "synchronous_commit": "on",  # an outcome is published once it is durable, never before
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "500ms",
}

# Nobody waits for a frozen process: its transaction, its locks and its session end in this time.
_RUNTIME_SETTINGS: dict[str, str] = {
    "lock_timeout": "10s",
    "transaction_timeout": "20s",
    "idle_in_transaction_session_timeout": "10s",
    # Every statement of the running processes looks rows up by key. Plans made while the tables
    # were empty would scan them sequentially for as long as the session lives, so that choice is
    # taken away from the planner.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}


_T = TypeVar("_T")
_NONE_LEFT = object()


class BusyConnection(Connection):
    """A connection whose user has other work to do while the server does its own.

    `meanwhile` does a little of that work at each step, until there is none left.
    """

    meanwhile: Iterator[None] | None = None

    def wait(self, gen: PQGen[_T], *args: Any, **kwargs: Any) -> _T:
        """As psycopg's, but for the work done meanwhile."""
        if self.meanwhile is not None:
            gen = self._work_until_ready(gen)
        return super().wait(gen, *args, **kwargs)

    def _work_until_ready(self, gen: PQGen[_T]) -> PQGen[_T]:
        try:
            awaited = next(gen)
            while True:
                while not _is_ready(self.pgconn.socket, awaited) and self._work():
                    pass
                awaited = gen.send((yield awaited))
        except StopIteration as ended:
            value: _T = ended.value
            return value

    def _work(self) -> bool:
        """Take a step of the other work; whether there was one."""
        if self.meanwhile is not None and next(self.meanwhile, _NONE_LEFT) is _NONE_LEFT:
            self.meanwhile = None
        return self.meanwhile is not None


def _is_ready(socket: int, awaited: Wait) -> bool:
    events = (select.POLLIN if awaited & Wait.R else 0) | (
        select.POLLOUT if awaited & Wait.W else 0
    )
    poll = select.poll()
    poll.register(socket, events)
    return bool(poll.poll(0))


class Failures:
    """Tries that PostgreSQL failed, and not their own content: how often by SQLSTATE, and why the
    last one did, None once one has gone through.
    """

    def __init__(self) -> None:
        # There from the beginning, so that the first full disk is a rise.
        self.counts: Counter[str] = Counter({"53100": 0})
        self.trouble: str | None = None

    def note(self, error: Error) -> None:
        """Count one; without a SQLSTATE there is no connection."""
        self.counts[error.sqlstate or "connection"] += 1
        first_line, *_ = str(error).strip().splitlines() or [type(error).__name__]
        self.trouble = f"PostgreSQL fails: {first_line}"

    def end(self) -> None:
        """PostgreSQL does its work again."""
        self.trouble = None


def connect(
    database_url: str,
    *,
    application_name: str,
    autocommit: bool = True,
    long_queries: bool = False,
    role: str | None = RUNTIME_ROLE,
) -> BusyConnection:
    """Connect as the runtime role.

    `long_queries` is for operators' reading (verify, history): no timeouts, the planner left
    free. With `role` None the session keeps its login's rights, as the owner's migrations need.
    Raises psycopg.OperationalError where the server can't be reached, psycopg.Error where the
    role is missing.
    """
    given = conninfo_to_dict(database_url)
    defaults = {name: value for name, value in _CLIENT_SETTINGS.items() if name not in given}
    connection: BusyConnection = BusyConnection.connect(
        make_conninfo(database_url, application_name=application_name, **defaults), autocommit=True
    )
    try:
        settings = _SESSION_SETTINGS if long_queries else {**_SESSION_SETTINGS, **_RUNTIME_SETTINGS}
        if role is not None:
            settings = {"role": role, **settings}
        calls = sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
            for name, value in settings.items()
        )
        connection.execute(sql.SQL("SELECT ") + calls)
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection
