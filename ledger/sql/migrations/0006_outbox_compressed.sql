-- What a row of the outbox holds is compressed by who writes it: rows stay in their pages, out of TOAST, and the log is shorter.
-- depends: 0005_outbox_parcels

LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT FROM outbox) THEN
        RAISE EXCEPTION 'the outbox is not empty: stop workers and fulfillment processes, let the relay publish what waits '
            '(wallet outbox status says 0), stop it, and migrate again' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END
$$;
-- What the records take in memory, by which a relay's read is bounded.
ALTER TABLE outbox ADD byte_count integer NOT NULL;
ALTER TABLE outbox SET (toast_tuple_target = 8160);
