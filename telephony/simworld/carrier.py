"""The simulated carrier: every number of the world behind one SIP port, with real audio and a log of the truth."""

import math
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from telephony.simworld import idtone, sound
from telephony.simworld.media import MediaEngine, MediaError, MediaLeg
from telephony.simworld.party import Answer, CalledParty, Command, HangUp, Hum, Listen, PartyState, Refuse, Ring, Say
from telephony.simworld.plan import Behaviour, Mix, Script, canonical, plan_for
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
from telephony.simworld.sipmsg import Header
from telephony.simworld.truth import (
    TruthLog,
    class_in_the_end,
    heard_fields,
    plan_fields,
    q850_cause_in_the_end,
    sip_status_in_the_end,
)

CAUSE_NO_CIRCUIT: Final = 34


@dataclass(slots=True, eq=False)
class _Call:
    sip: SipCall
    party: CalledParty
    leg: MediaLeg
    canonical: str
    attempt: int
    spoken_to_at_s: float | None = None
    agent_at_s: float | None = None
    hummed: bool = False


@dataclass(slots=True)
class Carrier:
    """
    Runs the calls of one carrier. ``max_calls``: further INVITEs get 503 with cause 34, as from a full trunk group.

    Drive it through `endpoint.Clockwork`, or by hand: `on_event` for what the `Uas` reports, `step` every 20 ms.
    """

    uas: Uas
    engine: MediaEngine
    seed: int
    mix: Mix
    behaviour: Behaviour
    truth: TruthLog
    script: Script = field(default_factory=Script)
    max_calls: int = 500
    calls: dict[SipCall, _Call] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    """INVITEs taken per canonical number."""
    ended_by_class: Counter[str] = field(default_factory=Counter)
    stopping: bool = False

    def on_event(self, event: SipEvent, now_s: float) -> None:
        match event:
            case Invited(call):
                self._invited(call, now_s)
            case Cancelled(call):
                self._left(call, now_s, "cancel")
            case HungUp(call, _):
                self._left(call, now_s, "bye")
            case NeverAcked(call):
                self._left(call, now_s, "never_acked")
            case Acked(call) | MediaChanged(call):
                self._aim(call)

    def step(self, now_s: float) -> None:
        first_s, last_s = self.engine.loud_s()
        for active in list(self.calls.values()):
            party = active.party
            state = party.state
            if state is PartyState.WAITING or state is PartyState.TALKING:
                # Hundreds of times a tick: most have nothing to do but to listen.
                leg = active.leg
                first_loud_s = _known(first_s[leg.slot])
                if first_loud_s is not None or leg.heard_codes:
                    self._note(active, first_loud_s, now_s)
                if now_s < party.quiet_until_s and (first_loud_s is None or state is PartyState.TALKING):
                    continue
                commands = party.step(now_s, first_loud_s, _known(last_s[leg.slot]))
            elif now_s >= party.deadline_s:
                commands = party.step(now_s, None, None)
            else:
                continue
            self._obey(active, commands, now_s)

    def stop(self, now_s: float) -> None:
        """Hang up or refuse everything and log it; later INVITEs get 503."""
        self.stopping = True
        for active in list(self.calls.values()):
            self._obey(active, active.party.stop(now_s), now_s)

    # --- calls -----------------------------------------------------------------------------------------------

    def _invited(self, call: SipCall, now_s: float) -> None:
        number = canonical(call.number)
        if self.stopping or len(self.calls) >= self.max_calls or not number:
            status, cause = (503, CAUSE_NO_CIRCUIT) if number else (484, 28)
            self.uas.reject(call, status, now_s, (("reason", reason_header(cause)),))
            self._log_refused(call, number, status, cause, now_s)
            return
        plan = self.script.plan(self.seed, number, self.behaviour) or plan_for(
            self.seed, number, self.mix, self.behaviour
        )
        try:
            leg = self.engine.open_leg(plan.noise_dbfs, plan.level_db, plan.loss_ratio, plan.late_ratio)
        except MediaError:
            self.uas.reject(call, 503, now_s, (("reason", reason_header(CAUSE_NO_CIRCUIT)),))
            self._log_refused(call, number, 503, CAUSE_NO_CIRCUIT, now_s)
            return
        self.attempts[number] += 1
        call.media_host, call.media_port = self.engine.host, leg.port
        # Turns and voices may differ from attempt to attempt; class and times do not (they are the plan's).
        rng = random.Random(f"{self.seed}|{number}|{self.attempts[number]}")
        active = _Call(call, CalledParty(plan, rng), leg, number, self.attempts[number])
        self.calls[call] = active
        self._aim(call)
        self._obey(active, active.party.start(now_s), now_s)

    def _aim(self, call: SipCall) -> None:
        active = self.calls.get(call)
        if active is None or call.remote_audio is None:
            return
        audio = call.remote_audio
        # On hold (0.0.0.0 or no wish to receive) nothing is sent.
        wanted = bool(audio.host) and audio.direction not in ("sendonly", "inactive")
        active.leg.remote = (audio.host, audio.port) if wanted else None
        active.leg.payload_type = audio.payload_type

    def _left(self, call: SipCall, now_s: float, why: str) -> None:
        active = self.calls.get(call)
        if active is not None:
            active.party.caller_left(now_s, why)
            self._finish(active)

    def _note(self, active: _Call, first_loud_s: float | None, now_s: float) -> None:
        if active.spoken_to_at_s is None and first_loud_s is not None:
            active.spoken_to_at_s = first_loud_s
        if active.agent_at_s is None and any(c < idtone.AGENT_CODES for c in active.leg.heard_codes):
            active.agent_at_s = now_s

    def _obey(self, active: _Call, commands: Iterable[Command], now_s: float) -> None:
        for command in commands:
            self._do(active, command, now_s)
        if active.party.state is PartyState.ENDED:
            self._finish(active)

    def _do(self, active: _Call, command: Command, now_s: float) -> None:
        call, leg = active.sip, active.leg
        match command:
            case Ring(score):
                # 183 without an offer to answer would carry an offer of ours, which only a reliable response may.
                if score and call.remote_audio is not None:
                    leg.play(sound.render(score))
                    leg.sending = True
                    self.uas.ring(call, 183, with_sdp=True)
                else:
                    self.uas.ring(call, 180)
            case Answer(score):
                leg.play(sound.render(score) if score else None)
                leg.sending = True
                self.uas.answer(call, now_s)
            case Refuse(status, cause, redirect_to):
                headers: list[Header] = [] if cause is None else [("reason", reason_header(cause))]
                if redirect_to:
                    headers.append(("contact", f"<{redirect_to}>"))
                self.uas.reject(call, status, now_s, headers)
            case Say(score):
                leg.play(sound.render(score))
            case Listen():
                self.engine.listen_anew(leg)
            case Hum():
                leg.code = idtone.customer_code(active.canonical)
                active.hummed = True
            case HangUp(cause):
                self.uas.hang_up(call, now_s, cause)

    # --- the truth -------------------------------------------------------------------------------------------

    def _finish(self, active: _Call) -> None:
        if self.calls.pop(active.sip, None) is None:
            return
        self.engine.close_leg(active.leg)  # decodes the last second, so the codes are read after it
        number_class, by = class_in_the_end(active.party)
        self.ended_by_class[number_class] += 1
        self.truth.write(self._entry(active, number_class, by))

    def _entry(self, active: _Call, number_class: str, by: str) -> dict[str, object]:
        party, call = active.party, active.sip
        heard = self.engine.heard(active.leg)
        codes = active.leg.heard_codes
        agent_heard = any(c < idtone.AGENT_CODES for c in codes)
        greeting_end_s = party.greeting_ended_at_s

        def after_greeting(at_s: float | None) -> float | None:
            return round(at_s - greeting_end_s, 3) if at_s is not None and greeting_end_s is not None else None

        spoken_to_s = active.spoken_to_at_s if party.plan.converses else None
        return {
            **_identity(call, active.canonical),
            "attempt": active.attempt,
            "class": number_class,
            "decided_by": by,
            **plan_fields(party.plan),
            "sip_status": sip_status_in_the_end(party),
            "q850_cause": q850_cause_in_the_end(party),
            "invited_at_s": party.invited_at_s,
            "rang_at_s": party.rang_at_s,
            "answered_at_s": party.answered_at_s,
            "greeting_ended_at_s": greeting_end_s if (greeting_end_s or 0) <= (party.ended_at_s or 0) else None,
            "beep_at_s": party.beep_at_s,
            "talk_began_at_s": party.talk_began_at_s,
            "ended_at_s": party.ended_at_s,
            "ended_by": party.ended_by,
            "why": party.why,
            "hellos": party.hellos,
            "spoken_to_after_s": after_greeting(spoken_to_s),
            "agent_known_after_s": after_greeting(active.agent_at_s),
            "own_code": idtone.customer_code(active.canonical),
            "hummed": active.hummed,
            "packets_out": active.leg.packets_out,
            "packets_kept_back": active.leg.packets_lost,
            **heard_fields(heard, codes),
            "agent_heard": agent_heard,
            "announcement_heard": spoken_to_s is not None and not agent_heard,
        }

    def _log_refused(self, call: SipCall, number: str, status: int, cause: int, now_s: float) -> None:
        number_class = "trunk_full" if status == 503 else "no_number"
        self.ended_by_class[number_class] += 1
        self.truth.write(
            {
                **_identity(call, number),
                "class": number_class,
                "decided_by": "signalling",
                "sip_status": status,
                "q850_cause": cause,
                "invited_at_s": now_s,
                "ended_at_s": now_s,
                "ended_by": "callee",
                "why": "refused",
            }
        )


def _known(at_s: float) -> float | None:
    return None if math.isnan(at_s) else at_s


def _identity(call: SipCall, number: str) -> dict[str, object]:
    now = time.time()
    return {
        "call_id": call.call_id,
        "number": call.number,
        "canonical": number,
        "from": call.from_user,
        "logged_utc": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        # What to add to the times of this line, which are monotonic, to have seconds since 1970.
        "epoch_offset_s": round(now - time.monotonic(), 4),
    }
