"""An upstream service that aborts, resends after doubt, and dies in mid-transaction."""

from __future__ import annotations

import json
import random

from confluent_kafka import Producer

from schemas.topic import WALLET_COMMAND
from tests.producers.world import PARTITIONS
from tests.scene import Scene

_BATCHES, _BATCH = 30, 10


def test_aborted_resent_and_doubled_records_move_money_once(scene: Scene) -> None:
    chance = random.Random(7)
    committed: list[str] = []
    with scene.running():
        producer = _producer(scene)
        for batch in range(_BATCHES):
            ids = [f"c-{batch * _BATCH + n}" for n in range(_BATCH)]
            again = chance.sample(committed, min(3, len(committed)))
            match chance.randrange(3):
                case 0:  # aborted, then the same again
                    _transaction(producer, scene, ids, commit=False)
                    _transaction(producer, scene, ids, commit=True)
                    committed += ids
                case 1:  # in doubt whether it went through: sent twice, with some of the others
                    _transaction(producer, scene, ids, commit=True)
                    _transaction(producer, scene, ids + again, commit=True)
                    committed += ids * 2 + again
                case _:  # dies in the middle; its successor fences it, and sends it once more
                    _send(producer, scene, ids)
                    producer = _producer(scene)
                    _transaction(producer, scene, ids, commit=True)
                    committed += ids
        answers = scene.answered(len(committed))
    assert answers.count == len(committed)
    results = [result for [result] in answers.results.values()]
    assert sum(not result["duplicate"] for result in results) == _BATCHES * _BATCH
    assert {result["status"] for result in results} == {"applied"}
    assert scene.scalar("SELECT sum(balance) FROM accounts") == 100 * _BATCHES * _BATCH
    assert scene.positions_count() == len(committed)


def _producer(scene: Scene) -> Producer:
    producer = Producer(
        {
            **scene.settings.kafka_client(),
            "transactional.id": f"{scene.env.topic_prefix}upstream",
            "partitioner": "murmur2_random",
            "log_level": 0,
        }
    )
    producer.init_transactions(20)
    return producer


def _transaction(producer: Producer, scene: Scene, ids: list[str], *, commit: bool) -> None:
    _send(producer, scene, ids)
    producer.commit_transaction(20) if commit else producer.abort_transaction(20)


def _send(producer: Producer, scene: Scene, ids: list[str]) -> None:
    producer.begin_transaction()
    for command_id in ids:
        value = {"command_id": command_id, "type": "credit", "amount": "1"}
        client = f"client-{int(command_id.removeprefix('c-')) % (PARTITIONS * 3)}"
        producer.produce(scene.topics.real(WALLET_COMMAND), json.dumps(value), client)
    assert producer.flush(20) == 0  # an abort would drop what is not sent yet
