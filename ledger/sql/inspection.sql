-- What `wallet doctor` looks at in the database. Read as the login, which sees its own sessions' states.

-- name: clock
SELECT clock_timestamp()

-- name: settings
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'jit', 'autovacuum', 'server_version',
               'server_version_num', 'max_connections')

-- name: login
SELECT r.rolname, r.rolsuper, pg_has_role(r.oid, 'wallet_runtime', 'SET') FROM pg_roles AS r WHERE r.rolname = session_user

-- name: forbidden_rights
-- What would let a running process rewrite history.
SELECT p.privilege FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE']) AS p (privilege)
WHERE has_table_privilege('wallet_runtime', 'transactions', p.privilege)

-- name: missing_rights
SELECT n.relation || ' ' || n.privilege
FROM (VALUES ('transactions', 'INSERT'), ('accounts', 'UPDATE'), ('clients', 'INSERT'), ('outbox', 'INSERT'),
             ('outbox', 'DELETE'), ('consumer_positions', 'UPDATE'), ('currencies', 'SELECT')) AS n (relation, privilege)
WHERE NOT has_table_privilege('wallet_runtime', n.relation, n.privilege)

-- name: append_only
-- 'A': it fires in replicas, too, and no session can turn it off.
SELECT count(*) FROM pg_trigger
WHERE tgrelid = 'transactions'::regclass AND tgname = 'transactions_append_only' AND tgenabled = 'A'

-- name: sequences
SELECT sequencename, cache_size FROM pg_sequences
WHERE schemaname = current_schema() AND sequencename IN ('transaction_ids', 'outbox_ids') AND cache_size <> 1

-- name: outbox_options
SELECT coalesce(reloptions, '{}') FROM pg_class WHERE oid = 'outbox'::regclass

-- name: long_transactions
SELECT pid, coalesce(application_name, ''), coalesce(state, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval '60 seconds'
ORDER BY xact_start

-- name: prepared_transactions
SELECT gid, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - interval '60 seconds'

-- name: connection_count
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'

-- name: changed_in_no_order
-- In bytes: what the pages that any command may change have together, and what the server keeps in memory.
SELECT (SELECT coalesce(sum(pg_relation_size(oid)), 0) FROM pg_class
        WHERE oid IN ('accounts'::regclass, 'clients'::regclass)
           OR oid IN (SELECT x.indexrelid FROM pg_index AS x
                      WHERE x.indrelid IN ('accounts'::regclass, 'clients'::regclass, 'transactions'::regclass)))::int8,
       pg_size_bytes(current_setting('shared_buffers'))

-- name: checkpoints
SELECT num_timed, num_requested FROM pg_stat_checkpointer
