-- A position set by hand: what stands, who still works by it, and the range that it leaves out or goes back over.

-- name: positions
SELECT topic, partition, topic_id, first_offset, next_offset, epoch, updated_at FROM consumer_positions

-- name: workers
-- Sessions of workers, this database's alone; who is frozen keeps its own for up to half a minute.
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'wallet-worker'

-- name: reset
-- Under a new epoch: whoever had the partition is fenced. Where the position is not what was seen, nothing is changed.
INSERT INTO consumer_positions AS p (topic, partition, topic_id, first_offset, next_offset, epoch, updated_at)
VALUES (%(topic)s, %(partition)s, %(topic_id)s, %(from_offset)s, %(to_offset)s, 1, clock_timestamp())
ON CONFLICT (topic, partition) DO UPDATE
SET topic_id = excluded.topic_id, next_offset = excluded.next_offset, epoch = p.epoch + 1, takings = 0,
    trial_offset = NULL, trials = 0, updated_at = excluded.updated_at
WHERE p.next_offset = %(from_offset)s AND p.epoch = %(epoch)s

-- name: keep
INSERT INTO offset_resets (topic, partition, old_topic_id, new_topic_id, from_offset, to_offset)
VALUES (%(topic)s, %(partition)s, %(old_topic_id)s, %(topic_id)s, %(from_offset)s, %(to_offset)s)

-- name: resets
SELECT topic, partition, old_topic_id, new_topic_id, from_offset, to_offset, reset_by, reset_at
FROM offset_resets ORDER BY id DESC LIMIT %(limit)s
