-- What operators ask. Read only; each page costs the same at a million rows as at ten.

-- name: client
SELECT client_id, registered, name, email, phone, created_at, updated_at FROM clients WHERE client_id = %(client_id)s

-- name: wallets
SELECT a.currency, a.balance, coalesce(h.balance, 0) AS held, a.status, a.version, a.updated_at
FROM accounts AS a
LEFT JOIN accounts AS h ON h.client_id = a.client_id AND h.currency = a.currency AND h.kind = 'held'
WHERE a.client_id = %(client_id)s AND a.kind = 'available'
ORDER BY a.currency

-- name: history
-- Rows that another client made are told from this one's side: what it received, and its own balances.
-- Movements that no command asked for by itself have ids with a `/`: the causing command stands before it, and an expiry
-- has none.
SELECT t.id, CASE WHEN t.command_id NOT LIKE '%%/expired' THEN split_part(t.command_id, '/', 1) END,
       CASE WHEN mine.is_own THEN t.type WHEN mine.receives THEN 'transfer_received' ELSE 'transfer_reversed' END,
       t.status, t.reason, t.currency, t.amount,
       CASE WHEN mine.is_own THEN t.balance_before
            ELSE t.peer_balance_after + CASE WHEN mine.receives THEN -t.amount ELSE t.amount END END,
       CASE WHEN mine.is_own THEN t.balance_after ELSE t.peer_balance_after END,
       t.reference, t.description, CASE WHEN mine.is_own THEN t.counterparty ELSE t.client_id END, t.created_at
FROM history_page(%(client_id)s, %(currency)s, %(before_id)s, %(page_size)s) AS t
CROSS JOIN LATERAL (SELECT t.client_id = %(client_id)s, t.credit_kind = 'peer') AS mine (is_own, receives)
ORDER BY t.id DESC
