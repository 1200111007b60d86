"""The judge of recording tones: which burst, or row of bursts, is the beep after which a machine records.

Mailboxes beep in many ways: one tone of 60 ms to 3 s, two at once, a step from one to another, a row of short ones,
fading away or with harmonics. They are pure, they stand alone, and nothing follows them. What is no beep: the digits of
somebody's keypad, melodies, sung vowels, and the tones of networks and fax machines, which come again.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from telephony.cpa import carriers, sit
from telephony.cpa.bursts import BROAD_LINE_HZ, Burst
from telephony.cpa.finding import NEVER
from telephony.cpa.spectrum import DUAL_TONE, SINGLE_TONE

BEEP_HZ: Final = (385.0, 2800.0)
"""Range of a recording beep. Lower pure tones are too often sung or drawn-out vowels."""

BEEP_S: Final = (0.05, 3.2)
SINGLE_SHARE: Final = 0.80  # of the energy, in one line: 10 dB of noise leaves 0.91, a square wave's harmonics 0.83
DUAL_SHARE: Final = 0.85
BEEP_SPREAD_HZ: Final = 5.0
DUAL_SPREAD_HZ: Final = 8.0
CLEAR_SHARE: Final = 0.9
CLEAR_SPREAD_HZ: Final = 9.0  # a codec's, on a line that stands out over the whole burst
CLEAR_S: Final = 0.4  # a lower one that stands so long, and so clear, is no voice
PART_SHARE: Final = 0.9
STEP_GAP_S: Final = 0.05
HOLE_S: Final = 0.1  # some packets lost in a row
STEP_DB: Final = 11.0
"""Short low tones that step from one to the next are a beep when together they are no part of a word."""

VOICE_HZ: Final = 700.0
VOICE_S: Final = 0.13
"""Vowels are as pure as a tone below that pitch now and then, for so long."""

VOICE_PAIR_S: Final = 0.25
LOW_PAIR_S: Final = 0.2
CLEAN_PAIR_SHARE: Final = 0.97
HIGHEST_PITCH_HZ: Final = 420.0
ALONE_DB: Final = 20.0  # no part of a word
PURE_ALONE_DB: Final = 15.0
PURE_SHARE: Final = 0.97
PURE_SPREAD_HZ: Final = 3.0
RISE_DB: Final = 6.0
PURE_RISE_DB: Final = 3.5  # of a pure tone above the voice, which the last word's echo may reach into
FALL_DB: Final = 3.5
"""A recording tone begins and ends in silence, or fades into it: 10 dB of noise leave 10 dB of step."""

BEEP_FILL_RATIO: Final = 0.7
INTERRUPTED_GAP_S: Final = 0.2  # a shorter gap in which something sounded was a lost packet, or a fading tone
JOINED_GAP_S: Final = 0.35  # within a row of beeps
MOST_BEEPS: Final = 8
MOST_PITCHES: Final = 2
SAME_PITCH_RATIO: Final = 0.03
MELODY_S: Final = 2.5
NOTE_S: Final = 0.08
NOTE_DB: Final = 9.0  # between the notes of one melody; what is softer was in the background
CHIME_NOTES: Final = 3
CHIME_S: Final = 1.6
"""So many pitches that step from one to the next, with nothing before or after them, may ask for a message too."""

SPEECH_FRAMES: Final = 40  # of speech in between, and what was before is no part of a melody
SOFT_DB: Final = 15.0
"""A tone so far below the speaker's own peak sounds in the room of whoever speaks, unless that is a recording."""
WAIT_FRAMES: Final = 14  # for a further tone, which belongs to the row or makes it a melody
WAIT_PAGER_FRAMES: Final = 34  # for a pager's further beeps
WAIT_CHIME_FRAMES: Final = 60  # for the speech that a chime announces
WAIT_NOTES_FRAMES: Final = 40  # for more notes of a melody
WAIT_SOFT_FRAMES: Final = 75  # for the next beep of an oven, a lorry, an alarm
WAIT_SIT_FRAMES: Final = 20  # for the next segment of a SIT, whose beginning may be lost
WAIT_PLAN_FRAMES: Final = 60  # for the repeat of a call progress tone of that frequency
WAIT_RINGBACK_FRAMES: Final = 320  # the same where nobody spoke: the longest pause of a ringback is 5 s
WAIT_CNG_FRAMES: Final = 180

IN_CALL_TONES: Final = ((395.0, 455.0, 0.08, 0.65), (1379.0, 1421.0, 0.3, 0.6))
"""
Tones that networks and switches put into conversations: (Hz, Hz, seconds, seconds). Call waiting, of 400, 425, 440 or
450 Hz (ITU-T E.180 Supplement 2), and the warning that a call is recorded, 1400 Hz (47 CFR 64.501, as it was).
"""

DTMF_ROWS_HZ: Final = (697.0, 770.0, 852.0, 941.0)
DTMF_COLUMNS_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
DTMF_RATIO: Final = 0.02
DTMF_LONG_RATIO: Final = 0.0165
DTMF_LONG_S: Final = 0.15  # long enough for its frequencies to be measured without error


def is_dtmf(burst: Burst) -> bool:
    """Whether a burst is a key of a telephone (ITU-T Q.23: 1.5 %, and a little for the measurement)."""
    if burst.code != DUAL_TONE or len(burst.lines) < 2:
        return False
    low, high = sorted(line.hz for line in burst.lines[:2])
    ratio = DTMF_LONG_RATIO if burst.duration_s >= DTMF_LONG_S else DTMF_RATIO
    row = any(abs(low - hz) <= ratio * hz for hz in DTMF_ROWS_HZ)
    return row and any(abs(high - hz) <= ratio * hz for hz in DTMF_COLUMNS_HZ)


def is_in_call_tone(row: Sequence[Burst]) -> bool:
    """Whether a row of bursts is one that says nothing to the called party but something about the call."""
    return all(
        one.is_one_line
        and any(low <= one.hz <= high and least <= one.duration_s <= most for low, high, least, most in IN_CALL_TONES)
        for one in row
    )


def is_pure(burst: Burst) -> bool:
    """Whether a burst is one line and hardly anything beside it."""
    return burst.code == SINGLE_TONE and burst.line_share >= PURE_SHARE and burst.spread_hz <= PURE_SPREAD_HZ


def may_be_beep(burst: Burst) -> bool:
    """Whether a finished burst by itself is like a recording tone."""
    if not (BEEP_HZ[0] <= burst.hz <= BEEP_HZ[1] and BEEP_S[0] <= burst.duration_s <= BEEP_S[1]):
        return False
    if burst.fill < BEEP_FILL_RATIO or is_dtmf(burst):
        return False
    shares = [line.share for line in burst.lines]
    if burst.code in (SINGLE_TONE, DUAL_TONE) and (not shares or burst.line_share >= SINGLE_SHARE):
        alone = min(burst.rise_db, burst.fall_db) >= (PURE_ALONE_DB if is_pure(burst) else ALONE_DB)
        if burst.hz < VOICE_HZ and burst.duration_s < VOICE_S and not alone:
            return False
        clear = bool(shares) and shares[0] >= CLEAR_SHARE
        clear &= burst.hz >= VOICE_HZ or burst.duration_s >= CLEAR_S
        return burst.spread_hz <= (CLEAR_SPREAD_HZ if clear else BEEP_SPREAD_HZ)
    if burst.code not in (SINGLE_TONE, DUAL_TONE) or _pair_share(burst) < DUAL_SHARE:
        return False
    return burst.spread_hz <= DUAL_SPREAD_HZ and not _may_be_voice(burst)


def may_be_step(burst: Burst) -> bool:
    """Whether a finished burst may be one of the notes of a stepped recording tone, each too short to be one alone."""
    if burst.code != SINGLE_TONE or not BEEP_HZ[0] <= burst.hz <= VOICE_HZ:
        return False
    pure = burst.line_share >= PART_SHARE and burst.spread_hz <= CLEAR_SPREAD_HZ  # the step itself spoils a frame
    return pure and burst.fill >= BEEP_FILL_RATIO and BEEP_S[0] <= burst.duration_s <= BEEP_S[1]


def _pair_share(burst: Burst) -> float:
    """Share of the energy that the two strongest lines have, spread by codecs where vowels have no such lines."""
    pair = burst.lines[:2]
    if not pair or min(line.hz for line in pair) < VOICE_HZ:
        return sum(line.share for line in pair)
    return sum(line.share for line in burst.lines if any(abs(line.hz - one.hz) <= BROAD_LINE_HZ for one in pair))


def _may_be_voice(burst: Burst) -> bool:
    """Whether two lines may be neighbouring harmonics of a voice: unless they stand for long."""
    if burst.duration_s >= VOICE_PAIR_S or len(burst.lines) < 2:
        return False
    low, high = sorted(line.hz for line in burst.lines[:2])
    clean = _pair_share(burst) >= CLEAN_PAIR_SHARE and min(burst.rise_db, burst.fall_db) >= ALONE_DB
    if low < VOICE_HZ and burst.duration_s < LOW_PAIR_S and not clean:
        return True
    pitch_hz = high - low
    order = low / pitch_hz
    return pitch_hz < HIGHEST_PITCH_HZ and abs(order - round(order)) < 0.06


class BeepJudge:
    """Holds the row of bursts that may be a recording tone until nothing contradicts it any more."""

    def __init__(self) -> None:
        self._row: list[Burst] = []
        self._earlier: list[Burst] = []  # those before the row that no speech has parted from it
        self._steps = False  # some of them are but notes, which make a beep together or not at all
        self._soft = self._beside_person = False
        self._spoilt = False
        self._interrupted = False
        self._due = NEVER

    @property
    def pending(self) -> bool:
        """Whether bursts wait to be judged that are likely to be a recording tone: too early to say anything else."""
        lone_note = self._steps and len(self._row) == 1
        return bool(self._row) and not (self._spoilt or self._interrupted or lone_note or self._soft)

    @property
    def due_frame(self) -> int:
        """When the waiting bursts can be judged; NEVER when none wait."""
        return self._due

    def consider(self, burst: Burst, now: int, plan_tone: bool, spoke: bool, voice_dbfs: float, person: bool) -> None:
        """
        An announced burst of an answered call ended.

        Args:
            plan_tone: its frequencies are those of a tone of some network.
            spoke: speech was heard before it.
            voice_dbfs: the speaker's own peak.
            person: it is more likely that a person spoke than a recording.
        """
        gap_s = burst.begin_s - self._row[-1].finish_s if self._row else 0.0
        if self._interrupted and gap_s > INTERRUPTED_GAP_S:
            self._forget()
        self._interrupted = False
        if self._row and self._row[-1].begin_s == burst.begin_s:
            self._row.pop()  # the same burst, which lost packets had cut short
        if self._row and burst.begin_s - self._row[-1].finish_s > JOINED_GAP_S:
            self._forget()
        if not self._row:
            self._spoilt = self._interrupted = False
        joins = bool(self._row) and burst.begin_s - self._row[-1].finish_s <= STEP_GAP_S
        if self._steps and not joins:
            self._forget()
        fits = may_be_beep(burst)
        note = not fits and may_be_step(burst) and (joins if self._row else burst.rise_db >= STEP_DB)
        close = bool(self._row) and burst.begin_s - self._row[-1].finish_s <= HOLE_S
        goes_on = close and abs(burst.hz - self._row[-1].hz) <= SAME_PITCH_RATIO * burst.hz
        if not fits and not note and not self._row:
            self._earlier.append(burst)
            return
        self._steps |= note
        fits |= note or goes_on  # a lost packet cut it in two
        self._row.append(burst)
        self._soft = spoke and max(one.level_dbfs for one in self._row) < voice_dbfs - SOFT_DB
        self._beside_person = self._soft and person
        self._spoilt |= not fits or len(self._row) > MOST_BEEPS or self._is_melody()
        self._due = now + self._wait_frames(burst, plan_tone, spoke)

    def _is_melody(self) -> bool:
        """Whether the row has too many pitches for a recording tone, or goes on with what was heard before it."""
        begin_s = self._row[0].begin_s
        self._earlier = [one for one in self._earlier if begin_s - one.finish_s <= MELODY_S]
        before = [one for one in self._earlier if _is_note(one)]
        before = [one for one in before if abs(one.level_dbfs - self._row[0].level_dbfs) <= NOTE_DB]
        if self._soft and any(_same_pitch(one, self._row[0]) for one in before):
            return True
        alone = _pitches(self._row)
        if alone == CHIME_NOTES and len(self._row) == CHIME_NOTES and not (self._soft or before):
            return self._row[-1].finish_s - begin_s > CHIME_S or not self._stepped()
        return alone > MOST_PITCHES or (len(before) > 1 and _pitches([*before, *self._row]) > MOST_PITCHES)

    def _stepped(self) -> bool:
        return all(after.begin_s - one.finish_s <= STEP_GAP_S for one, after in pairwise(self._row))

    def _wait_frames(self, burst: Burst, plan_tone: bool, spoke: bool) -> int:
        several = len(self._row) > 1 or burst.parts > 1
        wait = WAIT_FRAMES if _pitches(self._row) <= MOST_PITCHES else WAIT_NOTES_FRAMES
        if not spoke:
            wait = WAIT_PAGER_FRAMES if several else WAIT_CHIME_FRAMES
        if plan_tone:
            wait = WAIT_PLAN_FRAMES if spoke else WAIT_RINGBACK_FRAMES
        elif carriers.may_be_cng(burst) and not spoke:
            wait = WAIT_CNG_FRAMES
        elif sit.may_be_segment(burst) and not spoke:
            wait = max(wait, WAIT_SIT_FRAMES)
        return max(wait, WAIT_SOFT_FRAMES) if self._soft else wait

    def speech_began(self) -> None:
        """Something sounds on after the tone: then it was a chime or a note, or rang somebody up. Nothing records."""
        self._interrupted = True

    def speech_ended(self, frames: int) -> None:
        """Somebody has spoken for so long."""
        if frames >= SPEECH_FRAMES:
            self._earlier = []

    def speech_was_tone(self) -> None:
        """It was but the next tone of the row."""
        self._interrupted = False

    def take(self) -> tuple[Burst, Burst] | None:
        """First and last burst of the row, now due, when it is a recording tone."""
        row, spoilt = self._row, self._spoilt or self._interrupted or self._beside_person
        if self._steps:
            alone = min(row[0].rise_db, row[-1].fall_db) >= STEP_DB
            spoilt |= not alone or len(row) < 2 or row[-1].finish_s - row[0].begin_s < VOICE_S
        while row and row[0].rise_db < (PURE_RISE_DB if is_pure(row[0]) and row[0].hz >= VOICE_HZ else RISE_DB):
            row = row[1:]
        self._forget()
        if not row or spoilt or max(one.fall_db for one in _fading(row)) < FALL_DB:
            return None
        return row[0], row[-1]

    def _forget(self) -> None:
        self._earlier += self._row
        self._row, self._due, self._interrupted, self._steps = [], NEVER, False, False


def _fading(row: list[Burst]) -> list[Burst]:
    """The last burst of a row, and those before it of which it is but the end that fades into the noise."""
    begin = len(row) - 1
    while (
        begin
        and _same_pitch(row[begin - 1], row[begin])
        and row[begin].level_dbfs <= row[begin - 1].level_dbfs - RISE_DB
    ):
        begin -= 1
    return row[begin:]


def _is_note(burst: Burst) -> bool:
    """Whether a burst may be a note of a melody; a vowel that passed for a tone is none."""
    pure = burst.line_share >= PART_SHARE and burst.spread_hz <= PURE_SPREAD_HZ
    return burst.code == SINGLE_TONE and pure and burst.duration_s >= NOTE_S


def _same_pitch(one: Burst, other: Burst) -> bool:
    return abs(one.hz - other.hz) <= SAME_PITCH_RATIO * other.hz


def _pitches(bursts: list[Burst]) -> int:
    """How many pitches there are among the bursts."""
    found: list[Burst] = []
    for burst in bursts:
        if not any(_same_pitch(burst, one) for one in found):
            found.append(burst)
    return len(found)
