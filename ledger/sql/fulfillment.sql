-- The fulfillment processes' leases, attempts and breaker. Locks are taken in one order: the breaker's row, then jobs
-- by client and order. A settlement takes none of the breaker's: it locks accounts, then jobs, as a batch does.

-- name: look
-- Nothing waits for as long as the second EXISTS asks for (a delay: a minute, a lease: three), unless the clock was
-- set back in the meantime.
SELECT failures, run_order, run_is_lone, opened_at, probe_at, ramp_from, granted, clock_timestamp(),
       EXISTS (SELECT FROM fulfillments WHERE due_at <= statement_timestamp()),
       EXISTS (SELECT FROM fulfillments WHERE due_at > statement_timestamp() + interval '5 minutes')
FROM fulfillment_breaker

-- name: make_due
-- What another process locks is just being seen to.
WITH stray AS (
    SELECT client_id, order_id FROM fulfillments
    WHERE due_at > statement_timestamp() + interval '5 minutes'
    ORDER BY client_id, order_id
    FOR UPDATE SKIP LOCKED
)
UPDATE fulfillments AS f SET due_at = statement_timestamp()
FROM stray WHERE f.client_id = stray.client_id AND f.order_id = stray.order_id

-- name: lock_breaker
SELECT failures, run_order, run_is_lone, opened_at, probe_at, ramp_from, granted, clock_timestamp()
FROM fulfillment_breaker FOR NO KEY UPDATE

-- name: write_breaker
UPDATE fulfillment_breaker
SET failures = %s, run_order = %s, run_is_lone = %s, opened_at = %s, probe_at = %s, ramp_from = %s, granted = %s

-- name: lease
-- citus: FOR UPDATE SKIP LOCKED over several shards is refused there; this statement is the one to exchange.
-- While it is leased a job is due at the lease's end: the index finds the due ones alone. A job that is due and still
-- leased was lost by its last owner, which may have made the call; that is recorded, and does not count against it.
WITH due AS (
    SELECT client_id, order_id, leased_until FROM fulfillments
    WHERE due_at <= statement_timestamp()
    ORDER BY due_at LIMIT %(count)s
    FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE fulfillments AS f
    SET lease_token = nextval('lease_tokens'), lease_owner = %(owner)s,
        leased_until = statement_timestamp() + make_interval(secs => %(lease_s)s),
        due_at = statement_timestamp() + make_interval(secs => %(lease_s)s),
        attempts_made = f.attempts_made + (due.leased_until IS NOT NULL)::integer
    FROM due
    WHERE f.client_id = due.client_id AND f.order_id = due.order_id
    RETURNING f.client_id, f.order_id, f.lease_token, f.attempts, f.attempts_made, due.leased_until IS NOT NULL AS was_lost
), lost AS (
    INSERT INTO fulfillment_attempts (client_id, order_id, attempt, round, outcome, counted, started_at)
    SELECT l.client_id, l.order_id, o.attempts + l.attempts_made, o.rounds, 'lost', false, statement_timestamp()
    FROM leased AS l JOIN orders AS o ON o.client_id = l.client_id AND o.order_id = l.order_id
    WHERE l.was_lost
)
SELECT l.client_id, l.order_id, l.lease_token, l.attempts, l.attempts_made, o.attempts, o.rounds, o.currency, o.amount,
       o.items::text, o.metadata::text, o.headers
FROM leased AS l JOIN orders AS o ON o.client_id = l.client_id AND o.order_id = l.order_id

-- name: lock_jobs
-- Those given and, where the breaker opens, all that have attempts to be given back: in one go, since a second one
-- would meet a batch that locks in the same order.
SELECT f.client_id, f.order_id, f.lease_token, f.attempts
FROM fulfillments AS f
WHERE (f.client_id, f.order_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
ORDER BY f.client_id, f.order_id
FOR UPDATE OF f

-- name: lock_all_begun
SELECT f.client_id, f.order_id, f.lease_token, f.attempts
FROM fulfillments AS f
WHERE f.attempts > 0 OR (f.client_id, f.order_id) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
ORDER BY f.client_id, f.order_id
FOR UPDATE OF f

-- name: give_attempts_back
UPDATE fulfillments SET attempts = 0 WHERE attempts > 0

-- name: reschedule
UPDATE fulfillments AS f
SET attempts = f.attempts + k.counted::integer, attempts_made = f.attempts_made + 1, leased_until = NULL, lease_owner = NULL,
    due_at = clock_timestamp() + make_interval(secs => k.delay_s)
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::boolean[], %s::float8[])
    AS k (client_id, order_id, token, counted, delay_s)
WHERE f.client_id = k.client_id AND f.order_id = k.order_id AND f.lease_token = k.token

-- name: release
-- Given back without a call. Several rows of ours, which nobody else locks for longer than a look at them.
UPDATE fulfillments AS f
SET leased_until = NULL, lease_owner = NULL, due_at = statement_timestamp()
FROM (SELECT j.client_id, j.order_id
      FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS k (client_id, order_id, token)
      JOIN fulfillments AS j ON j.client_id = k.client_id AND j.order_id = k.order_id AND j.lease_token = k.token
      ORDER BY j.client_id, j.order_id
      FOR UPDATE OF j) AS ours
WHERE f.client_id = ours.client_id AND f.order_id = ours.order_id

-- name: check_leases
SELECT check_leases(%s::text[], %s::text[], %s::bigint[])

-- name: unclear_orders
-- Those of which an attempt may have been delivered without our knowing.
SELECT DISTINCT a.client_id, a.order_id
FROM unnest(%s::text[], %s::text[]) AS k (client_id, order_id)
JOIN fulfillment_attempts AS a ON a.client_id = k.client_id AND a.order_id = k.order_id
WHERE a.outcome IN ('unclear', 'lost')

-- name: copy_attempts
COPY fulfillment_attempts (client_id, order_id, attempt, round, outcome, counted, http_status, error, started_at, duration_ms)
FROM STDIN (FORMAT binary)
