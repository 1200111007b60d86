"""One agent's desktop as a machine: messages and time in, messages out. Pure; `desks` is its WebSocket shell.

    OFFLINE --connected--> LOGGING_IN --EventAgentLogin--> PAUSED --Ready--> READY --EventEstablished--> TALKING
                                                              ^                ^                            |
                                                              |                +--EventAgentReady--+        | released
                                                              +----- resume ------- CLOSING <-- WRAPPING <--+

Lost connections do not end a conversation: the machine keeps call, remaining talk time and unfinished paperwork,
logs in again, and goes on when the server reports the same ConnID. If the server does not report it within
`RESUME_GRACE_S`, the conversation is taken for ended and wrap-up begins.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from telephony.simworld.plan import lognormal

RESUME_GRACE_S: Final = 10.0
ANSWER_LIMIT_S: Final = 5.0
"""A request without an answer for this long is sent again."""
RELEASE_LIMIT_S: Final = 5.0
RETRY_S: Final = 1.0
WRONG_NUMBER: Final = 53
"""``GSW_CALL_RESULT`` of the manual for a wrong number: the correction that agents make here, when told to."""

Json = dict[str, object]


class DeskState(Enum):
    OFFLINE = "offline"
    LOGGING_IN = "logging_in"
    PAUSED = "not_ready"
    READY = "ready"
    RINGING = "ringing"
    TALKING = "talking"
    WRAPPING = "wrapping"
    CLOSING = "closing"
    """RecordProcessed is sent, its acknowledgement awaited."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How an agent works. Means in seconds; ``correct_share`` of conversations are reported as wrong numbers."""

    talk_mean_s: float = 150.0
    talk_cv: float = 0.8
    wrap_mean_s: float = 30.0
    wrap_cv: float = 0.6
    correct_share: float = 0.0


@dataclass(slots=True)
class Desk:
    """One agent. Feed it `connected`, `received`, `disconnected` and `step`; each returns the messages to send."""

    agent_id: str
    habits: Habits
    rng: random.Random
    state: DeskState = DeskState.OFFLINE
    online: bool = False
    logged_in: bool = False
    application_id: int | None = None
    campaign: str = ""
    conn_id: str = ""
    engaged: str = ""
    """ConnID of the engaging call that the agent is on, in a seizing mode."""
    user_data: Json = field(default_factory=dict)
    established_at_s: float = 0.0
    release_at_s: float = math.inf
    wrap_until_s: float = math.inf
    result_correction: int | None = None
    conversations: int = 0
    resumed: int = 0
    errors: list[Json] = field(default_factory=list)
    """Error answers received, the last 100."""
    changes: list[tuple[float, DeskState, str]] = field(default_factory=list)
    """(time, state, ConnID) since the shell last took them."""
    _reference: int = 0
    _release_sent_at_s: float = -math.inf
    _processed_sent_at_s: float = -math.inf
    _processed_reference: int = 0
    _stats_sent: bool = False
    _ready_at_s: float = math.inf
    _login_at_s: float = math.inf
    _resume_until_s: float = math.inf

    # --- inputs ----------------------------------------------------------------------------------------------

    def connected(self, now_s: float) -> Sequence[Json]:
        self.online = True
        if self.state is DeskState.OFFLINE:
            self._enter(DeskState.LOGGING_IN, now_s)
        self._login_at_s = now_s + ANSWER_LIMIT_S
        return (self._request("RequestAgentLogin"),)

    def disconnected(self, now_s: float) -> None:
        """The connection is gone. A conversation and its paperwork go on; anything else starts over."""
        self.online = self.logged_in = False
        self._ready_at_s = self._login_at_s = self._resume_until_s = math.inf
        self._release_sent_at_s = self._processed_sent_at_s = -math.inf
        if self.state not in (DeskState.TALKING, DeskState.WRAPPING, DeskState.CLOSING):
            self._enter(DeskState.OFFLINE, now_s)

    def received(self, message: Mapping[str, object], now_s: float) -> Sequence[Json]:
        """One message of the server; unknown ones are ignored, as a desktop must."""
        if isinstance(name := message.get("Event"), str):
            return self._event(name, message, now_s)
        if isinstance(name := message.get("GSW_USER_EVENT"), str):
            return self._user_event(name, message, now_s)
        return ()

    def step(self, now_s: float) -> Sequence[Json]:
        """Time has passed; call it at `deadline_s` or a little later."""
        if not self.online:
            return ()
        if not self.logged_in:
            if now_s < self._login_at_s:
                return ()
            self._login_at_s = now_s + ANSWER_LIMIT_S
            return (self._request("RequestAgentLogin"),)
        match self.state:
            case DeskState.TALKING if now_s >= self._resume_until_s:
                return self._released(now_s)
            case DeskState.TALKING if self._resume_until_s == math.inf and now_s >= self.release_at_s:
                if now_s < self._release_sent_at_s + RELEASE_LIMIT_S:
                    return ()
                self._release_sent_at_s = now_s
                return (self._request("RequestReleaseCall", ConnID=self.conn_id),)
            case DeskState.WRAPPING:
                return self._wrap(now_s)
            case DeskState.CLOSING if now_s >= self._processed_sent_at_s + ANSWER_LIMIT_S:
                return (self._record_processed(now_s),)
            case DeskState.PAUSED if now_s >= self._ready_at_s:
                self._ready_at_s = now_s + ANSWER_LIMIT_S
                return (self._request("RequestAgentReady"),)
            case _:
                return ()

    @property
    def deadline_s(self) -> float:
        """When `step` next has something to do, if nothing else happens."""
        if not self.online:
            return math.inf
        if not self.logged_in:
            return self._login_at_s
        match self.state:
            case DeskState.TALKING:
                if self._resume_until_s < math.inf:
                    return self._resume_until_s
                return max(self.release_at_s, self._release_sent_at_s + RELEASE_LIMIT_S)
            case DeskState.WRAPPING:
                return self.wrap_until_s if self._stats_sent else -math.inf
            case DeskState.CLOSING:
                return self._processed_sent_at_s + ANSWER_LIMIT_S
            case DeskState.PAUSED:
                return self._ready_at_s
            case _:
                return math.inf

    def log_out(self) -> Sequence[Json]:
        """The messages of a clean leave-taking."""
        if not self.logged_in:
            return ()
        out: list[Json] = []
        if self.state is DeskState.TALKING:
            out.append(self._request("RequestReleaseCall", ConnID=self.conn_id))
        if self.state in (DeskState.TALKING, DeskState.WRAPPING) and self._has_record:
            out.append(self._record_request("RecordProcessed"))
        out.append(self._request("RequestAgentNotReady", Reason="end of shift"))
        out.append(self._request("RequestAgentLogout"))
        return out

    def take_changes(self) -> list[tuple[float, DeskState, str]]:
        out, self.changes = self.changes, []
        return out

    # --- events ----------------------------------------------------------------------------------------------

    def _event(self, name: str, message: Mapping[str, object], now_s: float) -> Sequence[Json]:
        conn_id = str(message.get("ConnID") or "")
        data = message.get("UserData")
        if isinstance(data, Mapping) and data.get("GSW_CALL_TYPE") == "ENGAGING":
            self.engaged = conn_id if name == "EventEstablished" else "" if name == "EventReleased" else self.engaged
            return ()  # the phone is up, and nobody is on the line yet
        match name:
            case "EventAgentLogin":
                return self._logged_in(now_s)
            case "EventAgentReady" if self.state is DeskState.PAUSED:
                self._enter(DeskState.READY, now_s)
            case "EventAgentNotReady" if self.state is DeskState.READY:
                self._enter(DeskState.PAUSED, now_s)
                self._ready_at_s = now_s + RETRY_S
            case "EventAgentLogout":
                self.logged_in = False
                self._login_at_s = now_s + RETRY_S
                if self.state in (DeskState.READY, DeskState.PAUSED, DeskState.RINGING):
                    self._enter(DeskState.LOGGING_IN, now_s)
            case "EventRinging" if self.state in (DeskState.READY, DeskState.PAUSED):
                self.conn_id = conn_id
                self._take_user_data(message, fresh=True)
                self._enter(DeskState.RINGING, now_s)
            case "EventEstablished" if conn_id:
                return self._established(conn_id, message, now_s)
            case "EventReleased" if conn_id and conn_id == self.conn_id:
                self._take_user_data(message, fresh=False)
                if self.state is DeskState.TALKING:
                    return self._released(now_s)
                if self.state is DeskState.RINGING:  # the call was gone before it could be taken
                    self.conn_id = ""
                    self._enter(DeskState.PAUSED, now_s)
                    self._ready_at_s = now_s
                    return self.step(now_s)
            case "EventError":
                return self._refused(message, now_s)
        return ()

    def _logged_in(self, now_s: float) -> Sequence[Json]:
        self.logged_in = True
        self._login_at_s = math.inf
        if self.state is DeskState.TALKING:
            self._resume_until_s = now_s + RESUME_GRACE_S
        elif self.state is DeskState.LOGGING_IN:
            self._enter(DeskState.PAUSED, now_s)
            self._ready_at_s = now_s
        return self.step(now_s)

    def _established(self, conn_id: str, message: Mapping[str, object], now_s: float) -> Sequence[Json]:
        if conn_id == self.conn_id and self.state is DeskState.TALKING:
            if self._resume_until_s < math.inf:  # adopted by a restarted server: go on where we were
                self._resume_until_s = math.inf
                self.resumed += 1
            self._take_user_data(message, fresh=False)
            return self.step(now_s)
        if self.state in (DeskState.WRAPPING, DeskState.CLOSING) and conn_id == self.conn_id:
            return ()  # a late repetition
        self.conn_id = conn_id
        self._take_user_data(message, fresh=True)
        self.conversations += 1
        self.established_at_s = now_s
        self.release_at_s = now_s + lognormal(self.rng, self.habits.talk_mean_s, self.habits.talk_cv)
        self._release_sent_at_s = -math.inf
        self._resume_until_s = math.inf
        self._enter(DeskState.TALKING, now_s)
        return ()

    def _released(self, now_s: float) -> Sequence[Json]:
        self._resume_until_s = math.inf
        self.release_at_s = math.inf
        self.wrap_until_s = now_s + lognormal(self.rng, self.habits.wrap_mean_s, self.habits.wrap_cv)
        corrects = self.rng.random() < self.habits.correct_share
        self.result_correction = WRONG_NUMBER if corrects else None
        self._stats_sent = False
        self._enter(DeskState.WRAPPING, now_s)
        return self.step(now_s)

    def _wrap(self, now_s: float) -> Sequence[Json]:
        out: list[Json] = []
        if not self._stats_sent:
            self._stats_sent = True
            if self._has_record:
                out.append(self._record_request("UpdateCallCompletionStats"))
        if now_s >= self.wrap_until_s:
            if self._has_record:
                self._enter(DeskState.CLOSING, now_s)
                out.append(self._record_processed(now_s))
            else:
                out += self._done_with_record(now_s)
        return tuple(out)

    def _done_with_record(self, now_s: float) -> Sequence[Json]:
        self.conn_id = ""
        self.user_data = {}
        self._enter(DeskState.PAUSED, now_s)
        self._ready_at_s = now_s
        return self.step(now_s)

    def _user_event(self, name: str, message: Mapping[str, object], now_s: float) -> Sequence[Json]:
        if isinstance(application_id := message.get("GSW_APPLICATION_ID"), int):
            self.application_id = application_id
        if name in ("CampaignStarted", "CampaignLoaded"):
            self.campaign = str(message.get("GSW_CAMPAIGN_NAME") or self.campaign)
        elif name == "RecordProcessedAcknowledge":
            if self.state is DeskState.CLOSING and self._is_ours(message):
                return self._done_with_record(now_s)
        elif name == "Error" or "GSW_ERROR" in message:
            self._note_error(message)
            # Refused or already processed (also by the server's earlier life): the paperwork is over either way.
            if self.state is DeskState.CLOSING and self._is_ours(message):
                return self._done_with_record(now_s)
        return ()

    def _is_ours(self, message: Mapping[str, object]) -> bool:
        """Does this answer the RecordProcessed that is under way?"""
        handle, reference = message.get("GSW_RECORD_HANDLE"), message.get("GSW_REFERENCE_ID")
        # A late error about UpdateCallCompletionStats carries the same handle, but its own reference.
        same_reference = reference is None or str(reference) == str(self._processed_reference)
        return same_reference and (handle is None or handle == self.user_data.get("GSW_RECORD_HANDLE"))

    def _refused(self, message: Mapping[str, object], now_s: float) -> Sequence[Json]:
        self._note_error(message)
        if not self.logged_in:
            self._login_at_s = now_s + RETRY_S
        elif self.state is DeskState.PAUSED:
            self._ready_at_s = now_s + RETRY_S
        elif self.state is DeskState.TALKING and self._release_sent_at_s > -math.inf:
            return self._released(now_s)  # no such call any more
        return ()

    def _note_error(self, message: Mapping[str, object]) -> None:
        self.errors.append(dict(message))
        del self.errors[:-100]

    # --- outputs ---------------------------------------------------------------------------------------------

    @property
    def _has_record(self) -> bool:
        return isinstance(self.user_data.get("GSW_RECORD_HANDLE"), int)

    def _request(self, name: str, **fields: object) -> Json:
        self._reference += 1
        return {"Request": name, "AgentID": self.agent_id, "ReferenceID": self._reference, **fields}

    def _record_request(self, kind: str) -> Json:
        self._reference += 1
        request: Json = {"GSW_AGENT_REQ_TYPE": kind, "GSW_REFERENCE_ID": self._reference}
        if self.application_id is not None:
            request["GSW_APPLICATION_ID"] = self.application_id
        for key in ("GSW_APPLICATION_ID", "GSW_RECORD_HANDLE", "GSW_CAMPAIGN_NAME", "GSW_CALLING_LIST"):
            if key in self.user_data and key not in request:
                request[key] = self.user_data[key]
        if "GSW_CAMPAIGN_NAME" not in request and self.campaign:
            request["GSW_CAMPAIGN_NAME"] = self.campaign
        if self.result_correction is not None:
            request["GSW_CALL_RESULT"] = self.result_correction
        return request

    def _record_processed(self, now_s: float) -> Json:
        request = self._record_request("RecordProcessed")
        self._processed_sent_at_s, self._processed_reference = now_s, self._reference
        return request

    def _take_user_data(self, message: Mapping[str, object], *, fresh: bool) -> None:
        data = message.get("UserData")
        if fresh and self.state is not DeskState.RINGING:
            self.user_data = {}
        if isinstance(data, Mapping):
            self.user_data.update({str(k): v for k, v in data.items()})

    def _enter(self, state: DeskState, now_s: float) -> None:
        if state is not self.state:
            self.state = state
            self.changes.append((now_s, state, self.conn_id))
