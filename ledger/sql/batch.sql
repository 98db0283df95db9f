-- What one batch reads and writes (design §1, steps 3 to 6). Every list that takes locks is sorted the same way in
-- every batch: client, currency, kind; accounts before clients. Any other order deadlocks under load.

-- name: lock_accounts
-- citus: FOR UPDATE over several shards is refused there; this statement is the one to exchange.
SELECT a.client_id, a.currency, a.kind, a.balance, a.status, a.version, a.updated_at
FROM unnest(%s::text[], %s::text[]) AS k (client_id, currency)
JOIN accounts AS a ON a.client_id = k.client_id AND a.currency = coalesce(k.currency, a.currency)
ORDER BY a.client_id, a.currency, a.kind
FOR NO KEY UPDATE OF a

-- name: known_commands
-- Runs after the locks are held, so that it sees what a batch before it has committed.
SELECT t.client_id, t.command_id, t.id, t.type, t.status, t.reason, t.detail, t.fingerprint, t.currency, t.amount,
       t.debit_kind, t.credit_kind, t.counterparty, t.balance_before, t.balance_after, t.held_after,
       t.peer_balance_after, t.reference, t.description, t.metadata::text, t.source_topic, t.source_partition,
       t.source_offset, t.upstream_occurred_at, t.created_at
FROM unnest(%s::text[], %s::text[]) AS k (client_id, command_id)
JOIN transactions AS t ON t.client_id = k.client_id AND t.command_id = k.command_id

-- name: take_ids
-- The clock is read here, under the locks: the times of an account's rows rise as their ids do.
SELECT clock_timestamp(), array(SELECT nextval('transaction_ids') FROM generate_series(1, %s))

-- name: lock_clients
SELECT c.client_id, c.registered
FROM unnest(%s::text[]) AS k (client_id)
JOIN clients AS c ON c.client_id = k.client_id
ORDER BY c.client_id
FOR NO KEY UPDATE OF c

-- name: taken_profiles
SELECT c.client_id, lower(c.email), c.phone
FROM clients AS c
WHERE c.email IS NOT NULL AND lower(c.email) = ANY (%s::text[]) OR c.phone IS NOT NULL AND c.phone = ANY (%s::text[])

-- name: history
-- What queries will show: newest first, sent and received.
SELECT k.client_id, k.currency, t.client_id, t.command_id, t.id, t.type, t.status, t.reason, t.detail, t.fingerprint, t.currency, t.amount,
       t.debit_kind, t.credit_kind, t.counterparty, t.balance_before, t.balance_after, t.held_after,
       t.peer_balance_after, t.reference, t.description, t.metadata::text, t.source_topic, t.source_partition,
       t.source_offset, t.upstream_occurred_at, t.created_at
FROM unnest(%s::text[], %s::text[]) AS k (client_id, currency)
CROSS JOIN LATERAL history_page(k.client_id, k.currency, NULL, %s) AS t
ORDER BY t.id DESC

-- name: insert_clients
INSERT INTO clients (client_id, registered, name, email, phone, created_at, updated_at)
SELECT c.client_id, c.registered, c.name, c.email, c.phone, c.now, c.now
FROM unnest(%s::text[], %s::boolean[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
    AS c (client_id, registered, name, email, phone, now)
ORDER BY c.client_id

-- name: fill_profiles
UPDATE clients AS c
SET registered = true, name = p.name, email = p.email, phone = p.phone, updated_at = p.now
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[]) AS p (client_id, name, email, phone, now)
WHERE c.client_id = p.client_id

-- name: insert_accounts
INSERT INTO accounts (client_id, currency, kind, balance, status, version, created_at, updated_at)
SELECT a.client_id, a.currency, a.kind, a.balance, a.status, a.version, n.now, n.now
FROM (SELECT %s::timestamptz AS now) AS n
CROSS JOIN unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bigint[])
    AS a (client_id, currency, kind, balance, status, version)
ORDER BY a.client_id, a.currency, a.kind

-- name: update_accounts
UPDATE accounts AS a
SET balance = n.balance, status = n.status, version = n.version, updated_at = %s::timestamptz
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bigint[])
    AS n (client_id, currency, kind, balance, status, version)
WHERE a.client_id = n.client_id AND a.currency = n.currency AND a.kind = n.kind

-- name: copy_transactions
COPY transactions (client_id, command_id, id, type, status, reason, detail, fingerprint, currency, amount,
                   debit_kind, credit_kind, counterparty, balance_before, balance_after, held_after,
                   peer_balance_after, reference, description, metadata, source_topic, source_partition,
                   source_offset, upstream_occurred_at, created_at)
FROM STDIN (FORMAT binary)

-- name: copy_outbox
-- The ids come from the sequence, row by row in this order, after all locks: the order readers see.
COPY outbox (topic, partition, key, value, event_id, event_type, correlation_id, causation_id, headers, moved, created_at)
FROM STDIN (FORMAT binary)
