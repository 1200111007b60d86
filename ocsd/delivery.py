"""Delivery of treatments' HTTP requests, from the outbox to whoever is to know.

Theory of operation. A request was stored with the result it tells of, so nothing here can lose one or hold up a
result. `deliver` takes due requests from the outbox and POSTs each as JSON over a pooled client, at most
`Pace.parallel` at a time. What follows from an answer is decided by `judge`, a pure function:

    2xx                       delivered
    408, 425, 429             tried again (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4), not before their Retry-After
    other 4xx                 given up: the same request would be refused again
    anything else, or nothing tried again, until `Pace.give_up_after` has passed since the result

The n-th pause is `Pace.first_s` doubled n - 1 times, at most `Pace.last_s`, less a part of up to half that depends on
the request's key alone: requests that failed together do not come back together. A receiver that does not answer would
keep all slots busy, so after `Pace.silent` failures without an answer it gets one request at a time as a probe; what is
due meanwhile is put off at once.

A daemon that dies in between leaves the request to the next one, so a receiver may see it twice, always with the same
``Idempotency-Key``. Addresses may hold passwords or tokens anywhere: logs and stored errors name scheme, host and port.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, TypeAlias
from uuid import UUID

import httpx
import structlog
import trio

from ocsd import __version__
from ocsd.config.addresses import origin_of
from ocsd.lists.outbox import OutboxItem, RequestQueue
from ocsd.model.errors import StoreUnavailable

log = structlog.get_logger(__name__)

TRY_AGAIN: Final = frozenset({408, 425, 429})
MAX_RETRY_AFTER_S: Final = 3600
"""A receiver may ask for a longer pause than ours, up to this."""
MAX_BODY_BYTES: Final = 65_536
"""Of an answer's body, which nobody reads: what is longer costs its connection."""
DRAIN_LIMIT_S: Final = 1.0
STORE_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses while the database is away before a request's outcome is left to the lease; the last one for taking."""


@dataclass(frozen=True, slots=True)
class Pace:
    """
    Attributes:
        parallel: requests under way at once, and connections kept.
        limit_s: longest time for one try, well below the outbox's lease.
        poll_s: pause when nothing is due.
        first_s, last_s: shortest and longest pause before the next try.
        give_up_after: counted from the result.
        silent: tries in a row without an answer after which a receiver is only probed.
    """

    parallel: int = 16
    limit_s: float = 20.0
    poll_s: float = 1.0
    first_s: float = 2.0
    last_s: float = 600.0
    give_up_after: timedelta = timedelta(hours=24)
    silent: int = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What became of a try.

    Attributes:
        status: of the HTTP answer; None: none came.
        error: in words, without anything from the address or the peer, when none came.
        retry_after_s: of the header Retry-After, when it was a number.
        hopeless: the request cannot even be made.
    """

    status: int | None = None
    error: str = ""
    retry_after_s: int | None = None
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Delivered:
    pass


@dataclass(frozen=True, slots=True)
class TryAgain:
    at: datetime
    error: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    error: str


Verdict: TypeAlias = Delivered | TryAgain | GivenUp


def judge(answer: Answer, item: OutboxItem, now: datetime, pace: Pace) -> Verdict:
    """What follows from an answer at ``now`` (aware)."""
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Delivered()
    error = answer.error if status is None else f"answered {status}"
    refused = status is not None and 400 <= status < 500 and status not in TRY_AGAIN
    if refused or answer.hopeless:
        return GivenUp(error)
    wait_s = pause_s(item.key, item.tries, pace)
    if answer.retry_after_s is not None:
        wait_s = max(wait_s, min(answer.retry_after_s, MAX_RETRY_AFTER_S))
    at = now + timedelta(seconds=wait_s)
    if at > item.created_at + pace.give_up_after:
        return GivenUp(f"{error}, after {item.tries} tries")
    return TryAgain(at, error)


def pause_s(key: UUID, tries: int, pace: Pace) -> float:
    """Seconds before the next try of a request that was tried ``tries`` (at least 1) times."""
    longest_s = min(pace.last_s, pace.first_s * 2.0 ** min(tries - 1, 60))
    seed = blake2b(key.bytes + tries.to_bytes(8, "big"), digest_size=8).digest()
    return longest_s * (1.0 - 0.5 * int.from_bytes(seed, "big") / 2**64)


@dataclass(slots=True)
class Receivers:
    """Which receivers answer. One owner: the task of `deliver` and its children, which do not await in between."""

    silent: int
    _failures: dict[str, int] = field(default_factory=dict)
    _probed: set[str] = field(default_factory=set)

    def admit(self, origin: str) -> bool:
        """Whether a request may be sent now; then `answered` or `unanswered` must follow."""
        if self._failures.get(origin, 0) < self.silent:
            return True
        if origin in self._probed:
            return False
        self._probed.add(origin)
        return True

    def answered(self, origin: str) -> None:
        self._failures.pop(origin, None)
        self._probed.discard(origin)

    def unanswered(self, origin: str) -> None:
        self._failures[origin] = self._failures.get(origin, 0) + 1
        self._probed.discard(origin)


async def deliver(
    queue: RequestQueue, pace: Pace = Pace(), utc: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """
    Deliver requests until cancelled; one that is cut short by the cancel is delivered again after its lease.

    Proxies and credentials of the environment are not used: a request goes where the treatment says.
    """
    # httpx logs every address in full.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    limits = httpx.Limits(max_connections=pace.parallel, max_keepalive_connections=pace.parallel)
    headers = {"User-Agent": f"ocsd/{__version__}", "Content-Type": "application/json"}
    async with (
        httpx.AsyncClient(
            headers=headers,
            limits=limits,
            timeout=None,  # `_post` has a limit for the whole try
            follow_redirects=False,
            trust_env=False,
        ) as client,
        trio.open_nursery() as nursery,
    ):
        courier = _Courier(queue, client, pace, utc)
        while True:
            slots = await courier.free_slots()
            items = await courier.take(slots)
            for item in items:
                courier.under_way += 1
                nursery.start_soon(courier.carry, item)
            if len(items) < slots:
                await trio.sleep(pace.poll_s)


class _Courier:
    """The requests under way."""

    def __init__(self, queue: RequestQueue, client: httpx.AsyncClient, pace: Pace, utc: Callable[[], datetime]) -> None:
        self.under_way = 0
        self._queue = queue
        self._client = client
        self._pace = pace
        self._utc = utc
        self._receivers = Receivers(pace.silent)
        self._one_done = trio.Event()

    async def free_slots(self) -> int:
        """Wait until there are some; a quarter of them at least, so that a busy outbox is asked in batches."""
        while (free := self._pace.parallel - self.under_way) < max(1, self._pace.parallel // 4):
            self._one_done = trio.Event()
            await self._one_done.wait()
        return free

    async def take(self, limit: int) -> list[OutboxItem]:
        for pause in (*STORE_PAUSES_S, None):
            try:
                return await self._queue.take(limit)
            except StoreUnavailable as error:
                log.warning("delivery.outbox_away", error=str(error))
                await trio.sleep(pause if pause is not None else STORE_PAUSES_S[-1])
        return []

    async def carry(self, item: OutboxItem) -> None:
        """One try, and what follows from it."""
        try:
            await self._carry(item)
        finally:
            self.under_way -= 1
            self._one_done.set()

    async def _carry(self, item: OutboxItem) -> None:
        origin = origin_of(item.url)
        if self._receivers.admit(origin):
            answer = await self._post(item)
            if answer.status is None and not answer.hopeless:
                self._receivers.unanswered(origin)
            else:
                self._receivers.answered(origin)
        else:
            answer = Answer(error="the receiver does not answer others either; not tried this time")
        verdict = judge(answer, item, self._utc(), self._pace)
        said = log.bind(
            item_id=item.item_id, key=str(item.key), treatment_dbid=item.treatment_dbid, to=origin, tries=item.tries
        )
        match verdict:
            case Delivered():
                said.info("delivery.done", status=answer.status)
                await self._write(lambda: self._queue.delivered(item.item_id), said)
            case TryAgain(at, error):
                said.warning("delivery.put_off", error=error, again_at=at.isoformat(timespec="seconds"))
                await self._write(lambda: self._queue.failed(item.item_id, error, at), said)
            case GivenUp(error):
                said.error("delivery.given_up", error=error)
                await self._write(lambda: self._queue.failed(item.item_id, error, None), said)

    async def _write(self, write: Callable[[], Awaitable[None]], said: structlog.stdlib.BoundLogger) -> None:
        for pause in (*STORE_PAUSES_S, None):
            try:
                await write()
            except StoreUnavailable:
                if pause is None:
                    said.error("delivery.outcome_unsaved", because="the database is away; the request is sent again")
                else:
                    await trio.sleep(pause)
            else:
                return

    async def _post(self, item: OutboxItem) -> Answer:
        try:
            content = json.dumps(item.body, allow_nan=False)
            request = self._client.build_request(
                "POST", item.url, content=content, headers={"Idempotency-Key": str(item.key)}
            )
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            # Addresses were checked when the configuration was read, so this is a fault of ours: no try will mend it.
            return Answer(error=f"the request cannot be made: {type(error).__name__}", hopeless=True)
        answer = Answer(error=f"no answer within {self._pace.limit_s:g} s")
        with trio.move_on_after(self._pace.limit_s):
            try:
                response = await self._client.send(request, stream=True)
            except httpx.HTTPError as error:
                # Only the kind: messages may quote the address, or whatever the peer has sent.
                return Answer(error=f"no answer: {type(error).__name__}")
            answer = Answer(status=response.status_code, retry_after_s=_seconds(response.headers.get("Retry-After")))
            await _drain(response)
        return answer


async def _drain(response: httpx.Response) -> None:
    """Read what is left of an answer, so that its connection can be used again; close it when that is too much."""
    try:
        with trio.move_on_after(DRAIN_LIMIT_S) as limit:
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > MAX_BODY_BYTES:
                    limit.cancel()  # not `break`: only a cancel ends the generators inside httpx in order
    except httpx.HTTPError:
        pass  # the status has come, and is all that counts
    finally:
        with trio.move_on_after(DRAIN_LIMIT_S, shield=True):  # the connection goes back to the pool, or is closed
            await response.aclose()


def _seconds(header: str | None) -> int | None:
    return int(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 10 else None
