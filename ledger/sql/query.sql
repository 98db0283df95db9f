-- What operators ask. Read only; each page costs the same at a million rows as at ten.

-- name: client
SELECT client_id, registered, name, email, phone, created_at, updated_at FROM clients WHERE client_id = %(client_id)s

-- name: wallets
SELECT a.currency, a.balance, coalesce(h.balance, 0) AS held, a.status, a.version, a.updated_at
FROM accounts AS a
LEFT JOIN accounts AS h ON h.client_id = a.client_id AND h.currency = a.currency AND h.kind = 'held'
WHERE a.client_id = %(client_id)s AND a.kind = 'available'
ORDER BY a.currency

-- name: client_at
SELECT client_id, registered, name, email, phone, created_at, updated_at FROM clients
WHERE client_id = %(client_id)s AND created_at <= %(at)s

-- name: wallets_at
-- Each wallet as its newest row of the journal up to the moment shows it, its own or a received one; ids rise in the order
-- in which a wallet changed. A version is not kept in the journal.
SELECT a.currency, coalesce(newest.balance, 0), coalesce(own.held_after, 0), coalesce(life.status, 'open'), NULL,
       greatest(coalesce(newest.created_at, a.created_at), life.created_at)
FROM accounts AS a
LEFT JOIN LATERAL (
    SELECT t.id, t.balance_after, t.held_after, t.created_at FROM transactions AS t
    WHERE t.client_id = a.client_id AND t.currency = a.currency AND t.balance_after IS NOT NULL AND t.created_at <= %(at)s
    ORDER BY t.id DESC LIMIT 1) AS own ON true
LEFT JOIN LATERAL (
    SELECT t.id, t.peer_balance_after, t.created_at FROM transactions AS t
    WHERE t.counterparty = a.client_id AND t.counterparty IS NOT NULL AND t.debit_kind IS NOT NULL
      AND t.currency = a.currency AND t.peer_balance_after IS NOT NULL AND t.created_at <= %(at)s
    ORDER BY t.id DESC LIMIT 1) AS received ON true
LEFT JOIN LATERAL (
    SELECT side.balance, side.created_at
    FROM (VALUES (own.id, own.balance_after, own.created_at),
                 (received.id, received.peer_balance_after, received.created_at)) AS side (id, balance, created_at)
    WHERE side.id IS NOT NULL ORDER BY side.id DESC LIMIT 1) AS newest ON true
LEFT JOIN LATERAL (
    SELECT CASE t.type WHEN 'freeze_wallet' THEN 'frozen' WHEN 'close_wallet' THEN 'closed' ELSE 'open' END AS status,
           t.created_at
    FROM transactions AS t
    WHERE t.client_id = a.client_id AND t.currency = a.currency AND t.created_at <= %(at)s AND t.status = 'applied'
      AND t.type IN ('freeze_wallet', 'unfreeze_wallet', 'close_wallet')
    ORDER BY t.id DESC LIMIT 1) AS life ON true
WHERE a.client_id = %(client_id)s AND a.kind = 'available' AND a.created_at <= %(at)s
ORDER BY a.currency

-- name: history
-- Rows that another client made are told from this one's side: what it received, and its own balances.
-- Movements that no command asked for by itself have ids with a `/`: a capture's rest has the capture's before it, all
-- others (an expiry, an order's end) have no command.
SELECT t.id, CASE WHEN t.command_id NOT LIKE '%%/%%' OR t.command_id LIKE '%%/rest' THEN split_part(t.command_id, '/', 1) END,
       CASE WHEN mine.is_own THEN t.type WHEN mine.receives THEN 'transfer_received' ELSE 'transfer_reversed' END,
       t.status, t.reason, t.currency, t.amount,
       CASE WHEN mine.is_own THEN t.balance_before
            ELSE t.peer_balance_after + CASE WHEN mine.receives THEN -t.amount ELSE t.amount END END,
       CASE WHEN mine.is_own THEN t.balance_after ELSE t.peer_balance_after END,
       t.reference, t.description, CASE WHEN mine.is_own THEN t.counterparty ELSE t.client_id END, t.created_at
FROM history_page(%(client_id)s, %(currency)s, %(before_id)s, %(page_size)s) AS t
CROSS JOIN LATERAL (SELECT t.client_id = %(client_id)s, t.credit_kind = 'peer') AS mine (is_own, receives)
ORDER BY t.id DESC
