-- The journal's index by id, of which `verify` reads what came last, has longer ranges: of 32 pages 19 are full in a second at
-- 20,000 commands a second, and autovacuum keeps 256 requests to summarize one, until it comes round once a minute. Each one
-- more was a line in the server's log, and a range that is read in whole until the next vacuum.
-- depends: 0006_outbox_compressed

DROP INDEX transactions_id;
CREATE INDEX transactions_id ON transactions USING brin (id) WITH (pages_per_range = 256, autosummarize = on);
