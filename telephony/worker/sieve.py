"""Which received messages the stack may see. Pure: text in, the reason for a drop out.

pjsip checks with assert what it takes for granted, and an assert ends the process with every call in it. Some can be
reached with one datagram (an ACK that nobody waits for, a branch used again by another method) or by a peer that is
merely odd (a 183 without usable SDP, then 200). What is dropped here is what no peer that keeps RFC 3261 sends, or, for
provisional responses, what may get lost on the way anyway. All other nonsense is left to the stack, which has answers.

Strangers, requests with a Call-ID that is not one of our calls, may send OPTIONS, and INVITE with its ACK and CANCEL.
"""

import math
import re
from collections import OrderedDict
from typing import Final, NamedTuple
from urllib.parse import unquote

from telephony.sdp import flaw_of_description
from telephony.sip import SipMessage, parse_message, uris_of

TELL_EVERY_S: Final = 60.0
ENDED_KEPT_S: Final = 40.0
"""How long messages of an ended call are told from a stranger's: 64*T1 (RFC 3261 17.1.1.2) and some."""
MAX_REMEMBERED: Final = 2000
_BRANCH: Final = re.compile(r";\s*branch\s*=\s*([^\s;,]+)", re.IGNORECASE)
_CLEAN_TAG: Final = re.compile(r";tag=[A-Za-z0-9.!%*_+`'~-]+(?:;|\Z)")
_CSEQ: Final = re.compile(r"(\d{1,10})\s+([A-Za-z]+)\Z")
_ONCE: Final = ("call-id", "cseq", "from", "to")
_TRANSPORT: Final = re.compile(r";\s*transport\s*=\s*([^;?>\s]*)", re.IGNORECASE)
_LONG_ADDRESS: Final = re.compile(r"(?:^|[\r\n])(?:c=|a=rtcp:)[^\r\n]*?[^\s]{250}")
"""In a session description. No name of a host has more than 253 characters (RFC 1035 2.3.4), nor has the stack room."""
_OVER_UDP: Final = frozenset({"", "udp"})
_OVER_TCP: Final = _OVER_UDP | {"tcp"}
_OUTSIDE_CALLS: Final = frozenset({"REGISTER", "OPTIONS"})
_AFTER_THE_END: Final = frozenset({"ACK", "BYE", "CANCEL"})
_ASKS_AGAIN: Final = frozenset({401, 407, 422})
"""Answers that the stack takes for a wish to hear the request once more, with credentials or a longer timer."""


class _Ended(NamedTuple):
    at_s: float
    answered_cseq: int
    """Of the INVITE that had been answered; 0: none."""
    over_tcp: bool
    still_up: bool
    """The stack may still wait for the answer that ends its session: to its BYE, or to an INVITE it has cancelled."""


class Sieve:
    """What is known of calls and transactions. Times are monotonic seconds; ``ip_version`` of the worker's address."""

    def __init__(self, ip_version: str = "4") -> None:
        self._ip_version = ip_version
        self.dropped: dict[str, int] = {}
        """How many messages, by reason."""
        self._told, self._told_s = 0, -math.inf
        self._calls: dict[str, bool] = {}
        """Is TCP spoken in it?"""
        self._routed: set[str] = set()
        """Calls whose requests take the way of a Record-Route."""
        self._tagged: set[str] = set()
        """Calls whose far end has named itself by a tag."""
        self._answered: dict[str, tuple[str, int]] = {}
        """Calls with a 2xx to an INVITE: the tag and the CSeq of the first of these."""
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        self._branches: OrderedDict[tuple[str, str], str] = OrderedDict()
        """By Call-ID and branch: the method that used it first."""
        self._invites: OrderedDict[str, str] = OrderedDict()
        """The Call-ID by the branch of our INVITE, in lower case: so the stack looks for it."""

    def news(self, now_s: float) -> str:
        """What was dropped since the last time, for the log; "" where that is nothing, or was not long ago."""
        total = sum(self.dropped.values())
        if total == self._told or now_s < self._told_s + TELL_EVERY_S:
            return ""
        self._told, self._told_s = total, now_s
        return ", ".join(f"{why}: {count}" for why, count in sorted(self.dropped.items()))

    def call_begins(self, call_id: str, *, over_tcp: bool = False) -> None:
        self._calls[call_id] = over_tcp
        self._ended.pop(call_id, None)

    def call_ends(self, call_id: str, now_s: float, *, bye_due: bool = False) -> None:
        """``bye_due``: the stack has just been asked to say BYE, which may be challenged."""
        over_tcp = self._calls.pop(call_id, False)
        answered_cseq = self._answered.get(call_id, ("", 0))[1]
        # One that was never answered is over for pjsua once it is cancelled, and for pjsip with the answer to INVITE.
        still_up = bye_due or not answered_cseq
        self._ended.setdefault(call_id, _Ended(now_s, answered_cseq, over_tcp, still_up))
        self._routed.discard(call_id)
        self._tagged.discard(call_id)
        self._answered.pop(call_id, None)
        while self._ended and (
            len(self._ended) > MAX_REMEMBERED or next(iter(self._ended.values())).at_s < now_s - ENDED_KEPT_S
        ):
            self._ended.popitem(last=False)
        while self._invites and not self._is_known(next(iter(self._invites.values()))):
            self._invites.popitem(last=False)

    def _is_known(self, call_id: str) -> bool:
        return call_id in self._calls or call_id in self._ended

    def invite_sent(self, invite: SipMessage) -> None:
        """Only its own call may be told of its answers: the stack finds the transaction by nothing but the branch."""
        branch = _BRANCH.search(invite.header("via"))
        if branch is not None:
            self._invites[branch.group(1).lower()] = invite.header("call-id")
            if len(self._invites) > MAX_REMEMBERED:
                self._invites.popitem(last=False)

    def holds_back(self, text: str) -> bool:
        """Is this message to be dropped?"""
        why = self._flaw(text)
        if why:
            self.dropped[why] = self.dropped.get(why, 0) + 1
        return bool(why)

    def _flaw(self, text: str) -> str:
        try:
            message = parse_message(text)
        except ValueError:
            return "start line"
        for name in _ONCE:
            if sum(key == name for key, _ in message.headers) != 1:
                return f"{name} not once"
        cseq = _CSEQ.match(message.header("cseq"))
        if cseq is None or int(cseq.group(1)) >= 2**31:
            return "cseq"
        if _LONG_ADDRESS.search(message.body):
            return "address in a description"
        branch = _BRANCH.search(message.header("via"))
        if branch is None:
            return "no branch"
        if not message.method and cseq.group(2).upper() == "ACK":
            # The stack finds the transaction of the INVITE by it, which is then over while its session is not.
            return "answer to ACK"
        if not message.method:
            return self._flaw_of_response(message, branch.group(1))
        if cseq.group(2) != message.method:
            return "cseq of another method"
        return self._flaw_of_request(message, branch.group(1))

    def _flaw_of_response(self, message: SipMessage, branch: str) -> str:
        call_id = message.header("call-id")
        known = self._is_known(call_id)
        if not known and message.cseq_method not in _OUTSIDE_CALLS:
            return "answer of a stranger"
        if message.cseq_method == "INVITE" and self._invites.get(branch.lower(), call_id) != call_id:
            return "answer of another call"
        if known and 100 < message.status < 300 and (flaw := self._flaw_of_next_hop(message)):
            return flaw
        if 100 < message.status < 300 and call_id in self._calls:
            if _CLEAN_TAG.search(message.header("to")):
                self._tagged.add(call_id)
            elif call_id in self._tagged or "tag" in message.header("to").lower():
                return "response without the tag of before"
            if message.status >= 200 and message.cseq_method == "INVITE":
                self._answered.setdefault(call_id, (message.to_tag, message.cseq_number))
        described = message.body != "" and message.header("content-type").lower().startswith("application/sdp")
        flawed = described and flaw_of_description(message.body, self._ip_version) != ""
        if message.status < 200:
            return "description in a provisional response" if flawed else ""
        if call_id in self._ended and (flaw := self._flaw_of_asking_again(message)):
            return flaw
        if call_id in self._ended and message.cseq_method == "INVITE":
            # An answer that crossed our CANCEL is the first and has a description: ACK and BYE are due.
            again = message.cseq_number == self._ended[call_id].answered_cseq
            if again or (message.status < 300 and (flawed or not described)):
                return "answer after the end of the call"
        return ""

    def _flaw_of_asking_again(self, message: SipMessage) -> str:
        """
        Of a final response in a call that has ended. The stack would send the request once more by way of a session
        that is gone, which ends the process: with honest peers, where two BYEs cross and a proxy asks for digest.
        """
        call_id = message.header("call-id")
        ended = self._ended[call_id]
        due = "BYE" if ended.answered_cseq else "INVITE"
        if message.status not in _ASKS_AGAIN:
            if message.cseq_method != "CANCEL":
                self._is_over(call_id)
            return ""
        if not ended.still_up or message.cseq_method != due or message.status == 422:
            return "request wanted again after the end of the call"
        self._is_over(call_id)
        return ""

    def _is_over(self, call_id: str) -> None:
        self._ended[call_id] = self._ended[call_id]._replace(still_up=False)

    def _flaw_of_next_hop(self, message: SipMessage) -> str:
        """
        Where the requests to follow would go, by this message: nowhere is an ACK that cannot be sent, and so the end of
        the process. We speak no TLS, and in a call over UDP no TCP.
        """
        call_id = message.header("call-id")
        routes = [uri for name, value in message.headers if name == "record-route" for uri in uris_of(value)]
        contact = [uri for uri in uris_of(message.header("contact"))[:1] if uri not in ("", "*")]
        if any(not uri.lower().startswith("sip:") for uri in (*routes, *contact)):
            return "scheme of a target"
        # Of what is recorded the called party's end comes last, which is the next hop of the caller (RFC 3261 12.1.2).
        next_hop = routes[-1:] or ([] if call_id in self._routed else contact)
        over_tcp = self._calls[call_id] if call_id in self._calls else self._ended[call_id].over_tcp
        spoken = _OVER_TCP if over_tcp else _OVER_UDP
        if any(asked.lower() not in spoken for uri in next_hop for asked in _TRANSPORT.findall(unquote(uri))):
            return "transport of a target"
        if not message.method and message.cseq_method == "INVITE" and call_id not in self._answered:
            (self._routed.add if routes else self._routed.discard)(call_id)
        return ""

    def _flaw_of_request(self, message: SipMessage, branch: str) -> str:
        call_id, method = message.header("call-id"), message.method
        key = (call_id, branch)
        began_by = self._branches.get(key)
        if method == "CANCEL" and began_by != "INVITE":
            return "CANCEL of no INVITE"
        if call_id in self._calls:
            if method == "INVITE" and call_id not in self._answered:
                return "INVITE before the answer"  # RFC 3261 14.1: not while another one is in progress
            if method == "BYE" and call_id not in self._answered:
                # RFC 3261 section 15: the called party must not. pjsua gives the call's place to another one while the
                # INVITE is still to be answered, and takes the two for one when it is.
                return "BYE before the answer"
            if method == "REFER" and message.from_tag != self._answered.get(call_id, ("", 0))[0]:
                # Of a dialog that a forked INVITE made beside; pjsua would answer it in the other one.
                return "REFER of nobody who answered"
            if flaw := self._flaw_of_next_hop(message):
                return flaw
        elif call_id in self._ended:
            if method not in _AFTER_THE_END:
                return "after the end of the call"
            if method == "BYE":
                self._is_over(call_id)
        elif method in ("ACK", "CANCEL"):
            if began_by != "INVITE":
                return "ACK of a stranger"
        elif method not in ("INVITE", "OPTIONS") or message.to_tag:
            return "method of a stranger"
        elif method == "INVITE" and message.header("content-type") and flaw_of_description(message.body):
            return "description of a stranger"
        if began_by is None:
            self._branches[key] = method
            if len(self._branches) > MAX_REMEMBERED:
                self._branches.popitem(last=False)
        elif method != began_by and not (began_by == "INVITE" and method in ("ACK", "CANCEL")):
            return "branch of another method"
        return ""
