-- What holds, refunds and the rate limit need besides the foundation.
-- depends: 0001_foundation

-- A hold that expires tells of itself: with the correlation of the command that made it, caused by that one's answer.
ALTER TABLE holds ADD correlation_id text, ADD event_id text;

-- What was given back of an original so far. The journal's other rows have no original and pay nothing for it.
CREATE INDEX transactions_refunds ON transactions (client_id, original_command_id)
    WHERE original_command_id IS NOT NULL AND debit_kind IS NOT NULL;

-- The rate limit's buckets, one per client and input topic; a refused command of an unknown client counts too, so they
-- have a table of their own. `level` is in tokens times the period in milliseconds.
CREATE TABLE rate_buckets (
    client_id text NOT NULL,
    topic text NOT NULL,
    level bigint NOT NULL,
    filled_at_ms bigint NOT NULL,
    PRIMARY KEY (client_id, topic)
) WITH (fillfactor = 85);

GRANT SELECT, INSERT, UPDATE ON rate_buckets TO wallet_runtime;
