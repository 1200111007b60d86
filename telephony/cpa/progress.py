"""The judge of network and device tones: bursts in, judgements out. Pure; time is frames of 20 ms since the start."""

from dataclasses import replace
from typing import Final

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa import cadence, sit
from telephony.cpa.bursts import FRAME_S, Burst, is_resumed
from telephony.cpa.finding import NEVER, Judgement
from telephony.cpa.spectrum import FSK, SINGLE_TONE
from telephony.cpa.tones import (
    ANSWER_TONE_TOLERANCE_HZ,
    BELL_ANSWER_HZ,
    CED_HZ,
    CNG_CADENCE_S,
    CNG_HZ,
    CNG_TOLERANCE_HZ,
    TonePlan,
    tone_plan,
)

ANSWER_TONE_FRAMES: Final = 25  # 500 ms of CED; the shortest legal one lasts 2.6 s
FSK_FRAMES: Final = 30
KEPT_BURSTS: Final = 12


class ToneJudge:
    """Hears the bursts of one call. Raises ValueError for an unknown tone plan."""

    def __init__(self, settings: AnalysisSettings) -> None:
        self.plan: TonePlan = tone_plan(settings.tone_plan)
        self.bursts: list[Burst] = []
        self.sounding: Burst | None = None
        self._resumed_start = NEVER
        self._rang = False

    def choose(self, settings: AnalysisSettings) -> None:
        """The settings from here on."""
        self.plan = tone_plan(settings.tone_plan)

    def burst_began(self, burst: Burst) -> Judgement | None:
        """A burst has lasted long enough to be one."""
        self._resumed_start = NEVER
        if self.bursts and is_resumed(self.bursts[-1], burst):
            self._resumed_start = self.bursts.pop().start
        self.sounding = self.whole(burst)
        return self._by_cadence()

    def burst_ended(self, burst: Burst) -> Judgement | None:
        """An announced burst (as `whole` completes it) ended."""
        self.sounding = None
        found = self._running(burst)
        self.bursts = [*self.bursts[-KEPT_BURSTS + 1 :], burst]
        return found or self._by_cadence()

    def burst_goes_on(self, burst: Burst) -> Judgement | None:
        """The announced burst with its present end."""
        self.sounding = self.whole(burst)
        return self._running(self.sounding)

    def whole(self, burst: Burst) -> Burst:
        """The burst with the part that a lost packet split off."""
        return replace(burst, start=min(burst.start, self._resumed_start))

    def partial_sit(self) -> Judgement | None:
        """A special information tone whose last segment did not come."""
        kind = sit.classify_partial(self.bursts)
        if kind is None:
            return None
        return Judgement(kind, "special information tone, in part", {"hz": self.bursts[-1].hz})

    def due_frame(self, now: int) -> int:
        """When to ask again."""
        if self.sounding is not None and now - self.sounding.start <= FSK_FRAMES + 10:
            return now + 1
        return NEVER

    def _running(self, burst: Burst) -> Judgement | None:
        """SIT by its third segment, fax by an answer tone that has lasted long enough."""
        length = burst.end - burst.start
        if sit.is_third_segment(burst) and length >= sit.CONFIRM_FRAMES:
            kind = sit.classify(self.bursts, burst)
            if kind is not None:
                hz = [*(b.hz for b in self.bursts[-2:]), burst.hz]
                names = ("first_hz", "second_hz", "third_hz")[-len(hz) :]
                return Judgement(kind, "special information tone", dict(zip(names, hz, strict=True)))
        if burst.code == SINGLE_TONE and length >= ANSWER_TONE_FRAMES:
            for hz_wanted, cause in ((CED_HZ, "fax answer tone"), (BELL_ANSWER_HZ, "modem answer tone")):
                if abs(burst.hz - hz_wanted) <= ANSWER_TONE_TOLERANCE_HZ:
                    return Judgement(VerdictKind.FAX, cause, {"hz": burst.hz, "tone_s": burst.duration_s})
        if burst.code == FSK and length >= FSK_FRAMES:
            return Judgement(VerdictKind.FAX, "V.21 signal", {"tone_s": burst.duration_s})
        return None

    def _by_cadence(self) -> Judgement | None:
        """Ringback, busy, reorder by cadence; calling fax by its repeat."""
        first_cut = bool(self.bursts) and self.bursts[0].start <= 3
        tone = cadence.identify(self.plan, self.bursts, self.sounding, first_cut)
        if tone is not None:
            evidence = {"hz": tone.hz[0], "bursts": float(len(self.bursts))}
            if tone.kind is not VerdictKind.RINGBACK:
                return Judgement(tone.kind, f"{self.plan.name} {tone.kind} cadence", evidence)
            if not self._rang:
                self._rang = True
                return Judgement(tone.kind, f"{self.plan.name} ringback cadence", evidence)
        if self.sounding is not None and self.bursts and is_cng(self.bursts[-1]):
            pause_s = (self.sounding.start - self.bursts[-1].end) * FRAME_S
            again = abs(self.sounding.hz - CNG_HZ) <= CNG_TOLERANCE_HZ
            if again and abs(pause_s - CNG_CADENCE_S[1]) < 0.5:
                return Judgement(VerdictKind.FAX, "calling fax tone", {"hz": self.sounding.hz})
        return None


def is_cng(burst: Burst) -> bool:
    """Whether a finished burst may be one of a calling fax."""
    on_s = CNG_CADENCE_S[0]
    return (
        burst.code == SINGLE_TONE
        and abs(burst.hz - CNG_HZ) <= CNG_TOLERANCE_HZ
        and abs(burst.duration_s - on_s) <= 0.15 * on_s + 2 * FRAME_S
    )
