"""What daemon and SIP workers say about legs under way, registrations and probes; part of `telephony.contract`.

Spoken from version 3 of the contract on. An older worker is not sent these commands: `Leg.redirect`, `Leg.refer` and
`Telephony.probe` then fail as if the far end had refused (501 Not Implemented).
"""

from enum import StrEnum

import msgspec


class Direction(StrEnum):
    """Direction attributes of SDP as we offer them (RFC 3264 5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    """Hold: the far end listens only (music, comfort noise)."""
    INACTIVE = "inactive"


class DialogId(msgspec.Struct, frozen=True):
    """A dialog as a third party names it in Replaces (RFC 3891); ``remote_uri`` is where REFER-to-Replaces points."""

    call_id: str
    local_tag: str
    remote_tag: str
    remote_uri: str = ""


class Reinvite(msgspec.Struct, frozen=True, tag=True):
    """
    Offer another address for the audio of an answered leg: that of the other party (direct media) or our channel's.

    ``payload_type`` -1: offer both laws of G.711; 0 or 8: only that one, because the other party sends nothing else.
    ``event_payload_type``: number of telephone-event in the offer (96..127); 0: none is offered. `Reinvited` with the
    same ``seq`` answers. Glare (491) is tried again by the worker as RFC 3261 14.1 has it, three times at most.
    """

    leg_id: str
    seq: int
    host: str
    port: int
    payload_type: int = -1
    event_payload_type: int = 101
    direction: Direction = Direction.SENDRECV


class Reinvited(msgspec.Struct, frozen=True, tag=True):
    """
    The final response to a re-INVITE. Anything but 2xx has changed nothing; 408 and 481 are followed by `LegEnded`.

    ``remote_rtp_*`` and payload types: the far end's answer, as in `LegAnswered`; port 0 where there was none.
    ``sip_status`` 0: the leg ended or the worker was lost meanwhile. 504 also from the worker itself: the far end has
    taken the re-INVITE (100) and said nothing for 40 s; until it does, all others are answered so at once.
    """

    leg_id: str
    seq: int
    sip_status: int
    at_s: float
    remote_rtp_host: str = ""
    remote_rtp_port: int = 0
    payload_type: int = 0
    event_payload_type: int = 101
    reason_text: str = ""


class Refer(msgspec.Struct, frozen=True, tag=True):
    """
    Ask the far end of an answered leg to call ``target`` (RFC 3515); `Referred` events tell how that goes.

    ``replaces``: the dialog at the target that the new call takes the place of (attended transfer, RFC 3891).
    ``headers`` go with the REFER; ``target_headers`` are put into Refer-To, for the INVITE that follows it (RFC 3261
    19.1.1): many switches drop those. The leg stays until it is hung up or the far end does so.
    """

    leg_id: str
    target: str
    replaces: DialogId | None = None
    headers: tuple[tuple[str, str], ...] = ()
    target_headers: tuple[tuple[str, str], ...] = ()


class Referred(msgspec.Struct, frozen=True, tag=True):
    """Progress of a REFER by NOTIFY (message/sipfrag): status of the new call; ``final`` ends it.

    A refused REFER is final with the refusal's status. One that is accepted is told with 202, not final. A far end that
    accepts and never notifies, or ends the leg: final with 202. Of one that ends the leg before it has accepted nothing
    is told but that end.
    """

    leg_id: str
    sip_status: int
    final: bool
    at_s: float
    reason_text: str = ""


class LegInfo(msgspec.Struct, frozen=True, tag=True):
    """An INFO request (RFC 6086) of the far end; bodies beyond 4 KiB are cut, more than 20 a second dropped."""

    leg_id: str
    content_type: str
    body: str
    at_s: float


class Register(msgspec.Struct, frozen=True, tag=True):
    """
    Keep a registration (RFC 3261 10) until `Unregister`. Repeated with other values, it is changed.

    ``registrar``: ``sip:host:port``; ``aor``: ``sip:user@domain``. One worker holds it; the client gives it to another
    one when that is gone. Credentials are neither logged nor in snapshots.
    """

    registration_id: str
    registrar: str
    aor: str
    username: str = ""
    password: str = ""
    expires_s: int = 300
    proxy: str = ""


class Unregister(msgspec.Struct, frozen=True, tag=True):
    registration_id: str


class Registered(msgspec.Struct, frozen=True, tag=True):
    """
    What the registrar said last. Good while ``sip_status`` is 200 and ``expires_s`` above 0; status 0: not yet.

    ``no_room``: no registrar was asked, because this worker holds as many registrations as it can; another one may.
    """

    registration_id: str
    sip_status: int
    expires_s: int
    at_s: float
    reason_text: str = ""
    no_room: bool = False

    @property
    def good(self) -> bool:
        return 200 <= self.sip_status < 300 and self.expires_s > 0


class Probe(msgspec.Struct, frozen=True, tag=True):
    """Send OPTIONS (RFC 3261 11) to ``uri``; `Probed` answers within ``timeout_s``."""

    probe_id: str
    uri: str
    timeout_s: float = 2.0
    proxy: str = ""


class Probed(msgspec.Struct, frozen=True, tag=True):
    """Any status says that somebody is there; 0: no answer in time, or nothing could be sent (``why``)."""

    probe_id: str
    sip_status: int
    rtt_s: float
    why: str = ""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Take no more calls, and exit when the last leg has ended; the launcher starts a fresh worker in its place."""
