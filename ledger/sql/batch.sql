-- What one batch reads and writes (design §1, steps 3 to 6). Every list that takes locks is sorted the same way in
-- every batch: client, currency, kind; accounts before clients. Any other order deadlocks under load.

-- name: lock_accounts
-- citus: FOR UPDATE over several shards is refused there; this statement is the one to exchange.
-- Nothing but one unnest() may stand beside the accounts here: with a UNION ALL of two, an account that another batch was
-- just changing was waited for and then left out (seen: its row was missing, and the wallet was to be opened again).
SELECT a.client_id, a.currency, a.kind, a.balance, a.status, a.version, a.updated_at, a.sides, a.ctid::text
FROM unnest(%s::text[], %s::text[]) AS k (client_id, currency)
JOIN accounts AS a ON a.client_id = k.client_id AND (a.currency = k.currency OR k.currency = '')
ORDER BY a.client_id, a.currency, a.kind
FOR NO KEY UPDATE OF a

-- name: recipients
-- Of transfers that may be taken back; read before the locks, which these wallets need, too. A journal row never changes.
SELECT t.counterparty, t.currency
FROM unnest(%s::text[], %s::text[]) AS k (client_id, command_id)
JOIN transactions AS t ON t.client_id = k.client_id AND t.command_id = k.command_id
WHERE t.credit_kind = 'peer'

-- name: known_commands
-- Runs after the locks are held, so that it sees what a batch before it has committed.
SELECT t.client_id, t.command_id, t.id, t.type, t.status, t.reason, t.detail, t.fingerprint, t.currency, t.amount,
       t.debit_kind, t.credit_kind, t.counterparty, t.merchant_id, t.hold_id, t.order_id, t.original_command_id,
       t.balance_before, t.balance_after, t.held_after, t.escrow_after, t.peer_balance_after, t.reference, t.description,
       t.metadata::text, t.order_state::text, t.source_topic, t.source_partition, t.source_offset, t.upstream_occurred_at,
       t.created_at
FROM unnest(%s::text[], %s::text[]) AS k (client_id, command_id)
JOIN transactions AS t ON t.client_id = k.client_id AND t.command_id = k.command_id

-- name: holds
-- A hold changes only under the lock of its wallet.
SELECT h.client_id, h.hold_id, h.currency, h.amount, h.status, h.command_id, h.expires_at, h.created_at, h.settled_at,
       h.correlation_id, h.event_id
FROM unnest(%s::text[], %s::text[]) AS k (client_id, hold_id)
JOIN holds AS h ON h.client_id = k.client_id AND h.hold_id = k.hold_id

-- name: refunded
-- Under the lock of the client's wallets, which every refund of theirs takes.
SELECT k.client_id, k.command_id, r.amount
FROM unnest(%s::text[], %s::text[]) AS k (client_id, command_id)
CROSS JOIN LATERAL (SELECT sum(t.amount)::bigint AS amount FROM transactions AS t
                    WHERE t.client_id = k.client_id AND t.original_command_id = k.command_id
                      AND t.original_command_id IS NOT NULL AND t.debit_kind IS NOT NULL) AS r
WHERE r.amount IS NOT NULL

-- name: lock_jobs
-- After the accounts, which whoever ends a job has locked, too; a lease takes this lock alone. One of a cancellation and a
-- lease comes first, and the other sees it.
SELECT 1
FROM unnest(%s::text[], %s::text[]) AS k (client_id, order_id)
JOIN fulfillments AS f ON f.client_id = k.client_id AND f.order_id = k.order_id
ORDER BY f.client_id, f.order_id
FOR UPDATE OF f

-- name: orders
-- An order changes only under the lock of its wallet; a job ends under it, too, and is leased without.
SELECT o.client_id, o.order_id, o.command_id, o.currency, o.amount, o.status, o.money, o.fulfillment_id, o.attempts, o.rounds,
       o.reason, o.detail, o.correlation_id, o.event_id, o.headers, o.created_at, o.updated_at,
       f.lease_token, f.leased_until IS NOT NULL, f.attempts_made,
       CASE WHEN o.status = 'completed' THEN (SELECT sum(t.amount)::bigint FROM transactions AS t
            WHERE t.client_id = o.client_id AND t.original_command_id = o.command_id
              AND t.original_command_id IS NOT NULL AND t.debit_kind IS NOT NULL) END
FROM unnest(%s::text[], %s::text[]) AS k (client_id, order_id)
JOIN orders AS o ON o.client_id = k.client_id AND o.order_id = k.order_id
LEFT JOIN fulfillments AS f ON f.client_id = o.client_id AND f.order_id = o.order_id

-- name: lock_buckets
SELECT b.client_id, b.topic, b.level, b.filled_at_ms
FROM unnest(%s::text[], %s::text[]) AS k (client_id, topic)
JOIN rate_buckets AS b ON b.client_id = k.client_id AND b.topic = k.topic
ORDER BY b.client_id, b.topic
FOR NO KEY UPDATE OF b

-- name: take_ids
-- The clock is read here, under the locks: the times of an account's rows rise as their ids do. The transaction gets its
-- id here at the latest, before it takes any of the outbox: the relay's floor relies on it (ledger.outbox.Floor).
SELECT clock_timestamp(), array(SELECT nextval('transaction_ids') FROM generate_series(1, %s)), pg_current_xact_id()

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
SELECT k.client_id, k.currency, k.before_id,
       t.client_id, t.command_id, t.id, t.type, t.status, t.reason, t.detail, t.fingerprint, t.currency, t.amount,
       t.debit_kind, t.credit_kind, t.counterparty, t.merchant_id, t.hold_id, t.order_id, t.original_command_id,
       t.balance_before, t.balance_after, t.held_after, t.escrow_after, t.peer_balance_after, t.reference, t.description,
       t.metadata::text, t.order_state::text, t.source_topic, t.source_partition, t.source_offset, t.upstream_occurred_at,
       t.created_at
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::integer[]) AS k (client_id, currency, before_id, page_size)
CROSS JOIN LATERAL history_page(k.client_id, k.currency, k.before_id, k.page_size) AS t
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
INSERT INTO accounts (client_id, currency, kind, balance, status, version, sides, created_at, updated_at)
SELECT a.client_id, a.currency, a.kind, a.balance, a.status, a.version, a.sides, n.now, n.now
FROM (SELECT %s::timestamptz AS now) AS n
CROSS JOIN unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::smallint[])
    AS a (client_id, currency, kind, balance, status, version, sides)
ORDER BY a.client_id, a.currency, a.kind

-- name: update_accounts
-- By the places where they stood when they were locked, which no row leaves while it is: it spares a second way down the
-- index. citus: a place is one shard's alone, so there they are found by their key again.
UPDATE accounts AS a
SET balance = n.balance, status = n.status, version = n.version, sides = n.sides, updated_at = %s::timestamptz
FROM unnest(%s::tid[], %s::bigint[], %s::text[], %s::bigint[], %s::smallint[]) AS n (place, balance, status, version, sides)
WHERE a.ctid = n.place

-- name: insert_holds
INSERT INTO holds (client_id, hold_id, currency, amount, status, command_id, expires_at, created_at, settled_at,
                   correlation_id, event_id)
SELECT h.client_id, h.hold_id, h.currency, h.amount, h.status, h.command_id, h.expires_at, h.created_at, h.settled_at,
       h.correlation_id, h.event_id
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::timestamptz[],
            %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[])
    AS h (client_id, hold_id, currency, amount, status, command_id, expires_at, created_at, settled_at,
          correlation_id, event_id)
ORDER BY h.client_id, h.hold_id

-- name: settle_holds
UPDATE holds AS h
SET status = s.status, settled_at = s.settled_at
FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) AS s (client_id, hold_id, status, settled_at)
WHERE h.client_id = s.client_id AND h.hold_id = s.hold_id

-- name: insert_orders
INSERT INTO orders (client_id, order_id, command_id, currency, amount, status, money, fulfillment_id, attempts, rounds,
                    reason, detail, correlation_id, event_id, headers, created_at, updated_at,
                    reference, description, items, metadata)
SELECT o.client_id, o.order_id, o.command_id, o.currency, o.amount, o.status, o.money, o.fulfillment_id, o.attempts, o.rounds,
       o.reason, o.detail, o.correlation_id, o.event_id, o.headers, o.created_at, o.updated_at,
       o.reference, o.description, o.items::json, o.metadata::json
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[],
            %s::integer[], %s::integer[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bytea[],
            %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[])
    AS o (client_id, order_id, command_id, currency, amount, status, money, fulfillment_id, attempts, rounds,
          reason, detail, correlation_id, event_id, headers, created_at, updated_at,
          reference, description, items, metadata)
ORDER BY o.client_id, o.order_id

-- name: update_orders
UPDATE orders AS o
SET status = n.status, money = n.money, fulfillment_id = n.fulfillment_id, attempts = n.attempts, rounds = n.rounds,
    reason = n.reason, detail = n.detail, correlation_id = n.correlation_id, event_id = n.event_id, headers = n.headers,
    updated_at = n.updated_at
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::integer[], %s::text[], %s::text[],
            %s::text[], %s::text[], %s::bytea[], %s::timestamptz[])
    AS n (client_id, order_id, status, money, fulfillment_id, attempts, rounds, reason, detail, correlation_id, event_id,
          headers, updated_at)
WHERE o.client_id = n.client_id AND o.order_id = n.order_id

-- name: insert_jobs
INSERT INTO fulfillments (client_id, order_id, due_at)
SELECT j.client_id, j.order_id, n.now
FROM (SELECT %s::timestamptz AS now) AS n
CROSS JOIN unnest(%s::text[], %s::text[]) AS j (client_id, order_id)
ORDER BY j.client_id, j.order_id

-- name: delete_jobs
DELETE FROM fulfillments AS f
USING unnest(%s::text[], %s::text[]) AS j (client_id, order_id)
WHERE f.client_id = j.client_id AND f.order_id = j.order_id

-- name: write_buckets
INSERT INTO rate_buckets AS b (client_id, topic, level, filled_at_ms)
SELECT n.client_id, n.topic, n.level, n.filled_at_ms
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[]) AS n (client_id, topic, level, filled_at_ms)
ORDER BY n.client_id, n.topic
ON CONFLICT (client_id, topic) DO UPDATE SET level = excluded.level, filled_at_ms = excluded.filled_at_ms

-- name: due_holds
-- Looked for without a lock: whoever finds one locks its wallet first and looks again. The statement's time, since the
-- index can't be searched by clock_timestamp(), which may change from row to row.
SELECT client_id, currency, hold_id FROM holds
WHERE status = 'open' AND expires_at IS NOT NULL AND expires_at <= statement_timestamp()
ORDER BY expires_at LIMIT %s

-- name: copy_transactions
COPY transactions (client_id, command_id, id, type, status, reason, detail, fingerprint, currency, amount,
                   debit_kind, credit_kind, counterparty, merchant_id, hold_id, order_id, original_command_id,
                   balance_before, balance_after, held_after, escrow_after, peer_balance_after, reference, description,
                   metadata, order_state, source_topic, source_partition, source_offset, upstream_occurred_at, created_at)
FROM STDIN (FORMAT binary)

-- name: insert_outbox
-- The ids come from the sequence, row by row in this order, after all locks: the order readers see.
INSERT INTO outbox (bucket, record_count, byte_count, records, created_at)
SELECT r.bucket, r.record_count, r.byte_count, r.records, n.now
FROM (SELECT %s::timestamptz AS now) AS n
CROSS JOIN unnest(%s::smallint[], %s::integer[], %s::integer[], %b::bytea[]) WITH ORDINALITY
    AS r (bucket, record_count, byte_count, records, number)
ORDER BY r.number
