-- The consumer's positions: taken under a new epoch, moved by move_positions(), given back.

-- name: claim
-- Takes partitions: whoever held them before is fenced by the new epoch. A row is made at the log's start where there
-- is none. A row whose topic was made anew since is left alone and not returned.
INSERT INTO consumer_positions AS p (topic, partition, topic_id, first_offset, next_offset, epoch, updated_at)
SELECT c.topic, c.partition, c.topic_id, c.low, c.low, 1, clock_timestamp()
FROM unnest(%s::text[], %s::integer[], %s::text[], %s::bigint[]) AS c (topic, partition, topic_id, low)
ORDER BY c.topic, c.partition
ON CONFLICT (topic, partition) DO UPDATE
SET epoch = p.epoch + 1, takings = p.takings + 1, updated_at = clock_timestamp()
WHERE p.topic_id = excluded.topic_id
RETURNING p.topic, p.partition, p.next_offset, p.epoch, p.takings

-- name: release
-- A clean end is no taking that failed; of a fenced position nothing is changed.
UPDATE consumer_positions AS p
SET takings = greatest(p.takings - 1, 0)
FROM unnest(%s::text[], %s::integer[], %s::bigint[]) AS c (topic, partition, epoch)
WHERE p.topic = c.topic AND p.partition = c.partition AND p.epoch = c.epoch

-- name: begin_trial
-- Counts, before a record is tried alone, how often it has been: one that kills the process can't count afterwards.
UPDATE consumer_positions
SET trials = CASE WHEN trial_offset = %s THEN trials + 1 ELSE 1 END, trial_offset = %s
WHERE topic = %s AND partition = %s AND epoch = %s
RETURNING trials

-- name: move
SELECT move_positions(%s::text[], %s::integer[], %s::bigint[], %s::bigint[], %s::bigint[],
                      %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::timestamptz)

-- name: positions
SELECT topic, partition, next_offset, epoch FROM consumer_positions
