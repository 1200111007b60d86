"""The judge of recording tones: which burst is the beep after which a machine records."""

from typing import Final

from telephony.cpa import cadence, sit
from telephony.cpa.bursts import Burst
from telephony.cpa.finding import NEVER
from telephony.cpa.progress import is_cng
from telephony.cpa.spectrum import SINGLE_TONE
from telephony.cpa.tones import BEEP_HZ, TonePlan

BEEP_FRAMES: Final = (7, 130)  # 140 ms .. 2.6 s
BEEP_PURITY: Final = 0.93  # 12 dB of noise; nasals reach 0.92
BEEP_SPREAD_HZ: Final = 5.0
BEEP_FILL_RATIO: Final = 0.75
BEEP_WAIT_FRAMES: Final = 4  # for a further tone: then it is no recording tone
BEEP_WAIT_SIT_FRAMES: Final = 20  # for the next segment of a SIT, whose beginning may be lost
BEEP_WAIT_PLAN_FRAMES: Final = 60  # for the repeat of a call progress tone of that frequency
BEEP_WAIT_RINGBACK_FRAMES: Final = 320  # the same where nobody spoke: the longest pause of a ringback is 5 s
BEEP_WAIT_CNG_FRAMES: Final = 180


class BeepJudge:
    """Holds the burst that may be a recording tone until nothing contradicts it any more."""

    def __init__(self) -> None:
        self._candidate: Burst | None = None
        self._due = NEVER

    @property
    def pending(self) -> bool:
        """Whether a burst waits to be judged."""
        return self._candidate is not None

    @property
    def due_frame(self) -> int:
        """When the waiting burst can be judged; NEVER when none waits."""
        return self._due

    def consider(self, burst: Burst, now: int, plan: TonePlan, spoke: bool) -> None:
        """An announced burst of an answered call ended; ``spoke``: speech was heard before it."""
        length = burst.end - burst.start
        if burst.code != SINGLE_TONE:
            return
        if not (BEEP_HZ[0] <= burst.hz <= BEEP_HZ[1] and BEEP_FRAMES[0] <= length <= BEEP_FRAMES[1]):
            return
        if burst.purity < BEEP_PURITY or burst.spread_hz > BEEP_SPREAD_HZ or burst.fill < BEEP_FILL_RATIO:
            return  # a hummed or sung sound
        wait = BEEP_WAIT_FRAMES
        if _is_plan_tone(plan, burst):
            wait = BEEP_WAIT_PLAN_FRAMES if spoke else BEEP_WAIT_RINGBACK_FRAMES
        elif is_cng(burst) and not spoke:
            wait = BEEP_WAIT_CNG_FRAMES
        elif sit.may_be_segment(burst) and not spoke:
            wait = BEEP_WAIT_SIT_FRAMES
        self._candidate, self._due = burst, now + wait

    def speech_began(self, plan: TonePlan) -> None:
        """Who speaks after a tone of the network was called by it: that was no recording tone."""
        if self._candidate is not None and _is_plan_tone(plan, self._candidate):
            self._forget()

    def take(self, latest: Burst) -> Burst | None:
        """The waiting burst, now due, unless more tones came (a melody, a SIT); ``latest`` is the last burst heard."""
        burst = self._candidate
        self._forget()
        return None if burst is None or latest.start > burst.start else burst

    def _forget(self) -> None:
        self._candidate, self._due = None, NEVER


def _is_plan_tone(plan: TonePlan, burst: Burst) -> bool:
    return any(cadence.matches_frequency(tone, burst) for tone in plan.tones)
