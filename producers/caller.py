"""The calls to the fulfillment API: an event loop in a thread of its own, so many at once."""

import asyncio
import base64
import queue
import random
import re
import ssl
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final, NamedTuple

import httpx
import orjson

from ledger.fulfillment import Call, Job
from producers.reply import BODY_BYTES_MAX, Outcome, Reply, is_success, read_date, read_reply
from schemas.header import unpack_headers

# A call begins only while its lease lasts as many timeouts: one to be made in, half of one to be
# settled in.
_LEASE_LEFT_TIMEOUTS: Final = 1.5
LEASE_TIMEOUTS: Final = 3.0
_BACKOFF_S_MAX: Final = 60.0
_FIT: Final = re.compile(rb"[!-~]([ -~]*[!-~])?")

_FIXED_HEADERS: Final = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "identity"),  # a body is bounded by what comes over the wire
    ("User-Agent", "wallet-fulfillment"),
)


class Policy(NamedTuple):
    """How calls are made: `timeout_s` for a call in all, `backoff_s` the first delay's bound."""

    url: str
    concurrency: int
    timeout_s: float
    backoff_s: float


class Order(NamedTuple):
    """A leased job and the body of its request."""

    job: Job
    body: bytes


class Made(NamedTuple):
    """What a job came to; `reply` and `call` are None where no call was made any more."""

    job: Job
    reply: Reply | None
    call: Call | None

    @property
    def is_transient(self) -> bool:
        """Whether another call may help."""
        return self.reply is not None and self.reply.is_transient


def order_body(job: Job, amount: str) -> bytes:
    """The request's JSON; items and metadata stand in it as they came."""
    return orjson.dumps(
        {
            "order_id": job.order_id,
            "client_id": job.client_id,
            "amount": amount,
            "currency": job.currency,
            "items": orjson.Fragment(job.items or "[]"),
            "metadata": orjson.Fragment(job.metadata or "{}"),
        }
    )


class Caller:
    """Makes calls for leased jobs, `concurrency` at once; what they come to goes into `made`.

    A context manager: leaving it ends the calls under way, whose jobs then get no answer.
    """

    def __init__(self, policy: Policy) -> None:
        self.made: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self._policy = policy
        self._url = httpx.URL(policy.url)
        self._headers = [*_FIXED_HEADERS, *_credentials(self._url)]
        self._waiting: deque[tuple[Order, float]] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fulfillment-calls", daemon=True)
        self._wanted = asyncio.Semaphore(0)
        self._failure: BaseException | None = None
        self._stop = asyncio.Event()

    def __enter__(self) -> "Caller":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def submit(self, orders: Iterable[Order], leased_at_s: float) -> None:
        """Have calls made; `leased_at_s` is the monotonic time before they were leased."""
        given = [(order, leased_at_s) for order in orders]
        if given:
            self._loop.call_soon_threadsafe(self._take, given)

    def recall(self) -> None:
        """Have no call begin for what still waits: it comes back in `made`, without a call."""
        self._loop.call_soon_threadsafe(self._give_back)

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again by `check`
            self._failure = error
        finally:
            self._loop.close()

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            context, proxy = ssl.create_default_context(), _proxy(self._url)
            slots = []
            for _ in range(self._policy.concurrency):
                line = await stack.enter_async_context(_one_connection(context, proxy))
                slots.append(asyncio.ensure_future(self._slot(line)))
            stopped = asyncio.ensure_future(self._stop.wait())
            try:
                done, _ = await asyncio.wait([stopped, *slots], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._stop.set()
                for task in (stopped, *slots):
                    task.cancel()
                await asyncio.gather(stopped, *slots, return_exceptions=True)
            for task in done - {stopped}:
                task.result()

    async def _slot(self, line: httpx.AsyncHTTPTransport) -> None:
        # A cancellation can be lost in a call that runs into its timeout at that very moment.
        while not self._stop.is_set():
            await self._wanted.acquire()
            if not self._waiting:
                continue  # it was recalled
            order, leased_at_s = self._waiting.popleft()
            left_s = leased_at_s + LEASE_TIMEOUTS * self._policy.timeout_s - time.monotonic()
            if left_s < _LEASE_LEFT_TIMEOUTS * self._policy.timeout_s:
                self.made.put(Made(order.job, None, None))
            else:
                self.made.put(await self._call(line, order))

    async def _call(self, line: httpx.AsyncHTTPTransport, order: Order) -> Made:
        job = order.job
        began_s = time.monotonic()
        reply = await call(line, self._request(order), self._policy.timeout_s)
        duration_ms = round((time.monotonic() - began_s) * 1000)
        delay_s = self._delay_s(job, reply) if reply.is_transient else 0.0
        made = Call(
            job, reply.outcome, reply.is_transient, reply.http_status, reply.error, began_s,
            duration_ms, delay_s,
        )  # fmt: skip
        return Made(job, reply, made)

    def _request(self, order: Order) -> httpx.Request:
        job = order.job
        headers = [*self._headers, ("Idempotency-Key", f"{job.client_id}/{job.order_id}")]
        if job.headers is not None:
            headers += _fit_headers(job.headers)
        return httpx.Request("POST", self._url, headers=headers, content=order.body)

    def _delay_s(self, job: Job, reply: Reply) -> float:
        """Exponential backoff with full jitter, or what the answer asks for if that is more."""
        longest = min(_BACKOFF_S_MAX, self._policy.backoff_s * 2 ** min(job.counted, 20))
        return max(random.uniform(0.0, longest), reply.retry_after_s)

    def _take(self, given: list[tuple[Order, float]]) -> None:
        self._waiting.extend(given)
        for _ in given:
            self._wanted.release()

    def _give_back(self) -> None:
        while self._waiting:
            self.made.put(Made(self._waiting.popleft()[0].job, None, None))


def _fit_headers(packed: bytes) -> list[tuple[str, str]]:
    """The trace headers that HTTP can carry; they came from whoever sent the request."""
    given = [(name, value) for name, value in unpack_headers(packed) if value is not None]
    return [(name, value.decode("ascii")) for name, value in given if _FIT.fullmatch(value)]


def _credentials(url: httpx.URL) -> list[tuple[str, str]]:
    """The header for a user and password that stand in the URL."""
    if not url.username and not url.password:
        return []
    token = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    return [("Authorization", f"Basic {token}")]


def _proxy(url: httpx.URL) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY have for the URL."""
    proxies = urllib.request.getproxies()
    if urllib.request.proxy_bypass(url.netloc.decode("ascii")):
        return None
    return proxies.get(url.scheme) or proxies.get("all")


def _one_connection(context: ssl.SSLContext, proxy: str | None) -> httpx.AsyncHTTPTransport:
    """A transport of httpx for one call at a time, without a client around it.

    httpx's pool looks through all its connections for each call: 64 of them took 6 ms of CPU a
    call, 64 pools of one take 0.9; a client, with its redirects and cookies, takes 0.5 more.
    """
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=proxy)


async def call(line: httpx.AsyncHTTPTransport, request: httpx.Request, timeout_s: float) -> Reply:
    """Make one call, in `timeout_s` from its beginning to its end. Never raises for what the other
    side does.
    """
    status: int | None = None
    try:
        async with asyncio.timeout(timeout_s):
            answer = await line.handle_async_request(request)
            status = answer.status_code
            try:
                body = await _body(answer)
            finally:
                await answer.aclose()
    except (TimeoutError, httpx.TimeoutException):
        return _broken_off(status, "timeout")
    except (httpx.ConnectError, httpx.ProxyError):
        return Reply(Outcome.UNAVAILABLE, error="no connection")
    except httpx.TransportError:
        return _broken_off(status, "connection lost")
    # A Retry-After that is a date is by the service's clock, and so is its Date.
    now = read_date(answer.headers.get("Date")) or datetime.now(UTC)
    return read_reply(status, body, answer.headers.get("Retry-After"), now)


async def _body(answer: httpx.Response) -> bytes | None:
    """The body, None where it is too large to be an answer. Of others only a little is read, for
    the connection's sake: the status says it all.
    """
    parts, size = [], 0
    async for part in answer.aiter_raw():
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES_MAX:
            return None
    return b"".join(parts)


def _broken_off(status: int | None, error: str) -> Reply:
    """The reply of a call that did not end: where a status had come, that is what counts."""
    if status is None or is_success(status):
        return Reply(Outcome.UNCLEAR, status, error=error)
    return read_reply(status, None, None, datetime.now(UTC))
