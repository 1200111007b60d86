"""How the agents' phones register at a proxy: REGISTER, digest, refresh, and taking leave (RFC 3261 10.2, 22).

`Registrant` is one phone's binding, without I/O; `Registrations` is the socket that all phones share for it. Calls come
in at the phones' own port, which the Contact names.

    IDLE --due--> TRYING --200--> HELD --half the time over--> TRYING --200--> HELD ...
                    |  401/407: once more with credentials    | leave()
                    +--refused, or nobody there--> IDLE       +--> LEAVING --any final--> GONE
"""

import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

from telephony.simworld.digest import digest_response, parse_authorization
from telephony.simworld.sip import T1_S, T2_S, TIMEOUT_S
from telephony.simworld.sipmsg import Address, Header, Message, SipSyntaxError, name_addr, parse, serialise

EXPIRES_S: Final = 120
RETRY_S: Final = 2.0
"""After a refusal, and after silence."""
LEAVE_LIMIT_S: Final = 1.0
"""How long a clean stop waits for the answers to our leave-taking."""


class Binding(Enum):
    IDLE = "idle"
    TRYING = "trying"
    HELD = "held"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(slots=True)
class Registrant:
    """
    The binding of one extension. Its methods return the datagram to send, if any.

    ``contact`` is where calls shall go; ``new_token`` yields unique strings for branches and the Call-ID.
    """

    extension: str
    registrar: Address
    contact: Address
    password: str = field(repr=False)
    new_token: Callable[[], str] = field(repr=False)
    local: Address = ("127.0.0.1", 0)
    state: Binding = Binding.IDLE
    deadline_s: float = -math.inf
    refused_with: int = 0
    """Last final status that was not 2xx, 0: none since the last success."""
    _call_id: str = ""
    _cseq: int = 0
    _last: bytes = field(default=b"", repr=False)
    _interval_s: float = T1_S
    _give_up_at_s: float = math.inf
    _challenged: bool = False

    def step(self, now_s: float) -> bytes | None:
        """Time has passed: begin, repeat, refresh or give up."""
        if now_s < self.deadline_s:
            return None
        if self.state in (Binding.TRYING, Binding.LEAVING):
            if now_s < self._give_up_at_s:
                self._interval_s = min(2 * self._interval_s, T2_S)
                self.deadline_s = min(now_s + self._interval_s, self._give_up_at_s)
                return self._last
            if self.state is Binding.TRYING:
                self.refused_with = 408
                self._rest(now_s)
            else:
                self.state, self.deadline_s = Binding.GONE, math.inf
            return None
        if self.state is Binding.GONE:
            return None
        self.state, self._challenged = Binding.TRYING, False
        return self._request(now_s, EXPIRES_S)

    def leave(self, now_s: float) -> bytes | None:
        """Take the binding back (10.2.2); nothing to send when there is none."""
        if self.state not in (Binding.HELD, Binding.TRYING):
            self.state, self.deadline_s = Binding.GONE, math.inf
            return None
        self.state, self._challenged = Binding.LEAVING, False
        return self._request(now_s, 0)

    def received(self, response: Message, now_s: float) -> bytes | None:
        """A response with our Call-ID."""
        waiting = self.state in (Binding.TRYING, Binding.LEAVING)
        if not waiting or response.cseq != (self._cseq, "REGISTER") or response.status < 200:
            return None
        leaving = self.state is Binding.LEAVING
        if response.status in (401, 407) and not self._challenged:
            self._challenged = True
            return self._request(now_s, 0 if leaving else EXPIRES_S, self._credentials(response))
        if leaving:
            self.state, self.deadline_s = Binding.GONE, math.inf
        elif response.status < 300:
            self.state, self.refused_with = Binding.HELD, 0
            self.deadline_s = now_s + max(1.0, self._granted_s(response) / 2)
        else:
            self.refused_with = response.status
            self._rest(now_s)
        return None

    def _rest(self, now_s: float) -> None:
        self.state, self.deadline_s = Binding.IDLE, now_s + RETRY_S

    def _granted_s(self, response: Message) -> int:
        """How long our Contact is good for: a registrar may grant less than was asked for (10.2.4)."""
        for value in response.all("contact"):
            try:
                uri, params = name_addr(value)
            except SipSyntaxError:
                continue
            granted = dict(params).get("expires", "")
            if uri == self._contact_uri and granted.isascii() and granted.isdigit():
                return int(granted[:9])
        asked = response.get("expires")
        return int(asked[:9]) if asked.isascii() and asked.isdigit() else EXPIRES_S

    @property
    def _contact_uri(self) -> str:
        return f"sip:{self.extension}@{self.contact[0]}:{self.contact[1]}"

    def _credentials(self, response: Message) -> tuple[Header, ...]:
        asked, answer = "www-authenticate", "authorization"
        if response.status == 407:
            asked, answer = "proxy-authenticate", "proxy-authorization"
        challenge = parse_authorization(response.get(asked))
        fields: dict[str, str] = {key: challenge[key] for key in ("realm", "nonce", "opaque") if key in challenge}
        fields |= {"username": self.extension, "uri": self._registrar_uri}
        plain: dict[str, str] = {"algorithm": "MD5"}
        if "auth" in (one.strip() for one in challenge.get("qop", "").split(",")):
            fields["cnonce"] = self.new_token()
            plain |= {"qop": "auth", "nc": "00000001"}
        response_text = digest_response(self.extension, self.password, "REGISTER", fields | plain)
        texts = [f'{key}="{value}"' for key, value in (fields | {"response": response_text}).items()]
        return ((answer, "Digest " + ", ".join([*texts, *(f"{key}={value}" for key, value in plain.items())])),)

    @property
    def _registrar_uri(self) -> str:
        return f"sip:{self.registrar[0]}:{self.registrar[1]}"

    def _request(self, now_s: float, expires_s: int, credentials: Iterable[Header] = ()) -> bytes:
        self._call_id = self._call_id or self.new_token()
        self._cseq += 1
        aor = f"sip:{self.extension}@{self.registrar[0]}"
        headers: list[Header] = [
            ("via", f"SIP/2.0/UDP {self.local[0]}:{self.local[1]};branch=z9hG4bK{self.new_token()};rport"),
            ("max-forwards", "70"),
            ("from", f"<{aor}>;tag={self._call_id[-8:]}"),
            ("to", f"<{aor}>"),
            ("call-id", self._call_id),
            ("cseq", f"{self._cseq} REGISTER"),
            ("contact", f"<{self._contact_uri}>"),
            ("expires", str(expires_s)),
            *credentials,
        ]
        self._last = serialise(Message(method="REGISTER", uri=self._registrar_uri, headers=tuple(headers)))
        self._interval_s, self._give_up_at_s = T1_S, now_s + TIMEOUT_S
        self.deadline_s = now_s + T1_S
        return self._last

    @property
    def call_id(self) -> str:
        return self._call_id


class Registrations:
    """The shell: keeps every extension registered until `run` is cancelled; `leave` takes the bindings back."""

    def __init__(self, extensions: Sequence[str], registrar: Address, contact: Address, password: str) -> None:
        def token() -> str:
            return secrets.token_hex(8)

        self.registrants = [Registrant(one, registrar, contact, password, token) for one in extensions]
        self._registrar = registrar
        self._host = contact[0]
        self._sock: trio.socket.SocketType | None = None
        self._changed = trio.Event()

    @property
    def held(self) -> int:
        return sum(one.state is Binding.HELD for one in self.registrants)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Register, and refresh until cancelled; started when the first datagrams may leave."""
        sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        with sock:
            await sock.bind((self._host, 0))
            self._sock = sock
            for one in self.registrants:
                one.local = sock.getsockname()[:2]
            task_status.started()
            while True:
                now_s = time.monotonic()
                for one in self.registrants:
                    await self._send(one.step(now_s))
                next_s = min((one.deadline_s for one in self.registrants), default=math.inf)
                with trio.move_on_after(max(0.0, next_s - time.monotonic())):
                    await self._receive(sock)

    async def all_held(self) -> None:
        """Return when every extension is registered."""
        while self.held < len(self.registrants):
            await self._changed.wait()

    async def leave(self) -> None:
        """Take all bindings back; waits a little for the answers. `run` must go on meanwhile."""
        for one in self.registrants:
            await self._send(one.leave(time.monotonic()))
        with trio.move_on_after(LEAVE_LIMIT_S):
            while any(one.state is not Binding.GONE for one in self.registrants):
                await self._changed.wait()

    async def _receive(self, sock: trio.socket.SocketType) -> None:
        data, _ = await sock.recvfrom(65_535)
        try:
            message = parse(data)
        except SipSyntaxError:
            return
        for one in self.registrants:
            if message.status and one.call_id == message.call_id:
                await self._send(one.received(message, time.monotonic()))
        self._changed.set()
        self._changed = trio.Event()

    async def _send(self, data: bytes | None) -> None:
        if data is not None and self._sock is not None:
            try:
                await self._sock.sendto(data, self._registrar)
            except OSError:
                return  # nobody listens there yet: our timer repeats it
