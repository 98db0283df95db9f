-- The foundation: currencies, clients, accounts, the journal, holds, orders, the outbox and the positions.
-- depends:

-- The operator's own units; ISO 4217's currencies come from a library and need no row.
CREATE TABLE currencies (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z][A-Z0-9]{2,11}$'),
    scale smallint NOT NULL CHECK (scale BETWEEN 0 AND 8),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Profile fields live here alone. A client made by its first credit has registered = false until it registers.
CREATE TABLE clients (
    client_id text PRIMARY KEY,
    registered boolean NOT NULL,
    name text,
    email text,
    phone text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
-- citus: a unique index must contain the distribution column; there these two become tables keyed by email and phone.
CREATE UNIQUE INDEX clients_email ON clients (lower(email)) WHERE email IS NOT NULL;
CREATE UNIQUE INDEX clients_phone ON clients (phone) WHERE phone IS NOT NULL;

-- One row per client, currency and kind. System accounts have no row: their balance is the sum of the journal, since
-- a balance that every command updates is a hot row. The wallet's status and version stand in its available row.
CREATE TABLE accounts (
    client_id text NOT NULL REFERENCES clients,
    currency text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('available', 'held', 'escrow')),
    balance bigint NOT NULL CHECK (balance BETWEEN 0 AND 9000000000000000),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'frozen', 'closed')),
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, currency, kind)
) WITH (fillfactor = 85);

-- Inbox, journal and answer in one: a row per movement, and one per refused or moneyless command. No row ever changes.
-- A kind names an account: available, held, escrow are this client's, peer is the counterparty's available account,
-- merchant is merchant_id's, the rest are the system's.
CREATE TABLE transactions (
    client_id text NOT NULL,
    command_id text NOT NULL,
    id bigint NOT NULL,
    type text NOT NULL,
    status text NOT NULL CHECK (status IN ('applied', 'rejected')),
    reason text,
    detail text,
    fingerprint bytea,
    currency text,
    amount bigint CHECK (amount > 0),
    debit_kind text,
    credit_kind text,
    counterparty text,
    merchant_id text,
    hold_id text,
    order_id text,
    original_command_id text,
    balance_before bigint,
    balance_after bigint,
    held_after bigint,
    escrow_after bigint,
    peer_balance_after bigint,
    reference text,
    description text,
    metadata json,
    source_topic text,
    source_partition integer,
    source_offset bigint,
    upstream_occurred_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, command_id),
    CHECK ((debit_kind IS NULL) = (credit_kind IS NULL) AND debit_kind <> credit_kind),
    CHECK (debit_kind IS NULL OR (amount IS NOT NULL AND currency IS NOT NULL AND status = 'applied')),
    CHECK ((status = 'rejected') = (reason IS NOT NULL))
);
-- A wallet's history, newest first, for all currencies or one; recipients find their side by the second.
CREATE INDEX transactions_history ON transactions (client_id, currency, id);
CREATE INDEX transactions_counterparty ON transactions (counterparty, currency, id) WHERE counterparty IS NOT NULL AND debit_kind IS NOT NULL;
-- For reading the whole journal in chunks by id: a few pages, where a btree would slow every insert.
CREATE INDEX transactions_id ON transactions USING brin (id) WITH (pages_per_range = 32, autosummarize = on);
-- CACHE 1: with a larger one two sessions take ids out of the order of their locks.
CREATE SEQUENCE transaction_ids AS bigint CACHE 1;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
-- citus: needs citus.enable_unsafe_triggers.
CREATE TRIGGER transactions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE transactions ENABLE ALWAYS TRIGGER transactions_append_only;

CREATE TABLE holds (
    client_id text NOT NULL,
    hold_id text NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    status text NOT NULL CHECK (status IN ('open', 'captured', 'released', 'expired')),
    command_id text NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    settled_at timestamptz,
    PRIMARY KEY (client_id, hold_id),
    CHECK ((status = 'open') = (settled_at IS NULL))
);
CREATE INDEX holds_expiry ON holds (expires_at) WHERE status = 'open' AND expires_at IS NOT NULL;

CREATE TABLE orders (
    client_id text NOT NULL,
    order_id text NOT NULL,
    command_id text NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    status text NOT NULL CHECK (status IN ('pending', 'completed', 'failed', 'cancelled')),
    money text NOT NULL CHECK (money IN ('escrow', 'revenue', 'wallet')),
    fulfillment_id text,
    attempts integer NOT NULL DEFAULT 0,
    rounds integer NOT NULL DEFAULT 1,
    reason text,
    detail text,
    reference text,
    description text,
    items json,
    metadata json,
    headers bytea,
    correlation_id text,
    event_id text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, order_id)
) WITH (fillfactor = 85);

-- One job per pending order.
CREATE TABLE fulfillments (
    client_id text NOT NULL,
    order_id text NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    lease_owner text,
    lease_token bigint NOT NULL DEFAULT 0,
    leased_until timestamptz,
    PRIMARY KEY (client_id, order_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX fulfillments_due ON fulfillments (due_at);

-- What the relay has still to publish. The order of ids is the order readers see. Constant and derivable headers are not stored.
CREATE TABLE outbox (
    id bigint PRIMARY KEY,
    topic text NOT NULL,
    partition integer,
    key bytea,
    value bytea,
    event_id text NOT NULL,
    event_type text NOT NULL,
    correlation_id text,
    causation_id text,
    headers bytea,
    moved boolean NOT NULL,
    created_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_threshold = -1,
        autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 1000000, autovacuum_vacuum_cost_delay = 0);
CREATE SEQUENCE outbox_ids AS bigint CACHE 1 OWNED BY outbox.id;
ALTER TABLE outbox ALTER id SET DEFAULT nextval('outbox_ids');
ALTER TABLE outbox ALTER value SET STORAGE EXTERNAL;

-- The consumer's position: the truth, of which Kafka's group offset is a copy for the lag tools.
CREATE TABLE consumer_positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    topic_id text NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    epoch bigint NOT NULL,
    takings integer NOT NULL DEFAULT 0,
    trial_offset bigint,
    trials integer NOT NULL DEFAULT 0,
    results bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    queries bigint NOT NULL DEFAULT 0,
    dead_letters bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Moves positions, or raises: an UPDATE of no rows is no error, and a COMMIT queued behind it would go through.
CREATE FUNCTION move_positions(
    topics text[], partitions integer[], expected bigint[], epochs bigint[], next_offsets bigint[],
    more_results bigint[], more_duplicates bigint[], more_queries bigint[], more_dead_letters bigint[], more_skipped bigint[],
    moved_at timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved integer;
BEGIN
    UPDATE consumer_positions AS p
    SET next_offset = m.next_offset, takings = 0, trial_offset = NULL, trials = 0,
        results = p.results + m.results, duplicates = p.duplicates + m.duplicates, queries = p.queries + m.queries,
        dead_letters = p.dead_letters + m.dead_letters, skipped = p.skipped + m.skipped, updated_at = moved_at
    FROM unnest(topics, partitions, expected, epochs, next_offsets,
                more_results, more_duplicates, more_queries, more_dead_letters, more_skipped)
        AS m (topic, partition, expected, epoch, next_offset, results, duplicates, queries, dead_letters, skipped)
    WHERE p.topic = m.topic AND p.partition = m.partition AND p.next_offset = m.expected AND p.epoch = m.epoch;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(topics) THEN
        RAISE EXCEPTION 'fenced: % of % positions are still ours', moved, cardinality(topics) USING ERRCODE = 'WF001';
    END IF;
END
$$;

-- The journal as an auditor expects it: two entries per movement.
CREATE VIEW ledger_entries AS
SELECT t.id AS transaction_id, side.entry, t.type, t.command_id,
       CASE WHEN side.kind IN ('available', 'held', 'escrow') THEN t.client_id
            WHEN side.kind = 'peer' THEN t.counterparty
            WHEN side.kind = 'merchant' THEN t.merchant_id END AS owner,
       CASE WHEN side.kind = 'peer' THEN 'available' ELSE side.kind END AS account,
       t.currency, t.amount,
       side.balance_after + CASE side.entry WHEN 'debit' THEN t.amount ELSE -t.amount END AS balance_before,
       side.balance_after, t.order_id, t.hold_id, t.reference, t.description, t.created_at
FROM transactions AS t
CROSS JOIN LATERAL (VALUES ('debit', t.debit_kind), ('credit', t.credit_kind)) AS s (entry, kind)
CROSS JOIN LATERAL (SELECT s.entry, s.kind, CASE s.kind WHEN 'available' THEN t.balance_after WHEN 'held' THEN t.held_after
                           WHEN 'escrow' THEN t.escrow_after WHEN 'peer' THEN t.peer_balance_after END AS balance_after) AS side
WHERE t.debit_kind IS NOT NULL;

CREATE VIEW system_balances AS
SELECT s.kind, s.merchant_id, s.currency, sum(s.amount)::numeric AS balance
FROM (SELECT debit_kind AS kind, CASE debit_kind WHEN 'merchant' THEN merchant_id END AS merchant_id, currency, -amount AS amount
      FROM transactions WHERE debit_kind NOT IN ('available', 'held', 'escrow', 'peer')
      UNION ALL
      SELECT credit_kind, CASE credit_kind WHEN 'merchant' THEN merchant_id END, currency, amount
      FROM transactions WHERE credit_kind NOT IN ('available', 'held', 'escrow', 'peer')) AS s
GROUP BY s.kind, s.merchant_id, s.currency;

-- A page of a client's history, newest first: what it sent, what was refused, and what it received. `only_currency` null
-- means all, `before_id` null the newest. Each currency's newest rows are read off an index and merged, so that a page
-- costs the same at a million rows; the recursive part steps from one currency to the next instead of reading all rows.
CREATE FUNCTION history_page(of_client text, only_currency text, before_id bigint, page_size integer)
RETURNS SETOF transactions LANGUAGE plpgsql STABLE AS $$
DECLARE
    bound bigint := coalesce(before_id, 9223372036854775807);
BEGIN
    RETURN QUERY
    WITH RECURSIVE own (currency) AS (
        (SELECT t.currency FROM transactions AS t
         WHERE t.client_id = of_client AND t.currency IS NOT NULL AND only_currency IS NULL ORDER BY t.currency LIMIT 1)
        UNION ALL
        SELECT (SELECT t.currency FROM transactions AS t
                WHERE t.client_id = of_client AND t.currency > own.currency ORDER BY t.currency LIMIT 1)
        FROM own WHERE own.currency IS NOT NULL
    ), sent (currency) AS (
        SELECT own.currency FROM own WHERE own.currency IS NOT NULL
        UNION ALL SELECT only_currency WHERE only_currency IS NOT NULL
    ), received (currency) AS (
        SELECT a.currency FROM accounts AS a
        WHERE a.client_id = of_client AND a.kind = 'available' AND a.currency = coalesce(only_currency, a.currency)
    )
    SELECT page.* FROM (
        SELECT t.* FROM sent CROSS JOIN LATERAL (
            SELECT * FROM transactions AS t
            WHERE t.client_id = of_client AND t.currency = sent.currency AND t.id < bound
            ORDER BY t.id DESC LIMIT page_size) AS t
        UNION ALL
        (SELECT * FROM transactions AS t
         WHERE t.client_id = of_client AND t.currency IS NULL AND t.id < bound AND only_currency IS NULL
         ORDER BY t.id DESC LIMIT page_size)
        UNION ALL
        SELECT t.* FROM received CROSS JOIN LATERAL (
            SELECT * FROM transactions AS t
            WHERE t.counterparty = of_client AND t.currency = received.currency AND t.id < bound
              AND t.counterparty IS NOT NULL AND t.debit_kind IS NOT NULL
            ORDER BY t.id DESC LIMIT page_size) AS t
    ) AS page ORDER BY page.id DESC LIMIT page_size;
END
$$;

-- Every process but `wallet migrate` runs as this role: it can add to the journal and nothing else.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'wallet_runtime') THEN
        CREATE ROLE wallet_runtime NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of this server made it at this moment
END
$$;
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'wallet_runtime', 'SET') THEN
        EXECUTE format('GRANT wallet_runtime TO %I', current_user);
    END IF;
END
$$;
GRANT USAGE ON SCHEMA public TO wallet_runtime;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO wallet_runtime;
GRANT INSERT ON transactions TO wallet_runtime;
GRANT INSERT, UPDATE ON clients, accounts, holds, orders, consumer_positions TO wallet_runtime;
GRANT INSERT, UPDATE, DELETE ON fulfillments TO wallet_runtime;
GRANT INSERT, DELETE ON outbox TO wallet_runtime;
GRANT INSERT ON currencies TO wallet_runtime;
GRANT USAGE ON SEQUENCE transaction_ids, outbox_ids TO wallet_runtime;
