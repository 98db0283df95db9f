-- What the fulfillment processes share: the circuit breaker's one row, and the record of every call.
-- depends: 0003_orders

-- One breaker for all processes. It is closed where opened_at is null; after it has closed, calls ramp up from ramp_from
-- on, of which `granted` have been handed out. A run of transient failures is `failures` long; run_order is its first
-- order, run_is_lone says that there was no other in it.
CREATE TABLE fulfillment_breaker (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    failures integer NOT NULL DEFAULT 0,
    run_order text,
    run_is_lone boolean NOT NULL DEFAULT true,
    opened_at timestamptz,
    probe_at timestamptz,
    ramp_from timestamptz,
    granted integer NOT NULL DEFAULT 0,
    CHECK ((opened_at IS NULL) = (probe_at IS NULL)),
    CHECK (opened_at IS NULL OR ramp_from IS NULL)
) WITH (fillfactor = 50);
INSERT INTO fulfillment_breaker DEFAULT VALUES;

-- Every call to the fulfillment API, one row each, never changed: `attempt` counts an order's calls over all rounds.
-- `lost`: whoever had the lease has not come back, so nobody knows whether it called.
CREATE TABLE fulfillment_attempts (
    client_id text NOT NULL,
    order_id text NOT NULL,
    attempt integer NOT NULL,
    round integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('fulfilled', 'refused', 'unavailable', 'unclear', 'lost')),
    counted boolean NOT NULL,
    http_status smallint,
    error text,
    started_at timestamptz NOT NULL,
    duration_ms integer,
    PRIMARY KEY (client_id, order_id, attempt)
);
-- citus: needs citus.enable_unsafe_triggers.
CREATE TRIGGER fulfillment_attempts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON fulfillment_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE fulfillment_attempts ENABLE ALWAYS TRIGGER fulfillment_attempts_append_only;

-- Raises where a lease is no longer the caller's: what it found out must not overwrite what the newer owner does.
CREATE FUNCTION check_leases(client_ids text[], order_ids text[], tokens bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ours integer;
BEGIN
    SELECT count(*) INTO ours
    FROM unnest(client_ids, order_ids, tokens) AS k (client_id, order_id, token)
    JOIN fulfillments AS f ON f.client_id = k.client_id AND f.order_id = k.order_id AND f.lease_token = k.token;
    IF ours <> cardinality(tokens) THEN
        RAISE EXCEPTION 'fenced: % of % leases are still ours', ours, cardinality(tokens) USING ERRCODE = 'WF001';
    END IF;
END
$$;

GRANT SELECT, UPDATE ON fulfillment_breaker TO wallet_runtime;
GRANT SELECT, INSERT ON fulfillment_attempts TO wallet_runtime;
