"""What tables, their indexes and the write-ahead log take, before and after a round."""

from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection

# A table's own pages, its long values and its maps; then each of its indexes.
_SIZES = """
SELECT t.relname, NULL, pg_table_size(t.oid)
FROM pg_class AS t WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace
UNION ALL
SELECT t.relname, i.relname, pg_relation_size(i.oid)
FROM pg_class AS t
JOIN pg_index AS x ON x.indrelid = t.oid
JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace
ORDER BY 1, 2 NULLS FIRST
"""
_COUNTS = """
SELECT coalesce(pg_sequence_last_value('transaction_ids'), 0), pg_current_wal_insert_lsn() - '0/0',
       (SELECT wal_fpi FROM pg_stat_wal)
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, or one of its indexes."""

    table: str
    index_name: str | None


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes by relation, and how much the log has had so far, of all of the server's databases.

    `transactions` are the journal's ids so far, `page_images` the whole pages in the log: the
    first change of a page after a checkpoint writes one.
    """

    bytes: dict[Relation, int] = field(default_factory=dict)
    transactions: int = 0
    wal_bytes: int = 0
    page_images: int = 0


def read_storage(session: Connection[Any]) -> Storage:
    """What everything takes at this moment."""
    sizes = session.execute(_SIZES).fetchall()
    row = session.execute(_COUNTS).fetchone() or (0, 0, 0)
    transactions, wal_bytes, page_images = map(int, row)
    found = {Relation(table, index): int(size) for table, index, size in sizes}
    return Storage(found, transactions, wal_bytes, page_images)
