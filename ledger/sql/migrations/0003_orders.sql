-- What orders need besides the foundation: their state in the journal, the attempts of a job, and how to look for them.
-- depends: 0002_offset_resets 0002_whole_wallet

-- How many accounts beside its available one a wallet has, in the available one's row. Who waited for that row's lock
-- reads it anew, and the other accounts by the snapshot of before: an account made meanwhile would be overlooked. The
-- count tells.
ALTER TABLE accounts ADD sides smallint NOT NULL DEFAULT 0;
UPDATE accounts AS a SET sides = s.sides
FROM (SELECT client_id, currency, count(*) AS sides FROM accounts WHERE kind <> 'available' GROUP BY client_id, currency) AS s
WHERE a.client_id = s.client_id AND a.currency = s.currency AND a.kind = 'available';

-- The order as a row left it, or found it when it refused: what the row's own columns don't say of it. A repeated
-- request is answered from it field by field, however the order went on. Null in rows that are about no order.
ALTER TABLE transactions ADD order_state json;
-- An order's life in the journal, found by auditors with the order's id alone.
CREATE INDEX transactions_order ON transactions (order_id, client_id) WHERE order_id IS NOT NULL;
CREATE INDEX orders_order_id ON orders (order_id);

-- All calls of this round, also those that the breaker gave back, which `attempts` no longer counts.
ALTER TABLE fulfillments ADD attempts_made integer NOT NULL DEFAULT 0;
-- A lease's token is unique for ever: a process that wakes up after the order has gone another round must not match.
CREATE SEQUENCE lease_tokens AS bigint;

-- Orders as auditors and operators list them. `money` says where the order's amount is; `refunded` is what of it is back
-- in the wallet, by a failure, a cancellation or refunds. `due_at` and `leased_until` are those of a pending order's job.
CREATE VIEW order_summaries AS
SELECT o.client_id, o.order_id, o.status, o.fulfillment_id, o.currency, o.amount, o.money,
       CASE o.money
           WHEN 'wallet' THEN o.amount
           WHEN 'revenue' THEN (SELECT coalesce(sum(t.amount), 0)::bigint FROM transactions AS t
                                WHERE t.client_id = o.client_id AND t.original_command_id = o.command_id
                                  AND t.original_command_id IS NOT NULL AND t.debit_kind IS NOT NULL)
           ELSE 0 END AS refunded,
       o.attempts + coalesce(f.attempts_made, 0) AS attempts, o.rounds, o.reason, o.detail, o.command_id, o.reference,
       o.description, o.created_at, o.updated_at, f.due_at, f.leased_until
FROM orders AS o
LEFT JOIN fulfillments AS f USING (client_id, order_id);

GRANT SELECT ON order_summaries TO wallet_runtime;
GRANT USAGE ON SEQUENCE lease_tokens TO wallet_runtime;
