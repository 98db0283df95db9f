-- A row of the outbox holds many records: a batch of thousands writes some dozens of rows.
-- depends: 0004_fulfillment

LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT FROM outbox) THEN
        RAISE EXCEPTION 'the outbox is not empty: stop workers and fulfillment processes, let the relay publish what waits '
            '(wallet outbox status says 0), stop it, and migrate again' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;
-- The sequence goes on: the id of a row that was published must not come again.
ALTER SEQUENCE outbox_ids OWNED BY NONE;
DROP TABLE outbox;

-- What the relay has still to publish. The order of ids is the order readers see, and that of the records in a row.
-- All records of a client are in rows of one bucket; `records` is what ledger/parcel.py packs.
CREATE TABLE outbox (
    id bigint PRIMARY KEY DEFAULT nextval('outbox_ids'),
    bucket smallint NOT NULL,
    record_count integer NOT NULL,
    records bytea NOT NULL,
    created_at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_insert_threshold = -1,
        autovacuum_analyze_scale_factor = 0.0, autovacuum_analyze_threshold = 1000000, autovacuum_vacuum_cost_delay = 0,
        toast.autovacuum_vacuum_scale_factor = 0.0, toast.autovacuum_vacuum_threshold = 20000,
        toast.autovacuum_vacuum_insert_threshold = -1, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE outbox ALTER records SET STORAGE EXTERNAL;
ALTER SEQUENCE outbox_ids OWNED BY outbox.id;
GRANT SELECT, INSERT, DELETE ON outbox TO wallet_runtime;
