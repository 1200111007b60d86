"""Fax machines, modems and pagers by what they send. Pure: bursts and their audio in, judgements out.

- **Fax** (ITU-T T.30): the called machine sends CED, 2100 Hz for 2.6 to 4 s, then V.21 flags; a calling one CNG,
  1100 Hz for 0.5 s every 3 s.
- **Modem**: the same 2100 Hz, but with its phase reversed every 450 ms (V.25), modulated by 15 Hz (ANSam, V.8), or
  both; 2225 Hz (Bell 103, 212A); 2250 Hz, V.22's unscrambled ones; the carriers of V.21 and V.23. A fax of the V.34
  kind answers with ANSam too and counts as a modem here.
- **Pager**: a paging terminal asks for a number by some short equal beeps.
"""

from itertools import pairwise
from typing import Final

from telephony.contract import VerdictKind
from telephony.cpa.bursts import FRAME_S, Burst
from telephony.cpa.finding import Judgement
from telephony.cpa.history import Samples
from telephony.cpa.lines import find_lines, measure_answer_tone
from telephony.cpa.spectrum import DUAL_TONE, FSK, FSK_BANDS, SINGLE_TONE
from telephony.cpa.tones import (
    ANSWER_TONE_TOLERANCE_HZ,
    CED_HZ,
    CNG_CADENCE_S,
    CNG_HZ,
    CNG_TOLERANCE_HZ,
)

ANSWER_TONE_FRAMES: Final = 34
"""0.68 s: a modem reverses the phase of its answer tone every 450 +-25 ms, so one reversal lies within."""

AFTER_SPEECH_FRAMES: Final = 75
"""1.5 s where somebody spoke before: fax machines answer for 2.6 s, recording tones of that pitch are shorter."""

MODULATION_RATIO: Final = 0.09  # ANSam has 0.2; noise of 10 dB makes 0.02
FSK_FRAMES: Final = 30
BELL_FSK_HZ: Final = (2025.0, 2225.0)
BELL_LINE_HZ: Final = 60.0
BELL_LINE_SHARE: Final = 0.06
BELL_HZ: Final = (2205.0, 2265.0)  # 2225 Hz of Bell modems, 2250 Hz of V.22
BELL_FRAMES: Final = 35
CARRIERS_HZ: Final = ((1270.0, 8.0), (1300.0, 10.0), (1650.0, 10.0), (2400.0, 12.0))
"""V.21 and V.23 mark, Bell 103 and V.32 carriers: (Hz, tolerance). Recording tones of these pitches are shorter."""

CARRIER_FRAMES: Final = 110

PAGER_BEEPS: Final = (3, 9)
PAGER_BEEP_S: Final = (0.04, 0.3)
PAGER_GAP_S: Final = (0.03, 0.35)
PAGER_SILENCE_S: Final = 0.6
PAGER_HZ: Final = (600.0, 3000.0)
PAGER_EQUAL_RATIO: Final = 0.35
PAGER_EQUAL_HZ: Final = 0.02
PAGER_EQUAL_S: Final = 0.04
PAGER_PACE_S: Final = (0.1, 0.45)
TORN_BEEP_S: Final = 0.06
"""So much longer a beep may seem that is heard as a word. Beeps last 0.1 s; the shortest "hello" takes twice that."""


def may_be_carrier(burst: Burst) -> bool:
    """Whether a burst may become one that `judge_carrier` knows."""
    return burst.code == FSK or (burst.code in (SINGLE_TONE, DUAL_TONE) and burst.hz > 1200.0)


def judge_carrier(burst: Burst, samples: Samples, spoke: bool) -> Judgement | None:
    """
    Judge a burst that has lasted until now; ``samples`` are its latest audio (0.9 s at most).

    ``spoke``: somebody was heard before it, so it may be a recording tone, which is shorter.
    """
    length = burst.end - burst.start
    evidence = {"hz": burst.hz, "tone_s": length * FRAME_S}
    if burst.code == FSK:
        if length < FSK_FRAMES:
            return None
        if burst.hz == FSK_BANDS[0][1]:
            return Judgement(VerdictKind.FAX, "V.21 signal", evidence)
        lines = find_lines(samples)
        if any(
            sum(line.share for line in lines if abs(line.hz - hz) < BELL_LINE_HZ) < BELL_LINE_SHARE
            for hz in BELL_FSK_HZ
        ):
            return None
        return Judgement(VerdictKind.MODEM, "frequency-keyed signal", evidence)
    if burst.code == DUAL_TONE and not BELL_HZ[0] <= burst.hz <= BELL_HZ[1]:
        return None
    if (
        length >= (AFTER_SPEECH_FRAMES if spoke else ANSWER_TONE_FRAMES)
        and abs(burst.hz - CED_HZ) <= ANSWER_TONE_TOLERANCE_HZ
    ):
        tone = measure_answer_tone(samples, burst.hz)
        evidence |= {"reversals": float(tone.reversals), "modulation_ratio": tone.modulation_ratio}
        if tone.reversals:
            return Judgement(VerdictKind.MODEM, "answer tone with phase reversals", evidence)
        if tone.modulation_ratio >= MODULATION_RATIO:
            return Judgement(VerdictKind.MODEM, "modulated answer tone", evidence)
        return Judgement(VerdictKind.FAX, "fax answer tone", evidence)
    if length >= BELL_FRAMES and BELL_HZ[0] <= burst.hz <= BELL_HZ[1]:
        return Judgement(VerdictKind.MODEM, "modem answer tone", evidence)
    if length >= CARRIER_FRAMES and any(abs(burst.hz - hz) <= width for hz, width in CARRIERS_HZ):
        return Judgement(VerdictKind.MODEM, "modem carrier", evidence)
    return None


def is_cng(burst: Burst) -> bool:
    """Whether a finished burst is like those of a calling fax."""
    return burst.is_one_line and may_be_cng(burst)


def may_be_cng(burst: Burst) -> bool:
    """Whether it may be one that a codec of low rate has torn."""
    on_s = CNG_CADENCE_S[0]
    return (
        burst.code in (SINGLE_TONE, DUAL_TONE)
        and abs(burst.hz - CNG_HZ) <= CNG_TOLERANCE_HZ
        and abs(burst.duration_s - on_s) <= 0.15 * on_s + FRAME_S
    )


def is_cng_again(before: Burst, burst: Burst) -> bool:
    """Whether ``burst``, just begun, repeats the calling tone ``before``."""
    pause_s = burst.begin_s - before.finish_s
    return is_cng(before) and abs(burst.hz - CNG_HZ) <= CNG_TOLERANCE_HZ and abs(pause_s - CNG_CADENCE_S[1]) < 0.5


def pager_beeps(bursts: list[Burst]) -> list[Burst]:
    """The latest bursts that may be a pager's: equal, short, in quick succession; empty when they are not."""
    run: list[Burst] = []
    for burst in reversed(bursts):
        fits = PAGER_HZ[0] <= burst.hz <= PAGER_HZ[1] and burst.code in (SINGLE_TONE, DUAL_TONE)
        if not fits or (run and not _follows(burst, run[0])):
            break
        run.insert(0, burst)
    beeps = sum(burst.parts for burst in run)
    if not PAGER_BEEPS[0] <= beeps <= PAGER_BEEPS[1]:
        return []
    if all(burst.parts == 1 for burst in run):
        return run if _is_even(run) else []
    # Some pauses were too short to be measured: then the whole row must have the pace of a pager.
    pace_s = (run[-1].finish_s - run[0].begin_s) / (beeps - 0.5)
    return run if PAGER_PACE_S[0] <= pace_s <= PAGER_PACE_S[1] else []


def is_torn_beep(beeps: list[Burst], word: tuple[int, int] | None) -> bool:
    """Whether all that was ever said is one more of a pager's beeps, which a codec or a lost packet has torn."""
    if word is None:
        return False
    begin_s, end_s = word[0] * FRAME_S, word[1] * FRAME_S
    in_pace = PAGER_GAP_S[0] <= begin_s - beeps[-1].finish_s <= PAGER_GAP_S[1]
    return in_pace and end_s - begin_s <= beeps[-1].duration_s + TORN_BEEP_S


def _follows(burst: Burst, after: Burst) -> bool:
    near = abs(burst.hz - after.hz) <= PAGER_EQUAL_HZ * after.hz
    return near and PAGER_GAP_S[0] <= after.begin_s - burst.finish_s <= PAGER_GAP_S[1]


def _is_even(run: list[Burst]) -> bool:
    lengths_s = [burst.duration_s for burst in run]
    gaps_s = [after.begin_s - burst.finish_s for burst, after in pairwise(run)]
    short = PAGER_BEEP_S[0] <= min(lengths_s) and max(lengths_s) <= PAGER_BEEP_S[1]
    return short and all(
        max(times_s) - min(times_s) <= max(PAGER_EQUAL_S, PAGER_EQUAL_RATIO * max(times_s))
        for times_s in (lengths_s, gaps_s)
    )
