-- How the outbox stands, seen from outside the relay.

-- name: rows
SELECT o.records, o.created_at, extract(epoch FROM clock_timestamp() - o.created_at)::float8 FROM outbox AS o

-- name: relays
-- A part's owner holds its lock; the others of that name stand by. What they do is hidden from another role.
SELECT substring(a.application_name FROM 14)::integer, a.pid, l.pid IS NOT NULL
FROM pg_stat_activity AS a
LEFT JOIN pg_locks AS l ON l.pid = a.pid AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
WHERE a.datname = current_database() AND a.application_name ~ '^wallet-relay-[0-9]+$'
ORDER BY 1, 3 DESC, 2

-- name: table
SELECT pg_total_relation_size('outbox'), s.n_dead_tup, s.last_autovacuum
FROM pg_stat_user_tables AS s WHERE s.relid = 'outbox'::regclass

-- name: figures
-- For the metrics: counted up to a bound, so that a long backlog is not made worse by looking at it.
SELECT (SELECT coalesce(sum(o.record_count), 0) FROM (SELECT record_count FROM outbox LIMIT 100000) AS o),
       coalesce((SELECT extract(epoch FROM clock_timestamp() - created_at) FROM outbox ORDER BY id LIMIT 1), 0)::float8
