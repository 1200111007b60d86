"""The agents' SIP phones: many extensions behind one UDP port, answering by themselves, talking and listening.

Each phone hums the code of its extension all the time and so proves to the called person whom they hear; it decodes
the called person's code in turn. One call a phone: a second one gets 486, an unknown extension 404.
"""

import math
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from telephony.simworld import idtone, sound
from telephony.simworld.media import MediaEngine, MediaError, MediaLeg
from telephony.simworld.sip import Uas
from telephony.simworld.sipcall import (
    Acked,
    Cancelled,
    HungUp,
    Invited,
    MediaChanged,
    NeverAcked,
    SipCall,
    SipEvent,
    reason_header,
)
from telephony.simworld.truth import TruthLog, heard_fields

ANSWER_DELAY_S: Final = (0.05, 0.3)
"""An auto-answering headset: uniform between these."""
NO_MEDIA_HANG_UP_S: Final = 60.0
"""A phone that has received nothing for this long hangs up: the system that called it is gone."""


@dataclass(slots=True, eq=False)
class _PhoneCall:
    sip: SipCall
    leg: MediaLeg
    invited_at_s: float
    answer_at_s: float
    answered_at_s: float | None = None
    customer_at_s: float | None = None


@dataclass(slots=True)
class Phones:
    """Phones with the given extensions. Driven like a `carrier.Carrier`."""

    uas: Uas
    engine: MediaEngine
    extensions: frozenset[str]
    seed: int
    truth: TruthLog
    calls: dict[str, _PhoneCall] = field(default_factory=dict)
    """Live call by extension."""
    answered: int = 0
    stopping: bool = False
    _rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"phones|{self.seed}")

    def on_event(self, event: SipEvent, now_s: float) -> None:
        match event:
            case Invited(call):
                self._invited(call, now_s)
            case Cancelled(call):
                self._finish(call, now_s, "caller", "cancel")
            case HungUp(call, _):
                self._finish(call, now_s, "caller", "bye")
            case NeverAcked(call):
                self._finish(call, now_s, "caller", "never_acked")
            case Acked(call) | MediaChanged(call):
                self._aim(call)

    def step(self, now_s: float) -> None:
        for active in list(self.calls.values()):
            if active.answered_at_s is None:
                if now_s >= active.answer_at_s:
                    self._answer(active, now_s)
                continue
            if active.customer_at_s is None and any(c >= idtone.AGENT_CODES for c in active.leg.heard_codes):
                active.customer_at_s = now_s
            last_s = self.engine.heard(active.leg).last_packet_s or active.answered_at_s
            if now_s - last_s > NO_MEDIA_HANG_UP_S:
                self.uas.hang_up(active.sip, now_s)
                self._finish(active.sip, now_s, "phone", "no_media")

    def stop(self, now_s: float) -> None:
        """Hang up everything and log it; later INVITEs get 480."""
        self.stopping = True
        for active in list(self.calls.values()):
            if active.answered_at_s is None:
                self.uas.reject(active.sip, 480, now_s)
            else:
                self.uas.hang_up(active.sip, now_s)
            self._finish(active.sip, now_s, "phone", "stop")

    def _invited(self, call: SipCall, now_s: float) -> None:
        refusal = 0
        if self.stopping:
            refusal = 480
        elif call.number not in self.extensions:
            refusal = 404
        elif call.number in self.calls:
            refusal = 486
        if refusal:
            cause = {404: 1, 480: 20, 486: 17}[refusal]
            self.uas.reject(call, refusal, now_s, (("reason", reason_header(cause)),))
            return
        try:
            leg = self.engine.open_leg()
        except MediaError:
            self.uas.reject(call, 480, now_s)
            return
        leg.code = idtone.agent_code(call.number)
        call.media_host, call.media_port = self.engine.host, leg.port
        active = _PhoneCall(call, leg, now_s, now_s + self._rng.uniform(*ANSWER_DELAY_S))
        self.calls[call.number] = active
        self._aim(call)
        self.uas.ring(call, 180)

    def _answer(self, active: _PhoneCall, now_s: float) -> None:
        active.answered_at_s = now_s
        self.answered += 1
        clips = list(sound.clips_of("agent"))
        self._rng.shuffle(clips)
        pauses_ms = [500 * self._rng.randint(3, 7) for _ in clips]
        turns = " ".join(f"clip:{clip} silence:{ms}" for clip, ms in zip(clips, pauses_ms, strict=True))
        active.leg.play(sound.render(f"silence:200 |{turns}"))
        active.leg.sending = True
        self.uas.answer(active.sip, now_s)

    def _aim(self, call: SipCall) -> None:
        active = self.calls.get(call.number)
        if active is None or active.sip is not call or call.remote_audio is None:
            return
        audio = call.remote_audio
        wanted = bool(audio.host) and audio.direction not in ("sendonly", "inactive")
        active.leg.remote = (audio.host, audio.port) if wanted else None
        active.leg.payload_type = audio.payload_type

    def _finish(self, call: SipCall, now_s: float, by: str, why: str) -> None:
        active = self.calls.get(call.number)
        if active is None or active.sip is not call:
            return
        del self.calls[call.number]
        self.engine.close_leg(active.leg)
        heard, codes = self.engine.heard(active.leg), active.leg.heard_codes
        customers = {code: n for code, n in codes.items() if code >= idtone.AGENT_CODES}
        customer_code = max(customers, key=lambda c: customers[c]) if customers else None
        self.truth.write(
            {
                "call_id": call.call_id,
                "extension": call.number,
                "from": call.from_user,
                "logged_utc": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
                "invited_at_s": active.invited_at_s,
                "answered_at_s": active.answered_at_s,
                "ended_at_s": now_s,
                "talk_s": round(now_s - (active.answered_at_s or math.nan), 3) if active.answered_at_s else 0.0,
                "ended_by": by,
                "why": why,
                "own_code": active.leg.code,
                "customer_code": customer_code,
                "customer_known_after_s": round(active.customer_at_s - (active.answered_at_s or 0.0), 3)
                if active.customer_at_s is not None
                else None,
                "packets_out": active.leg.packets_out,
                **heard_fields(heard, codes),
            }
        )
