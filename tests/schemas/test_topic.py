"""Topics: their names under a prefix, and how each is configured."""

import pytest

from schemas.topic import (
    INPUTS,
    ORDER_REQUEST_DLT,
    TOPICS,
    WALLET_COMMAND,
    WALLET_RELAY_PROGRESS,
    Topics,
    TopicSpec,
)

MONTH_MS = str(30 * 24 * 3_600 * 1_000)


@pytest.mark.contract
def test_the_topics_are_configured_by_the_letter_of_the_contract() -> None:
    inputs = {"cleanup.policy": "delete", "max.message.bytes": "4194304", "retention.ms": MONTH_MS}
    results = inputs | {"max.message.bytes": "5242880"}
    dead = results | {"retention.ms": "-1"}
    compacted = {"cleanup.policy": "compact", "max.message.bytes": "5242880"}
    assert Topics("p.").specs(12, 2) == (
        TopicSpec("p.wallet-command", inputs, 12),
        TopicSpec("p.order-request", inputs, 12),
        TopicSpec("p.wallet-result", results, 12),
        TopicSpec("p.order-result", results, 12),
        TopicSpec("p.wallet-balance", compacted, 12),
        TopicSpec("p.wallet-command-dlt", dead, 12),
        TopicSpec("p.order-request-dlt", dead, 12),
        TopicSpec("p.wallet-relay-progress", compacted, 2),
    )


@pytest.mark.parametrize("prefix", ["", "test.", "wallet-"])
@pytest.mark.parametrize("logical", TOPICS)
def test_a_topic_is_found_again_by_its_real_name(prefix: str, logical: str) -> None:
    topics = Topics(prefix)
    assert topics.real(logical) == prefix + logical
    assert topics.logical(prefix + logical) == logical


def test_a_topic_of_another_prefix_is_none_of_ours() -> None:
    assert Topics("a.").logical("b.wallet-command") is None
    assert Topics("a.").logical("wallet-command") is None
    assert Topics("").logical("a.wallet-command") is None
    with pytest.raises(KeyError):
        Topics("").real("wallet-comand")


def test_each_input_has_a_dead_letter_topic() -> None:
    topics = Topics("p.")
    assert [topics.dead_letter(name) for name in topics.inputs] == [
        "p.wallet-command-dlt",
        f"p.{ORDER_REQUEST_DLT}",
    ]
    assert topics.inputs == tuple(f"p.{name}" for name in INPUTS)
    for other in (WALLET_COMMAND, "p.wallet-result", f"p.{WALLET_RELAY_PROGRESS}"):
        with pytest.raises(ValueError, match="no input"):
            topics.dead_letter(other)


def test_the_prefix_stands_before_group_and_transactional_ids() -> None:
    assert Topics("p.").group_id == "p.wallet-worker"
    assert Topics("p.").transactional_id(3) == "p.wallet-relay-3"
