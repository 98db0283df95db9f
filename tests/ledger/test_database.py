"""A connection that leaves time for other work."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from psycopg import errors

from ledger.database import connect
from tests.conftest import WalletEnv


@pytest.mark.contract
def test_other_work_is_done_while_the_server_works(wallet_env: WalletEnv) -> None:
    done: list[int] = []

    def steps() -> Iterator[None]:
        for step in range(5):
            done.append(step)
            yield

    with connect(wallet_env.database_url, application_name="test") as connection:
        connection.meanwhile = steps()
        row = connection.execute("SELECT 7, pg_sleep(0.3)::text").fetchone()
        assert (row or ())[0] == 7
        assert done == [0, 1, 2, 3, 4]
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        assert connection.execute("SELECT 8").fetchone() == (8,)


@pytest.mark.contract
def test_an_answer_that_is_there_does_not_wait_for_other_work(wallet_env: WalletEnv) -> None:
    with connect(wallet_env.database_url, application_name="test") as connection:
        connection.meanwhile = itertools.repeat(None)
        assert connection.execute("SELECT pg_sleep(0.1)::text, 7").fetchone() == ("", 7)
        with connection.pipeline():
            first, second = connection.execute("SELECT 1"), connection.execute("SELECT 2")
        assert [first.fetchone(), second.fetchone()] == [(1,), (2,)]
        with connection.cursor() as cursor, cursor.copy("COPY clients (client_id) FROM STDIN") as c:
            c.write(b"")
