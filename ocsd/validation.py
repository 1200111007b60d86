"""
Pre-dial validation over HTTP: the question about one record, the answer, and what it means.

Theory of operation. A question is a POST of the record's properties as JSON. `judge`, a pure function, says what
follows from the answer:

    200                        Cleared: it may be dialed
    409                        Refused: it may not. The body may name the result (GSW_CALL_RESULT), the rule
                               (GSW_BLOCKING_RULE, GSW_BLOCKING_RULE_TYPE) and changed fields; a body that cannot be
                               read is still a refusal
    anything else, or nothing  Unanswered

A validator that has failed `SILENT` times in a row is away (`Breaker`): it is asked about one record at a time as a
probe, after pauses that double, and what a probe comes to is held against no record.

Every question has a connection of its own while it lasts (requests are not pipelined), at most as many as the pool is
large; connections are kept. Each place of the pool is a transport of httpx with one connection: a client with many of
them looks through all at every request, and keeps cookies besides. Redirects, proxies and credentials of the
environment are not followed: records hold personal data, and go where the configuration says. Addresses may hold
secrets, and answers anything: logs name scheme, host and port, and quote no answer.

Source: options of the manual in docs/options.md; what the manual leaves open is decided in docs/adr/0011.
"""

import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol, TypeAlias

import httpx
import structlog
import trio

from ocsd import __version__
from ocsd.config.addresses import origin_of
from ocsd.protocols.keyvalue import MalformedObject, integer, parse_object

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 65_536
"""Of an answer; more is garbage, and costs the connection."""
DRAIN_LIMIT_S: Final = 0.5
"""How long the rest of an answer is waited for when nothing depends on it."""
KEPT_S: Final = 60.0
"""An idle connection is kept this long; servers commonly close theirs after 5 to 75 s, which is noticed."""

SILENT: Final = 5
"""Failures in a row after which a validator is away: as many records get the result of silence in an outage."""
FIRST_PROBE_S: Final = 1.0
LAST_PROBE_S: Final = 30.0
"""Shortest and longest pause before a probe."""

HEADERS: Final = {
    "User-Agent": f"ocsd/{__version__}",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # a short body could unpack to a long one
}
MAX_CALL_RESULT: Final = 32_767
"""Sites use results of their own past the manual's 53; what lies past this is a mistake."""
MAX_RULE_CHARS: Final = 255
_ANSWER_KEYS: Final = frozenset({"GSW_CALL_RESULT", "GSW_BLOCKING_RULE", "GSW_BLOCKING_RULE_TYPE"})


@dataclass(frozen=True, slots=True)
class Question:
    """
    Attributes:
        properties: of the record, JSON-safe; GSW_START_PROCESSING is added when it is sent.
        limit_s: how long the answer may take, from the moment at which there is a connection for it.
    """

    uri: str
    properties: Mapping[str, object]
    limit_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """
    Attributes:
        status: of the HTTP answer; None: none came.
        body: of a 409; None: it was too long, or did not come to its end in time.
        error: in words, without anything from the address or the peer, when none came.
        spared: the validator was away: what came of this question is held against no record.
    """

    status: int | None = None
    body: bytes | None = b""
    error: str = ""
    spared: bool = False


@dataclass(frozen=True, slots=True)
class Cleared:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    """
    Attributes:
        call_result: None: the answer names none.
        rule, rule_type: GSW_BLOCKING_RULE and GSW_BLOCKING_RULE_TYPE, unchanged.
        corrections: the other pairs: changed fields, still to be checked.
        fault: what is wrong with the body, without its content; empty: nothing.
    """

    call_result: int | None = None
    rule: str | int | None = None
    rule_type: str | int | None = None
    corrections: Mapping[str, object] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """``spared``: see Answer."""

    error: str
    spared: bool = False


Verdict: TypeAlias = Cleared | Refused | Unanswered


def judge(answer: Answer) -> Verdict:
    """What follows from an answer."""
    match answer.status:
        case 200:
            return Cleared()
        case 409:
            return _refused(answer.body)
        case None:
            return Unanswered(answer.error, answer.spared)
        case status:
            return Unanswered(f"answered {status}", answer.spared)


def _refused(body: bytes | None) -> Refused:
    if body is None:
        return Refused(fault="it is too long, or did not end in time")
    if not body.strip():
        return Refused()
    try:
        pairs = parse_object(body.decode("utf-8"))
    except UnicodeDecodeError:
        return Refused(fault="it is not UTF-8")
    except MalformedObject:
        return Refused(fault="it is no JSON object that a key-value list can be")
    faults: list[str] = []
    result: int | None = None
    if "GSW_CALL_RESULT" in pairs:
        result = integer(pairs["GSW_CALL_RESULT"], digits=True)
        if result is None or not 0 <= result <= MAX_CALL_RESULT:
            result = None
            faults.append("GSW_CALL_RESULT is no call result")
    named: dict[str, str | int | None] = {}
    for key in ("GSW_BLOCKING_RULE", "GSW_BLOCKING_RULE_TYPE"):
        value = pairs.get(key)
        if (
            value is None
            or (isinstance(value, str) and len(value) <= MAX_RULE_CHARS)
            or (type(value) is int and integer(value, digits=False) is not None)
        ):
            named[key] = value
        else:
            named[key] = None
            faults.append(f"{key} is neither a short text nor a whole number")
    corrections = {key: value for key, value in pairs.items() if key not in _ANSWER_KEYS}
    return Refused(
        result, named["GSW_BLOCKING_RULE"], named["GSW_BLOCKING_RULE_TYPE"], corrections, fault=", ".join(faults)
    )


@dataclass(slots=True)
class Breaker:
    """
    Which validators answer. Time is monotonic seconds.

    A validator answers when it says 200 or 409: one that says 500 to everything is as good as away.
    """

    silent: int = SILENT
    _failures: dict[str, int] = field(default_factory=dict)
    _probe_at_s: dict[str, float] = field(default_factory=dict)
    _pause_s: dict[str, float] = field(default_factory=dict)
    _probed: set[str] = field(default_factory=set)

    def away(self, uri: str) -> bool:
        return self._failures.get(uri, 0) >= self.silent

    def may_ask(self, uri: str, now_s: float) -> bool:
        """Whether `admit` would say yes."""
        return not self.away(uri) or (uri not in self._probed and now_s >= self._probe_at_s.get(uri, 0.0))

    def admit(self, uri: str, now_s: float) -> bool:
        """Whether a question may be sent now; then `answered`, `unanswered` or `unasked` must follow."""
        if not self.may_ask(uri, now_s):
            return False
        if self.away(uri):
            self._probed.add(uri)
        return True

    def answered(self, uri: str) -> bool:
        """True: it was away until now."""
        was_away = self.away(uri)
        self._failures.pop(uri, None)
        self._pause_s.pop(uri, None)
        self._probe_at_s.pop(uri, None)
        self._probed.discard(uri)
        return was_away

    def unanswered(self, uri: str, now_s: float) -> bool:
        """True: it was away before, so nothing new has been learned about the record."""
        if self.away(uri):
            # Of the questions that were under way when it went away only a probe says that it still is.
            if uri in self._probed:
                self._probed.discard(uri)
                self._pause_s[uri] = min(LAST_PROBE_S, 2.0 * self._pause_s[uri])
                self._probe_at_s[uri] = now_s + self._pause_s[uri]
            return True
        self._failures[uri] = self._failures.get(uri, 0) + 1
        if self.away(uri):
            self._pause_s[uri] = FIRST_PROBE_S
            self._probe_at_s[uri] = now_s + FIRST_PROBE_S
        return False

    def unasked(self, uri: str) -> None:
        """The question was cut short by us."""
        self._probed.discard(uri)


def headers_for(uri: str) -> dict[str, str]:
    """Headers of a question; a user and password in the address become Basic credentials (RFC 7617)."""
    url = httpx.URL(uri)
    if not (url.username or url.password):
        return HEADERS
    credentials = b64encode(f"{url.username}:{url.password}".encode()).decode("ascii")
    return HEADERS | {"Authorization": f"Basic {credentials}"}


class Validator(Protocol):
    """What sessions need; `HttpValidator` keeps it."""

    @property
    def pool_size(self) -> int:
        """Most questions under way at once."""
        ...

    def away(self, uri: str) -> bool:
        """Whether the validator has stopped answering; it is only probed then."""
        ...

    def may_ask(self, uri: str) -> bool:
        """Whether a question would be sent now; while the validator is away that is one now and then."""
        ...

    async def ask(self, question: Question) -> Answer:
        """
        Ask about one record. Never raises for what the network or the peer does.

        A cancel ends the request and closes its connection.
        """
        ...


class HttpValidator:
    """Implements Validator. `open_validator` makes it; nothing is opened before the first question."""

    def __init__(self, pool_size: int, utc: Callable[[], datetime]) -> None:
        self._utc = utc
        self._slots = trio.CapacityLimiter(pool_size)
        self._idle: list[httpx.AsyncHTTPTransport] = []
        """Those used last are at the end, and used again first."""
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = trio.Lock()
        self._breaker = Breaker()

    @property
    def pool_size(self) -> int:
        return int(self._slots.total_tokens)

    def resize(self, pool_size: int) -> None:
        """Another http-connection-pool-size; questions under way go on."""
        self._slots.total_tokens = pool_size

    def away(self, uri: str) -> bool:
        return self._breaker.away(uri)

    def may_ask(self, uri: str) -> bool:
        return self._breaker.may_ask(uri, trio.current_time())

    async def ask(self, question: Question) -> Answer:
        """See Validator."""
        async with self._slots:
            if not self._breaker.admit(question.uri, trio.current_time()):
                return Answer(error="the validator does not answer; not asked", spared=True)
            decided = False
            try:
                answer = await self._post(question)
                decided = True
            finally:
                if not decided:
                    self._breaker.unasked(question.uri)
            return self._noted(question.uri, answer)

    def _noted(self, uri: str, answer: Answer) -> Answer:
        if answer.status in (200, 409):
            if self._breaker.answered(uri):
                log.info("validator.back", at=origin_of(uri))
            return answer
        spared = self._breaker.unanswered(uri, trio.current_time())
        error = answer.error or f"answered {answer.status}"
        if self._breaker.away(uri) and not spared:
            log.error("validator.away", at=origin_of(uri), error=error, failures=SILENT)
        else:
            log.warning("validator.unanswered", at=origin_of(uri), error=error, spared=spared)
        return Answer(answer.status, answer.body, answer.error, spared)

    async def _post(self, question: Question) -> Answer:
        properties = {**question.properties, "GSW_START_PROCESSING": int(self._utc().timestamp())}
        content = json.dumps(properties).encode()
        answer = Answer(error=f"no answer within {question.limit_s:g} s")
        transport = await self._transport()
        try:
            with trio.move_on_after(question.limit_s):
                for last_try in (False, True):
                    try:
                        response = await transport.handle_async_request(
                            httpx.Request("POST", question.uri, headers=headers_for(question.uri), content=content)
                        )
                    except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
                        # A server closes idle connections whenever it likes. To ask twice does no harm.
                        if last_try:
                            return Answer(error=f"no answer: {type(error).__name__}")
                        continue
                    except (httpx.HTTPError, httpx.InvalidURL) as error:
                        # Only the kind: messages may quote the address, or whatever the peer has sent.
                        return Answer(error=f"no answer: {type(error).__name__}")
                    # Should the body never end, the status still holds.
                    answer = Answer(status=response.status_code, body=None)
                    matters = response.status_code == 409
                    body = await _read(response, question.limit_s if matters else min(DRAIN_LIMIT_S, question.limit_s))
                    return Answer(status=response.status_code, body=body if matters else b"")
            return answer
        finally:
            if len(self._idle) < self.pool_size:
                self._idle.append(transport)
            else:  # the pool has become smaller
                with trio.move_on_after(DRAIN_LIMIT_S, shield=True):
                    await transport.aclose()

    async def _transport(self) -> httpx.AsyncHTTPTransport:
        if self._idle:
            return self._idle.pop()
        async with self._tls_lock:
            if self._tls is None:  # reads the certificates of all authorities
                self._tls = await trio.to_thread.run_sync(partial(httpx.create_ssl_context, trust_env=False))
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEPT_S)
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=limits)

    async def aclose(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()


async def _read(response: httpx.Response, limit_s: float) -> bytes | None:
    """The body; None when it is too long or does not end in time (its connection is closed then)."""
    body = bytearray()
    whole = False
    try:
        with trio.move_on_after(limit_s) as limit:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    limit.cancel()  # not `break`: only a cancel ends the generators inside httpx in order
            whole = len(body) <= MAX_BODY_BYTES
    except httpx.HTTPError:
        pass  # cut off: what has come means nothing
    finally:
        with trio.move_on_after(DRAIN_LIMIT_S, shield=True):  # the connection goes back to the pool, or is closed
            await response.aclose()
    return bytes(body) if whole else None


@asynccontextmanager
async def open_validator(
    pool_size: int, utc: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> AsyncIterator[HttpValidator]:
    """The daemon's one validator; its connections are closed at the end."""
    validator = HttpValidator(pool_size, utc)
    try:
        yield validator
    finally:
        with trio.move_on_after(DRAIN_LIMIT_S, shield=True):
            await validator.aclose()
