-- What operators ask about orders.

-- name: orders
-- Those that have stood longest as they stand come first.
SELECT client_id, order_id, status, fulfillment_id, currency, amount, money, refunded, attempts, rounds, reason, detail,
       reference, description, created_at, updated_at, due_at, leased_until
FROM order_summaries
WHERE (%(client_id)s::text IS NULL OR client_id = %(client_id)s)
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(order_id)s::text IS NULL OR order_id = %(order_id)s)
  AND (%(older_than_s)s::float8 IS NULL OR updated_at < clock_timestamp() - make_interval(secs => %(older_than_s)s))
ORDER BY updated_at, client_id, order_id
LIMIT %(count)s

-- name: counts
SELECT status, count(*) FROM orders GROUP BY status ORDER BY status

-- name: movements
-- All that was asked of an order and became of it, refused requests and refunds too.
SELECT t.created_at, t.type, t.command_id, t.status, t.reason, t.currency, t.amount, t.debit_kind, t.credit_kind
FROM transactions AS t
WHERE t.order_id = %(order_id)s AND t.client_id = %(client_id)s
ORDER BY t.id

-- name: attempts
SELECT started_at, attempt, round, outcome, counted, http_status, error, duration_ms
FROM fulfillment_attempts
WHERE client_id = %(client_id)s AND order_id = %(order_id)s
ORDER BY attempt
