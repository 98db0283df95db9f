-- Dead letters that were sent again: so that none is sent twice by mistake.

-- name: replayed
SELECT partition, "offset" FROM dead_letter_replays WHERE topic = %(topic)s AND topic_id = %(topic_id)s

-- name: keep
INSERT INTO dead_letter_replays (topic, topic_id, partition, "offset", input_topic, input_partition, input_offset)
VALUES (%(topic)s, %(topic_id)s, %(partition)s, %(offset)s, %(input_topic)s, %(input_partition)s, %(input_offset)s)
