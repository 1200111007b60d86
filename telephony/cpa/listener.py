"""The decision for one call: bursts and talk spurts in, findings out. Pure; time is frames of 20 ms since the start.

Theory of operation::

    early media     only tones count: RINGBACK (information), BUSY, REORDER, SIT_*, FAX (final)
    connected       a greeting is a run of talk spurts with pauses shorter than the needed silence
      greeting, then silence ----------------> HUMAN ----+-- talks on, or beep --> MACHINE (revises)
      greeting longer than a person's -------> MACHINE   |-- fax tone ----------> FAX (revises)
      speech, then a beep -------------------> MACHINE, BEEP
      nothing at all ------------------------> SILENCE
      none of these within the time guard ---> TIMEGUARD --> revised as HUMAN is
    MACHINE         listens on for the BEEP (information)

A tone outranks the voice: bursts are never part of a greeting. Sequential by design: the cheap, frequent case (a short
"hello") is decided first; what it gets wrong ("Hello ... you have reached") is put right by listening on.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa import cadence, sit
from telephony.cpa.activity import Spurt
from telephony.cpa.bursts import FRAME_S, Burst, is_resumed
from telephony.cpa.spectrum import FSK, SINGLE_TONE
from telephony.cpa.tones import (
    ANSWER_TONE_TOLERANCE_HZ,
    BEEP_HZ,
    BELL_ANSWER_HZ,
    CED_HZ,
    CNG_CADENCE_S,
    CNG_HZ,
    CNG_TOLERANCE_HZ,
    tone_plan,
)

FRAMES_PER_S: Final = 50
MACHINE_GREETING_FRAMES: Final = 130
"""2.6 s of talk without the pause of somebody who waits for an answer: a recording."""

MACHINE_AFTER_HUMAN_FRAMES: Final = 100
"""A person who hears nothing says "hello?" again; one who talks on for 2 s is a recording."""

LONG_GREETING_FRAMES: Final = 75
"""Greetings longer than 1.5 s need more silence, because recordings pause between sentences: 0.2 s more per second."""

EXTRA_SILENCE_RATIO: Final = 0.2
MIN_SPEECH_FRAMES: Final = 7  # 140 ms: a shorter sound is a click or a breath; "hi" is voiced for 200 ms
ANSWER_TONE_FRAMES: Final = 25  # 500 ms of CED; the shortest legal one lasts 2.6 s
FSK_FRAMES: Final = 30
BEEP_FRAMES: Final = (7, 130)  # 140 ms .. 2.6 s
BEEP_PURITY: Final = 0.93  # 12 dB of noise; nasals reach 0.92
BEEP_SPREAD_HZ: Final = 5.0
BEEP_FILL_RATIO: Final = 0.75
BEEP_WAIT_FRAMES: Final = 4  # for a further tone: then it is no recording tone
BEEP_WAIT_SIT_FRAMES: Final = 20  # for the next segment of a SIT, whose beginning may be lost
BEEP_WAIT_PLAN_FRAMES: Final = 60  # for the repeat of a call progress tone of that frequency
BEEP_WAIT_RINGBACK_FRAMES: Final = 320  # the same where nobody spoke: the longest pause of a ringback is 5 s
BEEP_WAIT_CNG_FRAMES: Final = 180
KEPT_BURSTS: Final = 12
NEVER: Final = 2**31 - 1
FINAL_TONES: Final = frozenset(
    {
        VerdictKind.BUSY,
        VerdictKind.REORDER,
        VerdictKind.FAX,
        VerdictKind.MODEM,
        VerdictKind.PAGER,
        VerdictKind.NU_TONE,
        *(kind for kind in VerdictKind if kind.name.startswith("SIT")),
    }
)
REVISABLE: Final = frozenset({VerdictKind.HUMAN, VerdictKind.TIMEGUARD})
INFORMATION: Final = frozenset(
    {
        VerdictKind.RINGBACK,
        VerdictKind.CRBT,
        VerdictKind.ANNOUNCEMENT,
        VerdictKind.NO_RINGBACK,
        VerdictKind.BEEP,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict without channel and clock. ``speech_end_frame`` is -1 when nobody spoke."""

    kind: VerdictKind
    cause: str
    connected: bool
    speech_end_frame: int = -1
    revises: bool = False
    evidence: dict[str, float] = field(default_factory=dict)


class Listener:
    """
    Hears one call. Feed it bursts and spurts as they begin and end, and call `evaluate` at `due_frame` or later.

    ``done`` is True when nothing more can come: final tones, SILENCE, or the beep of a machine.
    Raises ValueError for an unknown tone plan.
    """

    def __init__(self, settings: AnalysisSettings, connected: bool) -> None:
        self._settings = settings
        self._plan = tone_plan(settings.tone_plan)
        self.connected = connected
        self.verdict: VerdictKind | None = None
        self.done = False
        self.due_frame = NEVER
        self._origin = 0
        self._bursts: list[Burst] = []
        self._sounding: Burst | None = None
        self._resumed_start = NEVER
        self._rang = False
        self._tone_heard = False
        self._beep: tuple[Burst, int] | None = None
        self._talk_start: int | None = None
        self._talk_end = -1
        self._talking_since: int | None = None
        self._voiced = 0
        self._speech_end = -1  # of the last greeting that counted
        self._guard = NEVER
        if connected:
            self.connect(0, settings)

    # --- events -------------------------------------------------------------------------------------------------

    def connect(self, frame: int, settings: AnalysisSettings) -> None:
        """The call was answered at this frame: voice counts from here. Tones heard before keep counting."""
        self._settings = settings
        self._plan = tone_plan(settings.tone_plan)
        self.connected = True
        self._origin = frame
        self._tone_heard = False  # the ringback before does not make a silent line less silent
        self._guard = frame + max(1, self._settings.timeguard_ms // 20)
        self._forget_talk()
        self._schedule(frame)

    def speech_began(self, start: int, now: int) -> list[Finding]:
        """A talk spurt began at frame ``start``."""
        if not self.connected:
            return []
        if self._talk_start is None:
            self._talk_start = max(start, self._origin)
        self._talking_since = max(start, self._origin)
        self._beep = None if self._beep and self._beep_is_plan_tone() else self._beep
        return self.evaluate(now)

    def speech_ended(self, spurt: Spurt, now: int) -> list[Finding]:
        """A talk spurt ended."""
        if not self.connected or self._talking_since is None:
            return []
        self._voiced += max(0, spurt.end - self._talking_since)
        self._talking_since = None
        self._talk_end = spurt.end
        return self.evaluate(now)

    def speech_was_tone(self) -> None:
        """The spurt under way turned out to be the beginning of a tone."""
        self._talking_since = None
        if self._voiced == 0:
            self._talk_start = None

    def burst_began(self, burst: Burst, now: int) -> list[Finding]:
        """A burst has lasted long enough to be one."""
        self._tone_heard = True
        self._resumed_start = NEVER
        if self._bursts and is_resumed(self._bursts[-1], burst):
            self._resumed_start = self._bursts.pop().start
        self._sounding = self._whole(burst)
        found = self._progress_tone()
        return found + self.evaluate(now)

    def burst_ended(self, burst: Burst, now: int) -> list[Finding]:
        """An announced burst ended."""
        self._sounding = None
        burst = self._whole(burst)
        found = self._final_tone_of_running(burst)
        self._bursts = [*self._bursts[-KEPT_BURSTS + 1 :], burst]
        if not self.done:
            found += self._progress_tone()
        if not self.done:
            self._consider_beep(burst, now)
        return found + self.evaluate(now)

    def evaluate(self, now: int, sounding: Burst | None = None) -> list[Finding]:
        """Judge everything that depends on time passing. ``sounding`` is the running burst with its present end."""
        if self.done:
            return []
        if sounding is not None and self._sounding is not None:
            self._sounding = self._whole(sounding)
            if found := self._final_tone_of_running(self._sounding):
                return found
        if self._beep is not None and now >= self._beep[1] and self._sounding is None and (found := self._beep_found()):
            return found
        found = self._judge_talk(now) if self.connected else []
        self._schedule(now)
        return found

    def _whole(self, burst: Burst) -> Burst:
        """The burst with the part that a lost packet split off."""
        return replace(burst, start=min(burst.start, self._resumed_start))

    # --- tones --------------------------------------------------------------------------------------------------

    def _final_tone_of_running(self, burst: Burst) -> list[Finding]:
        """SIT by its third segment, fax by an answer tone that has lasted long enough."""
        if not self._settings.detect_tones:
            return []
        length = burst.end - burst.start
        if sit.is_third_segment(burst) and length >= sit.CONFIRM_FRAMES:
            kind = sit.classify(self._bursts, burst)
            if kind is not None:
                hz = [*(b.hz for b in self._bursts[-2:]), burst.hz]
                names = ("first_hz", "second_hz", "third_hz")[-len(hz) :]
                return self._final(kind, "special information tone", dict(zip(names, hz, strict=True)))
        if burst.code == SINGLE_TONE and length >= ANSWER_TONE_FRAMES:
            for hz_wanted, cause in ((CED_HZ, "fax answer tone"), (BELL_ANSWER_HZ, "modem answer tone")):
                if abs(burst.hz - hz_wanted) <= ANSWER_TONE_TOLERANCE_HZ:
                    return self._final(VerdictKind.FAX, cause, {"hz": burst.hz, "tone_s": burst.duration_s})
        if burst.code == FSK and length >= FSK_FRAMES:
            return self._final(VerdictKind.FAX, "V.21 signal", {"tone_s": burst.duration_s})
        return []

    def _progress_tone(self) -> list[Finding]:
        """Ringback, busy, reorder by cadence; calling fax by its repeat."""
        if not self._settings.detect_tones:
            return []
        first_cut = bool(self._bursts) and self._bursts[0].start <= 3
        tone = cadence.identify(self._plan, self._bursts, self._sounding, first_cut)
        if tone is not None:
            evidence = {"hz": tone.hz[0], "bursts": float(len(self._bursts))}
            if tone.kind is not VerdictKind.RINGBACK:
                return self._final(tone.kind, f"{self._plan.name} {tone.kind} cadence", evidence)
            if not self._rang:
                self._rang = True
                return [Finding(tone.kind, f"{self._plan.name} ringback cadence", self.connected, evidence=evidence)]
        if self._sounding is not None and self._bursts and _is_cng(self._bursts[-1]):
            pause_s = (self._sounding.start - self._bursts[-1].end) * FRAME_S
            again = abs(self._sounding.hz - CNG_HZ) <= CNG_TOLERANCE_HZ
            if again and abs(pause_s - CNG_CADENCE_S[1]) < 0.5:
                return self._final(VerdictKind.FAX, "calling fax tone", {"hz": self._sounding.hz})
        return []

    def _final(self, kind: VerdictKind, cause: str, evidence: dict[str, float]) -> list[Finding]:
        """A tone that ends the analysis. After a person or machine was found only a fax may overrule it."""
        if self.verdict is not None and kind is not VerdictKind.FAX:
            return []  # busy after a greeting: they hung up; the signalling says so
        revises = self.verdict is not None
        self.verdict, self.done, self.due_frame = kind, True, NEVER
        return [Finding(kind, cause, self.connected, self._speech_end, revises, evidence)]

    # --- beep ---------------------------------------------------------------------------------------------------

    def _consider_beep(self, burst: Burst, now: int) -> None:
        length = burst.end - burst.start
        if burst.start < self._origin:
            return  # the tail of the network's ringback
        if not (self.connected and self._settings.detect_machine and burst.code == SINGLE_TONE):
            return
        if not (BEEP_HZ[0] <= burst.hz <= BEEP_HZ[1] and BEEP_FRAMES[0] <= length <= BEEP_FRAMES[1]):
            return
        if burst.purity < BEEP_PURITY or burst.spread_hz > BEEP_SPREAD_HZ or burst.fill < BEEP_FILL_RATIO:
            return  # a hummed or sung sound
        wait = BEEP_WAIT_FRAMES
        if any(cadence.matches_frequency(tone, burst) for tone in self._plan.tones):
            wait = BEEP_WAIT_PLAN_FRAMES if self._spoke() else BEEP_WAIT_RINGBACK_FRAMES
        elif _is_cng(burst) and not self._spoke():
            wait = BEEP_WAIT_CNG_FRAMES
        elif sit.may_be_segment(burst) and not self._spoke():
            wait = BEEP_WAIT_SIT_FRAMES
        self._beep = (burst, now + wait)

    def _beep_is_plan_tone(self) -> bool:
        return self._beep is not None and any(cadence.matches_frequency(t, self._beep[0]) for t in self._plan.tones)

    def _beep_found(self) -> list[Finding]:
        assert self._beep is not None
        burst = self._beep[0]
        self._beep = None
        if self.verdict is None and self._settings.detect_tones:
            kind = sit.classify_partial(self._bursts)
            if kind is not None:
                return self._final(kind, "special information tone, in part", {"hz": burst.hz})
        following = self._bursts[-1]
        if following.start > burst.start:
            return []  # more tones came: a melody or a SIT, which is judged by itself
        evidence = {"hz": burst.hz, "beep_s": burst.duration_s}
        found: list[Finding] = []
        if self.verdict is not VerdictKind.MACHINE:
            found.append(
                Finding(VerdictKind.MACHINE, "beep", True, self._speech_end, self.verdict is not None, evidence)
            )
            self.verdict = VerdictKind.MACHINE
        found.append(Finding(VerdictKind.BEEP, "recording tone", True, self._speech_end, evidence=evidence))
        self.done, self.due_frame = True, NEVER
        return found

    # --- speech -------------------------------------------------------------------------------------------------

    def _forget_talk(self) -> None:
        self._talk_start, self._talking_since, self._voiced = None, None, 0

    def _spoke(self) -> bool:
        return self._speech_end >= 0 or self._voiced >= MIN_SPEECH_FRAMES

    def _needed_silence(self, greeting_frames: int) -> int:
        base = max(1, self._settings.human_silence_ms // 20)
        return base + int(EXTRA_SILENCE_RATIO * max(0, greeting_frames - LONG_GREETING_FRAMES))

    def _judge_talk(self, now: int) -> list[Finding]:
        found: list[Finding] = []
        if self._talk_start is not None:
            talking = self._talking_since is not None
            length = (now if talking else self._talk_end) - self._talk_start
            voiced = self._voiced + (now - self._talking_since if self._talking_since is not None else 0)
            quiet = 0 if talking else now - self._talk_end
            if voiced >= MIN_SPEECH_FRAMES:
                found = self._judge_greeting(length, voiced, quiet)
            elif not talking and quiet >= self._needed_silence(length):
                self._forget_talk()
        if not found and self.verdict is None:
            found = self._judge_clock(now)
        return found

    def _judge_greeting(self, length: int, voiced: int, quiet: int) -> list[Finding]:
        evidence = {"greeting_s": length * FRAME_S, "voiced_s": voiced * FRAME_S, "silence_s": quiet * FRAME_S}
        tells_machines = self._settings.detect_machine
        if self.verdict is None:
            if tells_machines and length >= MACHINE_GREETING_FRAMES:
                return self._heard(VerdictKind.MACHINE, "long greeting", evidence, quiet)
            if quiet >= self._needed_silence(length) and self._sounding is None and self._beep is None:
                return self._heard(VerdictKind.HUMAN, "short greeting, then silence", evidence, quiet)
            if not tells_machines and length >= MACHINE_GREETING_FRAMES:
                return self._heard(VerdictKind.HUMAN, "speech; machines are not told apart", evidence, quiet)
        elif quiet >= self._needed_silence(length):
            self._speech_end = self._talk_end
            self._forget_talk()
        elif tells_machines and self.verdict in REVISABLE and length >= MACHINE_AFTER_HUMAN_FRAMES:
            return self._heard(VerdictKind.MACHINE, "talks on", evidence, quiet)
        return []

    def _heard(self, kind: VerdictKind, cause: str, evidence: dict[str, float], quiet: int) -> list[Finding]:
        self._speech_end = self._talk_end if quiet else self._speech_end
        revises = self.verdict is not None
        self.verdict = kind
        if quiet:
            self._forget_talk()
        return [Finding(kind, cause, True, self._speech_end, revises, evidence)]

    def _judge_clock(self, now: int) -> list[Finding]:
        waited_s = (now - self._origin) * FRAME_S
        silent = not self._tone_heard and self._talk_start is None and not self._spoke()
        if silent and now >= self._origin + self._settings.initial_silence_ms // 20:
            self.verdict, self.done, self.due_frame = VerdictKind.SILENCE, True, NEVER
            return [Finding(VerdictKind.SILENCE, "nothing heard", True, -1, evidence={"waited_s": waited_s})]
        if now >= self._guard:
            self.verdict = VerdictKind.TIMEGUARD
            end = self._talk_end if self._voiced else -1
            return [Finding(VerdictKind.TIMEGUARD, "no decision in time", True, end, evidence={"waited_s": waited_s})]
        return []

    # --- timer --------------------------------------------------------------------------------------------------

    def _schedule(self, now: int) -> None:
        """Set `due_frame` to the next frame at which `evaluate` could say something new."""
        due = NEVER
        if self.done:
            self.due_frame = due
            return
        if self._beep is not None:
            due = min(due, self._beep[1])
        if self._sounding is not None:
            age = now - self._sounding.start
            due = min(due, now + 1 if age <= FSK_FRAMES + 10 else NEVER)
        if self.connected:
            if self.verdict is None:
                due = min(due, self._guard)
                if not self._tone_heard and self._talk_start is None:
                    due = min(due, self._origin + self._settings.initial_silence_ms // 20)
            if self._talk_start is not None:
                limit = MACHINE_GREETING_FRAMES if self.verdict is None else MACHINE_AFTER_HUMAN_FRAMES
                if self._talking_since is None:
                    due = min(due, self._talk_end + self._needed_silence(self._talk_end - self._talk_start))
                elif self.verdict is not VerdictKind.MACHINE:
                    due = min(due, self._talk_start + limit)
        self.due_frame = max(due, now + 1)


def _is_cng(burst: Burst) -> bool:
    on_s = CNG_CADENCE_S[0]
    return (
        burst.code == SINGLE_TONE
        and abs(burst.hz - CNG_HZ) <= CNG_TOLERANCE_HZ
        and abs(burst.duration_s - on_s) <= 0.15 * on_s + 2 * FRAME_S
    )
