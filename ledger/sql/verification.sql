-- The books' checks (design §4). Each statement gives the rows it examines with a column `ok`; verification.py counts
-- them and keeps the first that are not. A chunk is one statement, so one snapshot: what it compares was written by
-- whole transactions, whoever is at work. `after` (exclusive) to `up_to` (null: the end) is a range of clients,
-- `first_page` to `end_page` (exclusive) a range of the journal's pages, read in the order in which they lie on the disk.

-- name: last_id
SELECT coalesce(pg_sequence_last_value('transaction_ids'), 0)

-- name: id_holders
-- The transactions that have taken ids and are not over: nextval() locks its sequence until the transaction's end.
SELECT l.virtualtransaction
FROM pg_locks AS l
WHERE l.locktype = 'relation' AND l.relation = 'transaction_ids'::regclass AND l.mode = 'RowExclusiveLock'
  AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())

-- name: page_count
SELECT pg_relation_size('transactions') / current_setting('block_size')::bigint

-- name: client_count
SELECT count(*) FROM clients

-- name: client_range
-- The last of the next clients, and how many there are up to it.
SELECT max(c.client_id), count(*)
FROM (SELECT client_id FROM clients WHERE client_id > %(after)s ORDER BY client_id LIMIT %(client_count)s) AS c

-- name: balances
WITH moves AS (
    SELECT t.client_id, t.currency, s.kind, s.amount
    FROM transactions AS t
    CROSS JOIN LATERAL (VALUES (t.debit_kind, -t.amount), (t.credit_kind, t.amount)) AS s (kind, amount)
    WHERE t.client_id > %(after)s AND (%(up_to)s::text IS NULL OR t.client_id <= %(up_to)s)
      AND t.debit_kind IS NOT NULL AND s.kind IN ('available', 'held', 'escrow')
    UNION ALL
    SELECT t.counterparty, t.currency, 'available', CASE t.credit_kind WHEN 'peer' THEN t.amount ELSE -t.amount END
    FROM transactions AS t
    WHERE t.counterparty > %(after)s AND (%(up_to)s::text IS NULL OR t.counterparty <= %(up_to)s)
      AND t.counterparty IS NOT NULL AND t.debit_kind IS NOT NULL AND 'peer' IN (t.debit_kind, t.credit_kind)
), sums AS (
    SELECT m.client_id, m.currency, m.kind, sum(m.amount) AS balance FROM moves AS m GROUP BY 1, 2, 3
)
SELECT a.client_id, a.currency, a.kind, a.balance AS stored, coalesce(s.balance, 0) AS journal,
       a.balance = coalesce(s.balance, 0) AS ok
FROM accounts AS a
LEFT JOIN sums AS s USING (client_id, currency, kind)
WHERE a.client_id > %(after)s AND (%(up_to)s::text IS NULL OR a.client_id <= %(up_to)s)

-- name: accounts
WITH sides AS (
    SELECT t.client_id, t.currency, s.kind, t.id
    FROM transactions AS t
    CROSS JOIN LATERAL (VALUES (t.debit_kind), (t.credit_kind)) AS s (kind)
    WHERE t.client_id > %(after)s AND (%(up_to)s::text IS NULL OR t.client_id <= %(up_to)s)
      AND t.debit_kind IS NOT NULL AND s.kind IN ('available', 'held', 'escrow')
    UNION ALL
    SELECT t.counterparty, t.currency, 'available', t.id
    FROM transactions AS t
    WHERE t.counterparty > %(after)s AND (%(up_to)s::text IS NULL OR t.counterparty <= %(up_to)s)
      AND t.counterparty IS NOT NULL AND t.debit_kind IS NOT NULL AND 'peer' IN (t.debit_kind, t.credit_kind)
), named AS (
    SELECT s.client_id, s.currency, s.kind, count(*) AS movements, min(s.id) AS first_transaction_id
    FROM sides AS s GROUP BY 1, 2, 3
)
SELECT n.*, a.client_id IS NOT NULL AS ok
FROM named AS n
LEFT JOIN accounts AS a USING (client_id, currency, kind)

-- name: chains
-- Every row that shows an account's balance is a link, refused commands too. Of an account's rows those with smaller
-- ids were committed earlier, since ids are taken under its lock: no snapshot shows a later link without the earlier.
-- Rows of a wallet without a held account show 0 held; they are left out, which halves the time. Sorted by bytes, which
-- is quicker than by a language's rules.
WITH with_held AS (
    SELECT a.client_id, a.currency FROM accounts AS a
    WHERE a.kind = 'held' AND a.client_id > %(after)s AND (%(up_to)s::text IS NULL OR a.client_id <= %(up_to)s)
), links AS (
    SELECT t.client_id, t.currency, 'available' AS kind, t.id, t.command_id, t.balance_before, t.balance_after
    FROM transactions AS t
    WHERE t.client_id > %(after)s AND (%(up_to)s::text IS NULL OR t.client_id <= %(up_to)s) AND t.balance_after IS NOT NULL
    UNION ALL
    SELECT t.client_id, t.currency, 'held', t.id, t.command_id,
           t.held_after + CASE 'held' WHEN t.debit_kind THEN t.amount WHEN t.credit_kind THEN -t.amount ELSE 0 END, t.held_after
    FROM transactions AS t
    WHERE t.client_id > %(after)s AND (%(up_to)s::text IS NULL OR t.client_id <= %(up_to)s)
      AND (t.held_after <> 0 OR t.held_after = 0 AND (t.client_id, t.currency) IN (SELECT client_id, currency FROM with_held))
    UNION ALL
    SELECT t.client_id, t.currency, 'escrow', t.id, t.command_id,
           t.escrow_after + CASE 'escrow' WHEN t.debit_kind THEN t.amount WHEN t.credit_kind THEN -t.amount ELSE 0 END,
           t.escrow_after
    FROM transactions AS t
    WHERE t.client_id > %(after)s AND (%(up_to)s::text IS NULL OR t.client_id <= %(up_to)s) AND t.escrow_after IS NOT NULL
    UNION ALL
    SELECT t.counterparty, t.currency, 'available', t.id, t.command_id,
           t.peer_balance_after + CASE t.credit_kind WHEN 'peer' THEN -t.amount ELSE t.amount END, t.peer_balance_after
    FROM transactions AS t
    WHERE t.counterparty > %(after)s AND (%(up_to)s::text IS NULL OR t.counterparty <= %(up_to)s)
      AND t.counterparty IS NOT NULL AND t.debit_kind IS NOT NULL AND 'peer' IN (t.debit_kind, t.credit_kind)
      AND t.peer_balance_after IS NOT NULL
), chained AS (
    SELECT l.client_id, l.currency, l.kind, l.id AS transaction_id, l.command_id, l.balance_before, l.balance_after,
           coalesce(lag(l.balance_after) OVER (PARTITION BY l.client_id COLLATE "C", l.currency COLLATE "C", l.kind COLLATE "C" ORDER BY l.id), 0)
               AS previous_balance
    FROM links AS l
)
SELECT c.*, c.balance_before = c.previous_balance AS ok FROM chained AS c

-- name: movements
-- Of one row: the balances differ by the amount, in the direction that the kinds say, and nothing is left unnamed.
SELECT t.id AS transaction_id, t.client_id, t.command_id, t.debit_kind, t.credit_kind, t.currency, t.amount,
       t.balance_before, t.balance_after, t.held_after, t.escrow_after, t.counterparty, t.peer_balance_after,
       (t.balance_before IS NULL) = (t.balance_after IS NULL)
       AND coalesce(t.balance_after - t.balance_before, 0)
           = CASE 'available' WHEN k.credit THEN t.amount WHEN k.debit THEN -t.amount ELSE 0 END
       AND NOT ('held' IN (k.debit, k.credit) AND t.held_after IS NULL)
       AND NOT ('escrow' IN (k.debit, k.credit) AND t.escrow_after IS NULL)
       AND NOT ('merchant' IN (k.debit, k.credit) AND t.merchant_id IS NULL)
       AND NOT ('peer' IN (k.debit, k.credit) AND t.counterparty IS NULL)
       AND ('peer' IN (k.debit, k.credit)) = (t.peer_balance_after IS NOT NULL) AS ok
FROM transactions AS t
CROSS JOIN LATERAL (VALUES (coalesce(t.debit_kind, ''), coalesce(t.credit_kind, ''))) AS k (debit, credit)
WHERE t.ctid >= %(first_page)s::tid AND t.ctid < %(end_page)s::tid

-- name: negative_accounts
SELECT a.client_id, a.currency, a.kind, a.balance, a.balance >= 0 AS ok
FROM accounts AS a
WHERE a.client_id > %(after)s AND (%(up_to)s::text IS NULL OR a.client_id <= %(up_to)s)

-- name: negative_rows
SELECT t.id AS transaction_id, t.client_id, t.command_id, t.currency, t.balance_before, t.balance_after, t.held_after,
       t.escrow_after, t.counterparty, t.peer_balance_after,
       coalesce(least(t.balance_before, t.balance_after, t.held_after, t.escrow_after, t.peer_balance_after), 0) >= 0 AS ok
FROM transactions AS t
WHERE t.ctid >= %(first_page)s::tid AND t.ctid < %(end_page)s::tid

-- name: holds
SELECT client_id, currency, coalesce(a.balance, 0) AS held, coalesce(h.amount, 0) AS open_holds,
       coalesce(a.balance, 0) = coalesce(h.amount, 0) AS ok
FROM (SELECT client_id, currency, balance FROM accounts
      WHERE kind = 'held' AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)) AS a
FULL JOIN (SELECT client_id, currency, sum(amount) AS amount FROM holds
           WHERE status = 'open' AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)
           GROUP BY 1, 2) AS h USING (client_id, currency)

-- name: escrow
SELECT client_id, currency, coalesce(a.balance, 0) AS escrow, coalesce(o.amount, 0) AS owed_to_orders,
       coalesce(a.balance, 0) = coalesce(o.amount, 0) AS ok
FROM (SELECT client_id, currency, balance FROM accounts
      WHERE kind = 'escrow' AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)) AS a
FULL JOIN (SELECT client_id, currency, sum(amount) AS amount FROM orders
           WHERE (status = 'pending' OR status = 'failed' AND money = 'escrow')
             AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)
           GROUP BY 1, 2) AS o USING (client_id, currency)

-- name: orders
-- What an order's own rows have moved into escrow and on to revenue is what its status says. Refunds take from revenue
-- later, and are counted by their own check.
SELECT client_id, order_id, o.status, o.money, o.amount, coalesce(m.escrow, 0) AS in_escrow, coalesce(m.revenue, 0) AS in_revenue,
       (o.status, o.money) IN (('pending', 'escrow'), ('completed', 'revenue'), ('failed', 'escrow'), ('failed', 'wallet'),
                               ('cancelled', 'wallet'))
       AND coalesce(m.escrow, 0) = CASE o.money WHEN 'escrow' THEN o.amount ELSE 0 END
       AND coalesce(m.revenue, 0) = CASE o.money WHEN 'revenue' THEN o.amount ELSE 0 END AS ok
FROM (SELECT client_id, order_id, status, money, amount FROM orders
      WHERE client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)) AS o
FULL JOIN (SELECT t.client_id, t.order_id,
                  sum(CASE 'escrow' WHEN t.credit_kind THEN t.amount WHEN t.debit_kind THEN -t.amount ELSE 0 END) AS escrow,
                  sum(CASE t.credit_kind WHEN 'revenue' THEN t.amount ELSE 0 END) AS revenue
           FROM transactions AS t
           WHERE t.client_id > %(after)s AND (%(up_to)s::text IS NULL OR t.client_id <= %(up_to)s)
             AND t.order_id IS NOT NULL AND t.debit_kind IS NOT NULL
           GROUP BY 1, 2) AS m USING (client_id, order_id)

-- name: jobs
SELECT client_id, order_id, o.status, o.order_id IS NOT NULL AND f.order_id IS NOT NULL AS ok
FROM (SELECT client_id, order_id, status FROM orders
      WHERE status = 'pending' AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)) AS o
FULL JOIN (SELECT client_id, order_id FROM fulfillments
           WHERE client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)) AS f USING (client_id, order_id)

-- name: refunds
SELECT r.client_id, r.original_command_id, r.currency, r.amount AS refunded, t.amount AS original_amount,
       t.status = 'applied' AND t.debit_kind IS NOT NULL AND t.currency = r.currency AND r.amount <= t.amount AS ok
FROM (SELECT client_id, original_command_id, currency, sum(amount) AS amount FROM transactions
      WHERE client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)
        AND original_command_id IS NOT NULL AND debit_kind IS NOT NULL
      GROUP BY 1, 2, 3) AS r
LEFT JOIN transactions AS t ON t.client_id = r.client_id AND t.command_id = r.original_command_id

-- name: sides
-- One that counts too many would be read again and again. Too few is what a worker of an older release leaves, until the
-- wallet changes again.
SELECT client_id, currency, a.sides, coalesce(s.sides, 0) AS accounts, a.sides <= coalesce(s.sides, 0) AS ok
FROM (SELECT client_id, currency, sides FROM accounts
      WHERE kind = 'available' AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)) AS a
LEFT JOIN (SELECT client_id, currency, count(*) AS sides FROM accounts
           WHERE kind <> 'available' AND client_id > %(after)s AND (%(up_to)s::text IS NULL OR client_id <= %(up_to)s)
           GROUP BY 1, 2) AS s USING (client_id, currency)

-- name: versions
SELECT a.client_id, a.currency, a.version, a.version >= 1 AS ok
FROM accounts AS a
WHERE a.kind = 'available' AND a.client_id > %(after)s AND (%(up_to)s::text IS NULL OR a.client_id <= %(up_to)s)

-- name: sources
-- A row and the move of the position past it are one transaction; `wallet offsets reset` alone sets a position back, and
-- keeps from where.
SELECT t.id AS transaction_id, t.client_id, t.command_id, t.source_topic, t.source_partition, t.source_offset,
       p.next_offset, t.source_offset < greatest(p.next_offset, r.from_offset) AS ok
FROM transactions AS t
LEFT JOIN consumer_positions AS p ON p.topic = t.source_topic AND p.partition = t.source_partition
LEFT JOIN (SELECT topic, partition, max(from_offset) AS from_offset FROM offset_resets GROUP BY 1, 2) AS r
    ON r.topic = p.topic AND r.partition = p.partition
WHERE t.source_topic IS NOT NULL AND t.ctid >= %(first_page)s::tid AND t.ctid < %(end_page)s::tid

-- name: positions
-- A reset moves the position and counts no record: what it moved is kept apart.
SELECT p.topic, p.partition, p.first_offset, p.next_offset, p.results, p.duplicates, p.queries, p.dead_letters, p.skipped,
       coalesce(r.moved, 0) AS reset,
       p.results + p.duplicates + p.queries + p.dead_letters + p.skipped + coalesce(r.moved, 0) = p.next_offset - p.first_offset
       AND least(p.results, p.duplicates, p.queries, p.dead_letters, p.skipped) >= 0 AS ok
FROM consumer_positions AS p
LEFT JOIN (SELECT topic, partition, sum(to_offset - from_offset) AS moved FROM offset_resets GROUP BY 1, 2) AS r
    USING (topic, partition)

-- name: system_sums
-- What the system accounts have received less what they have given, per currency, in rows that can change no more.
SELECT t.currency, sum(CASE WHEN t.credit_kind IN ('available', 'held', 'escrow', 'peer') THEN 0 ELSE t.amount END
                     - CASE WHEN t.debit_kind IN ('available', 'held', 'escrow', 'peer') THEN 0 ELSE t.amount END)
FROM transactions AS t
WHERE t.ctid >= %(first_page)s::tid AND t.ctid < %(end_page)s::tid AND t.id <= %(settled_id)s AND t.debit_kind IS NOT NULL
GROUP BY t.currency

-- name: totals
-- One snapshot of all client accounts and of the rows after the carried sums.
WITH entries AS (
    SELECT a.currency, a.balance AS client_amount, 0 AS system_amount FROM accounts AS a
    UNION ALL
    SELECT c.currency, 0, c.amount FROM unnest(%(currencies)s::text[], %(amounts)s::numeric[]) AS c (currency, amount)
    UNION ALL
    SELECT t.currency, 0, CASE WHEN t.credit_kind IN ('available', 'held', 'escrow', 'peer') THEN 0 ELSE t.amount END
                        - CASE WHEN t.debit_kind IN ('available', 'held', 'escrow', 'peer') THEN 0 ELSE t.amount END
    FROM transactions AS t WHERE t.id > %(settled_id)s AND t.debit_kind IS NOT NULL
)
SELECT e.currency, sum(e.client_amount) AS client_accounts, sum(e.system_amount) AS system_accounts,
       sum(e.client_amount) + sum(e.system_amount) = 0 AS ok
FROM entries AS e GROUP BY e.currency
