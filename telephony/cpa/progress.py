"""The judge of network and device tones: bursts in, judgements out. Pure; time is frames of 20 ms since the start."""

import math
from dataclasses import replace
from functools import lru_cache
from typing import Final

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa import cadence, carriers, foreign, sit
from telephony.cpa.bursts import FRAME_S, Burst, is_resumed
from telephony.cpa.finding import NEVER, Judgement
from telephony.cpa.history import Samples
from telephony.cpa.lines import find_lines
from telephony.cpa.spectrum import SINGLE_TONE
from telephony.cpa.tones import TONE_PLANS, Tone, TonePlan, tone_plan

KEPT_BURSTS: Final = 12
REPEATED_RATIO: Final = 0.02
MIXED_TONES: Final = tuple(
    {
        (tone.hz, tone.modulated_hz): tone
        for plan in TONE_PLANS.values()
        for tone in plan.tones
        if len(tone.hz) > 1 or tone.modulated_hz
    }.values()
)
"""One tone of each pair and modulation that any country has."""

RINGBACKS: Final = tuple(
    {tone.hz + tone.cadence_s: tone for plan in TONE_PLANS.values() for tone in plan.of_kind(VerdictKind.RINGBACK)}
    .values()
)  # fmt: skip
"""A call to another network rings with its tone, which may last 2 s: no tone that goes on."""

SINGLE_TONES_HZ: Final = (385.0, 465.0)  # 400 to 450 Hz, the world over
CONTINUOUS_S: Final = 1.8
"""A tone without cadence is one that goes on for so long, and longer than any burst of the plan's other tones."""

CONTINUOUS_MARGIN_S: Final = 0.4
CNG_ALONE_FRAMES: Final = 6
"""A calling tone that nothing preceded is believed at its first burst, when no further tone follows at once."""

OPEN_PAUSE_FRAMES: Final = round(cadence.OPEN_PAUSE_S / FRAME_S) + 1
PAGER_FRAMES: Final = round(carriers.PAGER_SILENCE_S / FRAME_S)
LOOK_FRAMES: Final = carriers.CARRIER_FRAMES + 4


class ToneJudge:
    """Hears the bursts of one call. Raises ValueError for an unknown tone plan."""

    def __init__(self, settings: AnalysisSettings) -> None:
        self.plan: TonePlan = tone_plan(settings.tone_plan)
        self.bursts: list[Burst] = []
        self.sounding: Burst | None = None
        self._resumed: Burst | None = None
        self.rang = False
        self.answered = False
        self.after_speech = False  # of the answered call
        self._ended_frame = NEVER  # when the latest burst was known to have ended

    def connect(self, settings: AnalysisSettings) -> None:
        """The call is answered; the settings from here on."""
        self.plan = tone_plan(settings.tone_plan)
        self.answered = True

    def admits(self, burst: Burst) -> bool:
        """Whether a young burst of several lines may be a tone of some network, be it another country's."""
        return any(cadence.may_become(tone, burst) for tone in (*self.plan.tones, *MIXED_TONES))

    def is_plan_tone(self, burst: Burst) -> bool:
        """Whether a burst has the frequencies of one of the plan's tones."""
        return any(cadence.matches_frequency(tone, burst) for tone in self.plan.tones)

    def is_like_network(self, burst: Burst) -> bool:
        """Whether a burst is a tone such as networks have, be it another country's: neither music nor a voice."""
        if self.is_plan_tone(burst):
            return True
        if burst.is_one_line:
            return SINGLE_TONES_HZ[0] <= burst.hz <= SINGLE_TONES_HZ[1]
        return any(cadence.is_near(tone, burst) for tone in MIXED_TONES)

    def ends_sound(self, burst: Burst) -> bool:
        """Whether a burst just begun shows that the network sends tones: what was heard before was no music then."""
        if self.is_plan_tone(burst):
            return True
        again = bool(self.bursts) and abs(self.bursts[-1].hz - burst.hz) <= REPEATED_RATIO * burst.hz
        return again and self.is_like_network(burst)

    # --- events -------------------------------------------------------------------------------------------------

    def burst_began(self, burst: Burst, spoke: bool = False) -> Judgement | None:
        """A burst has lasted long enough to be one; ``spoke``: somebody was heard since the answer."""
        self.after_speech = spoke
        self._resumed = None
        if self.bursts and is_resumed(self.bursts[-1], burst):
            self._resumed = self.bursts.pop()
        self.sounding = self.whole(burst)
        self._ended_frame = NEVER
        return self._by_cadence(None)

    def burst_ended(self, burst: Burst, now: int) -> Judgement | None:
        """An announced burst (as `whole` completes it) ended."""
        self.sounding = None
        self._ended_frame = now
        found = self._special_information(replace(burst, ended_s=burst.finish_s))
        self.bursts = [*self.bursts[-KEPT_BURSTS + 1 :], burst]
        return found or self._by_cadence(None)

    def burst_goes_on(self, burst: Burst, samples: Samples) -> Judgement | None:
        """The announced burst with its present end; ``samples`` are its latest audio."""
        self.sounding = self.whole(burst)
        return (
            self._special_information(self.sounding)
            or carriers.judge_carrier(self.sounding, samples, self.after_speech)
            or self._continuous(self.sounding, samples)
        )

    def silence_goes_on(
        self, now: int, early_media: bool, spoke: bool, word: tuple[int, int] | None = None
    ) -> Judgement | None:
        """
        No tone sounds at frame ``now``.

        Args:
            spoke: speech was heard before.
            word: first frame and frame after the last of all of it; None where it goes on, or was more than that.
        """
        if self.sounding is not None or not self.bursts or self._ended_frame == NEVER:
            return None
        waited = now - self._ended_frame
        burst, alone = self.bursts[-1], not (spoke or early_media)
        if alone and carriers.is_cng(burst) and len(self.bursts) == 1 and waited >= CNG_ALONE_FRAMES:
            return Judgement(VerdictKind.FAX, "calling fax tone", {"hz": burst.hz, "tone_s": burst.duration_s})
        beeps = carriers.pager_beeps(self.bursts) if waited >= PAGER_FRAMES and not early_media else []
        if beeps and (alone or carriers.is_torn_beep(beeps, word)):
            number = max(len(beeps), beeps[-1].parts)
            evidence = {"hz": beeps[-1].hz, "beeps": float(number), "tone_s": beeps[-1].duration_s}
            return Judgement(VerdictKind.PAGER, "short equal beeps", evidence)
        pause_s = now * FRAME_S - self.bursts[-1].finish_s
        return self._by_cadence(pause_s) if early_media else None

    def partial_sit(self) -> Judgement | None:
        """A special information tone whose last segment did not come."""
        kind = sit.classify_partial(self.bursts)
        if kind is None:
            return None
        return Judgement(kind, "special information tone, in part", {"hz": self.bursts[-1].hz})

    def whole(self, burst: Burst) -> Burst:
        """The burst with the part that a lost packet split off."""
        if self._resumed is None:
            return burst
        first = self._resumed
        return replace(burst, start=first.start, onset_s=first.onset_s, rise_db=first.rise_db)

    def due_frame(self, now: int, early_media: bool) -> int:
        """When to ask again."""
        if self.sounding is not None:
            age = now - self.sounding.start
            wanted = sit.is_third_segment(self.sounding) or carriers.may_be_carrier(self.sounding)
            if wanted and age <= LOOK_FRAMES:
                return now + 1
            needed = self._needed_continuous(self.sounding)
            return max(now + 1, self.sounding.start + needed) if age <= needed + 25 else NEVER
        if self._ended_frame == NEVER:
            return NEVER
        steps = [self._ended_frame + CNG_ALONE_FRAMES, self._ended_frame + PAGER_FRAMES]
        if early_media and not self.rang:
            steps.append(self._ended_frame + OPEN_PAUSE_FRAMES)
        return min((step for step in steps if step > now), default=NEVER)

    # --- judgements ---------------------------------------------------------------------------------------------

    def _special_information(self, burst: Burst) -> Judgement | None:
        if burst.end - burst.start < sit.CONFIRM_FRAMES or not sit.is_third_segment(burst):
            return None
        kind = sit.classify(self.bursts, burst)
        if kind is None:
            return None
        segments = [*self.bursts[-2:], burst]
        evidence: dict[str, float] = {}
        for name, segment in zip(("first", "second", "third")[-len(segments) :], segments, strict=True):
            evidence[f"{name}_hz"] = segment.lines[0].hz if segment.lines else segment.hz
            evidence[f"{name}_s"] = segment.duration_s
        return Judgement(kind, "special information tone", evidence)

    def _needed_continuous(self, burst: Burst) -> int:
        """Frames after which a burst is longer than those of all cadences of its frequency, and of all ringbacks."""
        longest_s = 0.0
        if burst.code == SINGLE_TONE:
            longest_s = max((on for low, high, on in _spans(self.plan) if low <= burst.hz <= high), default=0.0)
        return round(max(CONTINUOUS_S, longest_s + CONTINUOUS_MARGIN_S) / FRAME_S)

    def _continuous(self, burst: Burst, samples: Samples) -> Judgement | None:
        if burst.end - burst.start < self._needed_continuous(burst):
            return None
        burst = replace(burst, lines=find_lines(samples, hum_power=math.inf))
        tone = next((t for t in self.plan.tones if not t.cadence_s and cadence.matches_frequency(t, burst)), None)
        if tone is None:
            return None
        return Judgement(tone.kind, f"{self.plan.name} {tone.kind} tone", _evidence(tone, burst))

    def _by_cadence(self, pause_s: float | None) -> Judgement | None:
        """Ringback, busy, reorder by cadence; calling fax by its repeat."""
        first_cut = bool(self.bursts) and self.bursts[0].start <= 3
        tone = cadence.identify(self.plan, self.bursts, self.sounding, first_cut, pause_s)
        if tone is not None:
            evidence = {**_evidence(tone, self.bursts[-1]), "bursts": float(len(self.bursts))}
            if tone.kind is not VerdictKind.RINGBACK:
                return Judgement(tone.kind, f"{self.plan.name} {tone.kind} cadence", evidence)
            if not self.rang:
                self.rang = True
                return Judgement(tone.kind, f"{self.plan.name} ringback cadence", evidence)
        elif (found := self._of_another_network(first_cut)) is not None:
            return found
        if self.sounding is not None and self.bursts and carriers.is_cng_again(self.bursts[-1], self.sounding):
            return Judgement(VerdictKind.FAX, "calling fax tone", {"hz": self.sounding.hz})
        return None

    def _of_another_network(self, first_cut: bool) -> Judgement | None:
        """What the plans of other countries say, when this one's knows nothing of what is heard."""
        if self.after_speech:
            return None  # a recording tone, or they hung up
        found = foreign.judge(self.plan, self.bursts, self.sounding, first_cut, self.answered)
        if found is not None and found.kind is VerdictKind.RINGBACK:
            if self.rang:
                return None
            self.rang = True
        return found


def _evidence(tone: Tone, burst: Burst) -> dict[str, float]:
    heard = {"hz": burst.lines[0].hz if burst.lines else burst.hz, "tone_s": burst.duration_s}
    if len(tone.hz) > 1 and len(burst.lines) > 1:
        heard["second_hz"] = burst.lines[1].hz
    return heard


@lru_cache(maxsize=256)
def _spans(plan: TonePlan) -> tuple[tuple[float, float, float], ...]:
    """Frequencies from and to (Hz) of the plan's cadences and of all ringbacks, and their longest bursts, seconds."""
    tones = [tone for tone in (*plan.tones, *RINGBACKS) if tone.cadence_s]
    return tuple({(*cadence.near_hz(tone), max(tone.cadence_s[::2])) for tone in tones})
