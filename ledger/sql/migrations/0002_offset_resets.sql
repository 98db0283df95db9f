-- What operators have decided by hand: positions that were set anew, and dead letters that were sent again.
-- depends: 0001_foundation

-- A position that was moved without its records being read, or back over records that were: the range between. With
-- these rows a partition's counts still add up to its position.
CREATE TABLE offset_resets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    old_topic_id text,
    new_topic_id text NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    reset_by text NOT NULL DEFAULT session_user,
    reset_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX offset_resets_partition ON offset_resets (topic, partition);

-- Which dead letters were sent again, and where each then stood; a topic made anew has another id, and other letters.
CREATE TABLE dead_letter_replays (
    topic text NOT NULL,
    topic_id text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    input_topic text NOT NULL,
    input_partition integer NOT NULL,
    input_offset bigint NOT NULL,
    replayed_by text NOT NULL DEFAULT session_user,
    replayed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX dead_letter_replays_letter ON dead_letter_replays (topic, topic_id, partition, "offset");

GRANT SELECT, INSERT ON offset_resets, dead_letter_replays TO wallet_runtime;
