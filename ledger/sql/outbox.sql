-- The relay's side of the outbox: one session locks its part, reads it and deletes from it.

-- name: lock_part
-- Held by the session: it is gone in the moment the session is.
SELECT pg_try_advisory_lock(%(lock)s, %(part)s);

-- name: end_stuck_owner
-- The timeouts of an idle session don't reach one that is stuck in a statement, or in sending its rows to a process
-- that no longer reads. A healthy owner begins or ends a statement many times a second.
SELECT a.pid, a.state, pg_terminate_backend(a.pid)
FROM pg_locks AS l
JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
  AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
  AND l.classid = %(lock)s::oid AND l.objid = %(part)s::oid
  AND a.pid <> pg_backend_pid()
  AND a.state_change < clock_timestamp() - make_interval(secs => %(silence_s)s);

-- name: snapshot
-- Two equal ones see the same rows. Asked many times while there is nothing, since it looks at no table: EXISTS walks
-- over all that was deleted since the last vacuum (5 us of processor for each command under load), a look by the index
-- over all that a batch is still writing (10 us).
SELECT pg_current_snapshot()::text;

-- name: read_rows
-- Bounded in records and bytes; the first row comes however large it is.
SELECT id, records, created_at
FROM (
    SELECT o.*, sum(o.record_count) OVER up_to_here AS record_sum, sum(o.byte_count) OVER up_to_here AS byte_sum,
           row_number() OVER up_to_here AS place
    FROM outbox AS o
    WHERE o.id > %(floor)s AND mod(o.bucket, %(part_count)s) = %(part)s
    WINDOW up_to_here AS (ORDER BY o.id ROWS UNBOUNDED PRECEDING)
    ORDER BY o.id
    LIMIT %(records_max)s
) AS bounded
WHERE place = 1 OR record_sum <= %(records_max)s AND byte_sum <= %(bytes_max)s
ORDER BY id;

-- name: read_accounts
-- The clients come as one text, a line each: psycopg takes longer to make an array of them than to read their accounts.
SELECT client_id, currency, kind, balance, status, version, updated_at
FROM accounts
WHERE client_id = ANY (string_to_array(%(client_lines)s, E'\n'))
ORDER BY client_id, currency, kind;

-- name: read_by_ids
SELECT id, records FROM outbox WHERE id = ANY (%(ids)s);

-- name: read_part
SELECT records FROM outbox WHERE mod(bucket, %(part_count)s) = %(part)s;

-- name: delete_rows
DELETE FROM outbox WHERE id = ANY (%(ids)b);
