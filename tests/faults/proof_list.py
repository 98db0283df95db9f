"""The list of faults that the system is to survive, and where each is shown."""

from __future__ import annotations

from typing import NamedTuple

_ROLES = ("worker", "relay", "fulfillment")


class Listed(NamedTuple):
    """A fault: the kinds of it that the schedule draws, and the tests that show it alone. `note`
    says why no schedule draws it, or what is there all along.
    """

    fault: str
    kinds: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    note: str = ""


def _of_each(done: str) -> tuple[str, ...]:
    return tuple(f"{role} {done}" for role in _ROLES)


def _shown(file: str, name: str, folder: str = "faults") -> str:
    return f"tests/{folder}/{file}.py::{name}"


LISTED = (
    Listed(
        "SIGKILL of worker, relay, fulfillment at named points", _of_each("killed at a named point")
    ),
    Listed("the same at random", _of_each("killed")),
    Listed("SIGSTOP past every time-out and back", _of_each("frozen past all time-outs")),
    Listed(
        "Kafka or PostgreSQL frozen past every time-out",
        tests=(_shown("test_server", "test_a_server_frozen_past_every_time_out_goes_on"),),
    ),
    Listed(
        "rebalance storms, workers joining and leaving every second", ("rebalance storm",),
        (_shown("test_rebalance", "test_a_long_storm_of_rebalances_loses_and_doubles_nothing"),),
    ),
    Listed("Kafka killed and started again", ("Kafka killed",)),
    Listed(
        "the same in the middle of the relay's transaction",
        tests=(
            _shown("test_server", "test_kafka_killed_in_the_middle_of_the_relays_transaction"),
        ),
    ),
    Listed("SIGKILL of the postmaster, and a start", ("PostgreSQL killed",)),
    Listed(
        "connections cut between our processes and Kafka, PostgreSQL, the fulfillment service",
        (*_of_each("connections cut"), "PostgreSQL sessions cut"),
        (_shown("test_connection", "test_what_is_cut_is_taken_up_again"),),
    ),
    Listed(
        "the same stalled past every time-out, as if a cable were pulled",
        _of_each("connections stalled"),
        (
            _shown("test_connection", "test_what_is_stalled_past_every_time_out_is_taken_up_again"),
        ),
    ),
    Listed(
        "the same slowed", _of_each("connections slowed"),
        (_shown("test_connection", "test_slow_connections_only_make_it_slow"),),
    ),
    Listed("the fulfillment service down, and answering wrongly", ("fulfillment service down",),
           note="wrong answers come all along"),
    Listed(
        "no room on PostgreSQL's disk, for data or for WAL",
        ("PostgreSQL's disk full for data", "PostgreSQL's disk full for WAL"),
        (
            _shown("test_disk", "test_data_that_can_not_grow_is_waited_for"),
            _shown(
                "test_disk",
                "test_wal_that_can_not_be_written_ends_the_server_and_is_waited_for",
            ),
        ),
        note="not drawn where the machine lets nobody mount a disk of its own",
    ),
    Listed(
        "the clock of a process stepped by an hour, forth and back",
        _of_each("with its clock stepped"),
        (_shown("test_clock", "test_a_step_of_the_processes_clocks_changes_nothing"),),
    ),
    Listed(
        "the clock of PostgreSQL's server stepped by an hour, forth and back",
        tests=(
            _shown(
                "test_server_clock",
                "test_an_hour_ahead_and_back_loses_and_doubles_nothing_and_nobody_waits_for_it",
            ),
        ),
    ),
    Listed(
        "upstream duplicates and resends",
        tests=(
            _shown("test_upstream", "test_aborted_resent_and_doubled_records_move_money_once"),
        ),
        note="they come all along",
    ),
    Listed(
        "upstream transactions aborted, and left open",
        ("upstream transaction aborted", "upstream transaction left open"),
    ),
    Listed(
        "the group's offsets in Kafka reset", ("Kafka offsets of the group reset",),
        (_shown("test_log", "test_the_groups_offsets_in_kafka_do_not_matter"),),
    ),
    Listed("a topic cut off up to the positions", ("records cut off below the positions",)),
    Listed(
        "a topic cut off beyond the position",
        tests=(
            _shown(
                "test_log",
                "test_a_log_cut_off_before_the_position_is_stopped_until_a_person_decides",
            ),
        ),
        note="a named stop: records are lost before us, and `wallet offsets reset` decides",
    ),
    Listed(
        "a topic made anew under the position",
        tests=(
            _shown(
                "test_trouble",
                "test_a_topic_made_anew_is_stopped_and_the_other_goes_on",
                "consumers",
            ),
            _shown("test_offsets", "test_a_topic_made_anew_is_settled", "ops"),
        ),
        note="a named stop: offsets come again, and `wallet offsets reset` decides",
    ),
    Listed(
        "partitions added to an input topic", ("partition added",),
        (_shown("test_log", "test_partitions_added_are_read_and_answered_too"),),
        note="results keep their partitions: a reader could not tell their order otherwise",
    ),
    Listed(
        "the database restored from a backup",
        tests=(
            _shown(
                "test_restore",
                "test_after_a_restore_the_lost_part_is_decided_again_under_the_same_names",
            ),
        ),
        note="what comes again has its old `ce_id`: once is not promised across it",
    ),
)  # fmt: skip
