"""The load generator: commands of made-up clients, of three types or all, at once or paced."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from threading import Event
from typing import Any, Final, NamedTuple

import orjson
from confluent_kafka import KafkaError, Message, Producer

from ops.bench.crew import tell
from schemas.command import COMMANDS
from schemas.settings import Settings

# Other loads than the plain mix of credits, debits and transfers; a load's name and a turn's make
# up a kind, as in `hot-wallet-first`.
MIXED: Final = "mixed"
ORDERS: Final = "orders"
HOT: Final[Mapping[str, str]] = {
    "hot-wallet": "all of one wallet",
    "hot-recipient": "transfers to one wallet",
    "hot-merchant": "payments to one merchant",
}

_FLUSH_TIMEOUT_S = 60.0
# A paced load of no more is sent command by command.
_FEW_PER_S = 500
_REQUESTS_PER_S = 240
_TELL_EVERY = 5_000
# A paced load's commands are made before it begins, unless it is one of hours: 75 MB.
_MADE_BEFORE_MAX = 300_000
# A generator that waits for less spins, and takes a core from what it measures.
_PAUSE_S = 0.001


class Command(NamedTuple):
    """A record to publish."""

    client_id: str
    command_id: str
    value: bytes


def run_load(settings: Settings, arguments: dict[str, Any], stop: Event) -> None:
    """Publish `count` commands to `topic`: all at once, or `rate_per_s` of them a second.

    Says {"count"} now and then, and at last {"done", "seconds", "cpu_s", "sent"}: when each
    command was about to be produced (monotonic clock), if paced, and how late the latest was. With
    `sample_every` "sent" has one command in so many, and comes with each {"count"}, too: what was
    told is forgotten, so that a load of hours takes no more memory than one of seconds.
    """
    linger_ms = _linger_ms(arguments.get("rate_per_s"), settings.partitions)
    load = Load(settings, arguments["topic"], linger_ms)
    kind, clients, count = arguments["kind"], arguments["clients"], arguments["count"]
    made = commands(kind, clients, count)
    if "rate_per_s" in arguments and count <= _MADE_BEFORE_MAX:
        # To make one costs more than to send it, and on the cores of what is measured.
        made = iter(list(made))
    started, cpu = time.monotonic(), time.process_time()
    if "rate_per_s" in arguments:
        sent, late_s = load.pace(
            made, arguments["rate_per_s"], stop, sample_every=arguments.get("sample_every")
        )
    else:
        sent, late_s = {}, 0.0
        load.publish_all(made, stop)
    load.flush()
    tell(
        {
            "done": True,
            "seconds": time.monotonic() - started,
            "cpu_s": time.process_time() - cpu,
            "sent": sent,
            "late_s_max": late_s,
        }
    )


def commands(kind: str, clients: int, count: int) -> Iterator[Command]:
    """The commands of a kind: `seed`, another load's name and a turn's, or a turn's alone."""
    if kind == "seed":
        return seeds(clients)
    return _LOADS.get(kind.rpartition("-")[0], mix)(kind, clients, count)


def seeds(clients: int) -> Iterator[Command]:
    """A first credit for each client, which makes it."""
    for i in range(clients):
        yield _command(f"client-{i}", f"seed-{i}", {"type": "credit", "amount": "1000.00"})


def orders(kind: str, clients: int, count: int) -> Iterator[Command]:
    """Orders of a few cents, so that nobody runs out of money; `kind` begins every id."""
    rng = random.Random(kind)
    for i in range(count):
        fields = {"type": "place_order", "amount": f"0.0{rng.randrange(1, 6)}"}
        yield _command(f"client-{rng.randrange(clients)}", f"{kind}-{i:09d}", fields)


def mix(kind: str, clients: int, count: int) -> Iterator[Command]:
    """Two credits and two debits for each transfer; `kind` begins every command's id.

    The same for the same arguments, however often it is made.
    """
    rng = random.Random(kind)
    for i in range(count):
        client = rng.randrange(clients)
        fields = {"type": "credit", "amount": _amount(rng)}
        share = rng.random()
        if share >= 0.8 and clients > 1:
            to = (client + rng.randrange(1, clients)) % clients
            fields |= {"type": "transfer", "to_client_id": f"client-{to}"}
        elif share >= 0.4:
            fields["type"] = "debit"
        yield _command(f"client-{client}", f"{kind}-{i:09d}", fields)


def mix_all(kind: str, clients: int, count: int) -> Iterator[Command]:
    """As many of each type, about, for two clients or more; `kind` begins every command's id.

    What refers to an earlier command follows it, so that the most part is applied. The same for
    the same arguments, however often it is made.
    """
    mixture = _Mixture(kind, clients)
    for i in range(count):
        yield mixture.command(f"{kind}-{i:09d}")


class _Mixture:
    """Commands of all types by chance, and what they left for later ones, by its state."""

    def __init__(self, kind: str, clients: int) -> None:
        self.rng = random.Random(kind)
        self.clients = clients
        self._left: dict[str, list[tuple[int, str]]] = defaultdict(list)

    def command(self, command_id: str) -> Command:
        """The next one; in place of one that finds nothing to refer to, one that leaves it."""
        kind = self.rng.choice(_TYPES)
        while (state := _TAKES.get(kind)) is not None and not self._left[state]:
            kind = _FIRST[state]
        if state is None:
            client, earlier_id = self.rng.randrange(self.clients), command_id
        else:
            left = self._left[state]
            client, earlier_id = left.pop(self.rng.randrange(len(left)))
        if kind in _LEAVES:
            self._left[_LEAVES[kind]].append((client, command_id))
        fields = {"type": kind, **_FIELDS[kind](self, client, earlier_id)}
        return _command(f"client-{client}", command_id, fields)


def _money(mixture: _Mixture, _client: int, _id: str) -> dict[str, str]:
    return {"amount": _amount(mixture.rng)}


def _payment(mixture: _Mixture, _client: int, _id: str) -> dict[str, str]:
    return {"amount": _amount(mixture.rng), "merchant_id": f"merchant-{mixture.rng.randrange(20)}"}


def _transfer(mixture: _Mixture, client: int, _id: str) -> dict[str, str]:
    to = (client + mixture.rng.randrange(1, mixture.clients)) % mixture.clients
    return {"amount": _amount(mixture.rng), "to_client_id": f"client-{to}"}


def _refund(_mixture: _Mixture, _client: int, earlier_id: str) -> dict[str, str]:
    return {"original_command_id": earlier_id}


def _held(_mixture: _Mixture, _client: int, earlier_id: str) -> dict[str, str]:
    return {"hold_id": earlier_id}  # by default a hold has its command's id


def _profile(mixture: _Mixture, client: int, command_id: str) -> dict[str, str]:
    phone = f"+49{mixture.rng.randrange(10**9, 10**10)}"
    return {"name": f"Client {client}", "email": f"{command_id}@example.com", "phone": phone}


def _second_wallet(_mixture: _Mixture, _client: int, _id: str) -> dict[str, str]:
    # Not the wallet that the money is in: frozen or closed it would refuse all the rest.
    return {"currency": "EUR"}


def _nothing(_mixture: _Mixture, _client: int, _id: str) -> dict[str, str]:
    return {}


_TYPES: Final = tuple(COMMANDS)
# In which state a command finds what it refers to, in which it leaves it, and what makes one.
_TAKES: Final[Mapping[str, str]] = {
    "refund": "paid", "capture": "held", "release": "held",
    "freeze_wallet": "open", "unfreeze_wallet": "frozen", "close_wallet": "open",
}  # fmt: skip
_LEAVES: Final[Mapping[str, str]] = {
    "spend": "paid", "payment": "paid", "hold": "held",
    "open_wallet": "open", "freeze_wallet": "frozen", "unfreeze_wallet": "open",
}  # fmt: skip
_FIRST: Final[Mapping[str, str]] = {
    "paid": "spend", "held": "hold", "open": "open_wallet", "frozen": "freeze_wallet",
}  # fmt: skip
_FIELDS: Final[Mapping[str, Callable[[_Mixture, int, str], dict[str, str]]]] = {
    "credit": _money,
    "debit": _money,
    "deposit": _money,
    "withdraw": _money,
    "top_up": _money,
    "bonus": _money,
    "loyalty": _money,
    "spend": _money,
    "payment": _payment,
    "transfer": _transfer,
    "refund": _refund,
    "hold": _money,
    "capture": _held,
    "release": _held,
    "register_client": _profile,
    "open_wallet": _second_wallet,
    "freeze_wallet": _second_wallet,
    "unfreeze_wallet": _second_wallet,
    "close_wallet": _second_wallet,
    "get_wallet": _nothing,
    "get_history": _nothing,
}


def hot_wallet(kind: str, _clients: int, count: int) -> Iterator[Command]:
    """As many credits as debits, all of one client's: one key, so one partition and one worker."""
    rng = random.Random(kind)
    for i in range(count):
        fields = {"type": rng.choice(("credit", "debit")), "amount": _amount(rng)}
        yield _command("client-0", f"{kind}-{i:09d}", fields)


def hot_recipient(kind: str, clients: int, count: int) -> Iterator[Command]:
    """Transfers of all clients to one: each locks its wallet, in every partition's batch."""
    return _paid_to(kind, clients, count, {"type": "transfer", "to_client_id": "client-0"})


def hot_merchant(kind: str, clients: int, count: int) -> Iterator[Command]:
    """Payments of all clients to one merchant."""
    return _paid_to(kind, clients, count, {"type": "payment", "merchant_id": "merchant-0"})


def _paid_to(kind: str, clients: int, count: int, fields: Mapping[str, str]) -> Iterator[Command]:
    rng = random.Random(kind)
    for i in range(count):
        client = f"client-{rng.randrange(1, clients)}"
        yield _command(client, f"{kind}-{i:09d}", {**fields, "amount": f"0.0{rng.randrange(1, 6)}"})


_LOADS: Final[Mapping[str, Callable[[str, int, int], Iterator[Command]]]] = {
    MIXED: mix_all,
    ORDERS: orders,
    "hot-wallet": hot_wallet,
    "hot-recipient": hot_recipient,
    "hot-merchant": hot_merchant,
}


def _amount(rng: random.Random) -> str:
    return f"{rng.randrange(1, 500) / 100:.2f}"


def _command(client_id: str, command_id: str, fields: dict[str, str]) -> Command:
    return Command(client_id, command_id, orjson.dumps({"command_id": command_id, **fields}))


def _linger_ms(rate_per_s: float | None, partitions: int) -> int:
    """How long a command waits for company: not at all where few are sent, and where many are so
    long that there are about as many requests as Java's client makes by default, 240 a second.
    Java's sends one for all partitions every 5 ms, librdkafka one for each: 50 ms for 12 of them.
    """
    if rate_per_s is None:
        return 20
    return min(1000 * partitions // _REQUESTS_PER_S, 50) if rate_per_s > _FEW_PER_S else 0


class Load:
    """A producer as upstream services have it: acknowledged by all, partitioned with murmur2."""

    def __init__(self, settings: Settings, topic: str, linger_ms: int) -> None:
        self._topic = topic
        self._failure: KafkaError | None = None
        self._producer = Producer(
            {
                **settings.kafka_client(),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": linger_ms,
                "queue.buffering.max.messages": 200_000,
                "allow.auto.create.topics": False,
                # What it does itself is taken from what it measures: no call for each record.
                "delivery.report.only.error": True,
            }
        )

    def publish_all(self, commands: Iterator[Command], stop: Event) -> None:
        """Publish as quickly as the brokers take it."""
        for i, command in enumerate(commands):
            if i % _TELL_EVERY == 0:
                tell({"count": i})
                self._producer.poll(0)
                if stop.is_set():
                    return
            self._produce(command)

    def pace(
        self,
        commands: Iterator[Command],
        rate_per_s: float,
        stop: Event,
        *,
        sample_every: int | None = None,
    ) -> tuple[dict[str, float], float]:
        """Publish one command each 1 / `rate_per_s`, by a fixed timetable.

        When each was about to be produced, and by how much the latest missed its time; of samples
        those that were not told yet.
        """
        sent: dict[str, float] = {}
        late_s = 0.0
        start = time.monotonic()
        for i, command in enumerate(commands):
            due = start + i / rate_per_s
            if (left := due - time.monotonic()) > 0:
                time.sleep(max(left, _PAUSE_S))
            if stop.is_set():
                break
            now = time.monotonic()
            if sample_every is None or i % sample_every == 0:
                sent[command.command_id] = now
            late_s = max(late_s, now - due)
            self._produce(command)
            if i % int(rate_per_s) == 0:
                told: dict[str, Any] = {"count": i}
                if sample_every is not None:
                    told["sent"], sent = sent, {}
                tell(told)
                self._producer.poll(0)
        return sent, late_s

    def flush(self) -> None:
        """Wait until the brokers have all. Raises RuntimeError if they do not take it."""
        left = self._producer.flush(_FLUSH_TIMEOUT_S)
        if left or self._failure is not None:
            why = "timed out" if self._failure is None else self._failure.str()
            raise RuntimeError(f"{left} commands could not be published: {why}")

    def _produce(self, command: Command) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic, command.value, command.client_id, on_delivery=self._delivered
                )
            except BufferError:  # the queue is full: reports make room
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error
