"""The decision for one call: bursts and talk spurts in, findings out. Pure; time is frames of 20 ms since the start.

Theory of operation::

    early media     tones: RINGBACK (information), BUSY, REORDER, SIT_*, NU_TONE, FAX, MODEM (final)
                    information besides: CRBT (music), ANNOUNCEMENT (speech), NO_RINGBACK (nothing)
    connected       a greeting is a run of talk spurts with pauses shorter than the needed silence
      greeting, then silence ----------------> HUMAN ----+-- talks on, or beep --> MACHINE (revises)
      greeting longer than a person's -------> MACHINE   |-- fax tone ----------> FAX (revises)
      speech, then a beep -------------------> MACHINE, BEEP
      nothing at all ------------------------> SILENCE
      none of these within the time guard ---> TIMEGUARD --> revised as HUMAN is
    MACHINE         listens on for the BEEP (information), and some seconds for another one, after more speech
    bridged         after HUMAN or TIMEGUARD: for some seconds more, but then only tones tell

A tone outranks the voice: bursts are never part of a greeting. Sequential by design: the cheap, frequent case (a short
"hello") is decided first; what it gets wrong ("Hello ... you have reached") is put right by listening on.

Three judges are asked: `progress` for network and device tones, `beep` for the recording tone, `greeting` for speech.
The listener holds the standing verdict, decides what may still be said, and schedules itself.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import QUIET_DBFS, Spurt
from telephony.cpa.beep import SOFT_DB, BeepJudge, is_in_call_tone
from telephony.cpa.bursts import FRAME_S, Burst
from telephony.cpa.earlymedia import Sound
from telephony.cpa.finding import FINAL_TONES, INFORMATION, NEVER, REVISABLE, Finding, Judgement
from telephony.cpa.greeting import GreetingJudge
from telephony.cpa.history import Samples
from telephony.cpa.progress import ToneJudge

__all__ = ["FINAL_TONES", "INFORMATION", "NEVER", "REVISABLE", "Finding", "Listener"]

NO_RINGBACK_S: Final = 6.0
NO_RINGBACK_MARGIN_S: Final = 1.0
"""Early media in which nothing was heard for so long, and for longer than any tone of the plan pauses."""

AFTER_BEEP_FRAMES: Final = 200
"""4 s: a machine that goes on talking after what was no recording tone, or not the last one, does so soon."""

LONGEST_AFTER_BEEP_FRAMES: Final = 1000
"""20 s after the first one the analysis ends in any case."""

MESSAGE_FRAMES: Final = 250
MESSAGE_TALK_FRAMES: Final = 100
MESSAGE_PROBABILITY: Final = 0.7
SURE_MESSAGE_PROBABILITY: Final = 0.9
"""
With an agent on the line a tone ends a message only where it follows one: talk that is likelier a recording's than a
person's and never paused for long enough to hear an agent out, or 2 s of talk within 5 s that are rather a recording's,
or surely so. Who says "one moment" and puts the agent through, or on hold, has listened first; what sounds then is a
ringback, or the tone of a line on hold. A beep amid what a person says without a pause is a call that waits, a phone, a
lift: a machine that is not noticed costs the agent a moment, a conversation cut off is lost.
"""

HEARS_OUT_FRAMES: Final = 100
"""2 s of silence: somebody listens to what an agent says."""

MOST_SPURTS: Final = 32

BETWEEN_BEEPS_FRAMES: Final = 20
"""0.4 s of speech between two recording tones: less, and they are one if their pitch is the same."""

SAME_TONE_RATIO: Final = 0.04

SURE_OF_CHANGE: Final = 2.5
SOUND_FRAMES: Final = 9
"""So long a sound in early media is none of the tones, which show themselves within 100 ms."""

LIKELIER: Final = 0.5
BETWEEN_NOTES_FRAMES: Final = 20
"""0.4 s after a tone it is silent: until then another note of a music may come, and music is no silence."""

MUSIC_S: Final = 4.0
MUSIC_PAUSES_RATIO: Final = 0.03
MUSIC_JUMPS_DB: Final = 2.0
"""Music for so long, with next to no pause and no words in it, is not what a person has in the background."""

LOOK_AGAIN_FRAMES: Final = 5  # while music holds a verdict back

SPOKE: Final = "spoke"
"""Evidence of the time guard's verdict: 0.0 when tones were heard and no voice, else 1.0."""

VOWEL_FRAMES: Final = 50
"""1 s of tones in all: less may be the vowel of a short word after all."""

HIGHEST_SUNG_HZ: Final = 900.0
SUNG_SPREAD_HZ: Final = 4.0
SUNG_SHARE: Final = 0.85
"""A burst that wanders so far and has so little of its energy in one line came from a throat."""


class Listener:
    """
    Hears one call. Feed it bursts and spurts as they begin and end, and call `evaluate` at `due_frame` or later.

    ``done`` is True when nothing more can come: final tones, SILENCE, or the beep of a machine and then only silence.
    ``answer_known`` False: nobody knows when the call was answered, so the time guard runs from the end of the ringing.
    ``plays_on`` tells whether music goes on at the level of what was taken for speech.
    Raises ValueError for an unknown tone plan.
    """

    def __init__(
        self,
        settings: AnalysisSettings,
        connected: bool,
        answer_known: bool = True,
        plays_on: Callable[[], bool] = lambda: False,
    ) -> None:
        self._answer_known = answer_known
        self._plays_on = plays_on
        self._held_back = False  # a verdict for a person, by music
        self._settings = settings
        self.tones = ToneJudge(settings)
        self.beep = BeepJudge()
        self.greeting = GreetingJudge(settings)
        self.connected = connected
        self.verdict: VerdictKind | None = None
        self.done = False
        self.due_frame = NEVER
        self._origin = 0
        self._voice_dbfs = QUIET_DBFS
        self._note_frame = -BETWEEN_NOTES_FRAMES  # end of the latest tone that is not far below the voice
        self._tone_heard = False
        self._toned_frames = 0
        self._sound_heard = False  # in early media, beside tones
        self._sound_start = NEVER
        self._told: set[VerdictKind] = set()  # of early media
        self._talking = False
        self._guard = NEVER
        self._first_beep_frame = NEVER
        self._beeped_frame = NEVER  # when the latest recording tone was told
        self._beeped_hz = 0.0
        self._talked_frame = NEVER  # when somebody was last heard after it
        self._talked_frames = 0
        self._until = NEVER  # an agent talks with them: the analysis ends then
        self._spurts: deque[Spurt] = deque(maxlen=MOST_SPURTS)
        if connected:
            self.connect(0, settings)
        else:
            self._schedule(0)

    # --- events -------------------------------------------------------------------------------------------------

    def connect(self, frame: int, settings: AnalysisSettings) -> None:
        """The call was answered at this frame: voice counts from here. Tones heard before keep counting."""
        self._settings = settings
        self.tones.connect(settings)
        self.greeting.connect(frame, settings)
        self.connected = True
        self._origin = frame
        self._tone_heard = False  # the ringback before does not make a silent line less silent
        self._start_guard(frame)
        self._schedule(frame)

    def _start_guard(self, frame: int) -> None:
        self._guard = frame + max(1, self._settings.timeguard_ms // 20)

    def _rings(self, now: int) -> None:
        """It rings, or has rung until now."""
        if self.tones.rang and self.connected and not (self._answer_known or self.greeting.spoke):
            self._start_guard(now)

    def bridged(self, frame: int) -> bool:
        """An agent talks with them from this frame on. True: it listens on; False: there is nothing left to say."""
        if self.done or self.verdict not in REVISABLE or self._settings.after_bridge_ms <= 0:
            return False
        self._until = frame + max(1, self._settings.after_bridge_ms // 20)
        self.greeting.bridged()
        self._schedule(frame)
        return True

    def speech_began(self, start: int, now: int) -> list[Finding]:
        """A talk spurt began at frame ``start``."""
        if not self.connected:
            self._sound_start = start
            self._schedule(now)
            return []
        self._talking = True
        self.greeting.speech_began(start)
        self.beep.speech_began()
        return self.evaluate(now)

    def speech_ended(self, spurt: Spurt, now: int) -> list[Finding]:
        """A talk spurt ended."""
        if not self.connected:
            self._sound_start = NEVER
            return []
        self._talking = False
        self._spurts.append(spurt)
        if self._beeped_frame != NEVER:
            self._talked_frame = now
            self._talked_frames += spurt.end - spurt.start
        self.greeting.speech_ended(spurt)
        self.beep.speech_ended(spurt.end - spurt.start)
        return self.evaluate(now)

    def speech_was_tone(self) -> None:
        """The spurt under way turned out to be the beginning of a tone."""
        self._sound_start = NEVER
        self._talking = False
        self.beep.speech_was_tone()
        self.greeting.speech_was_tone()

    @property
    def wants_voice(self) -> bool:
        """Whether it still matters how likely a machine is."""
        undecided = self.verdict is None or self.verdict in REVISABLE
        return self.connected and self._settings.detect_machine and undecided and not self.done

    def voice_judged(self, machine_probability: float) -> bool:
        """The model's opinion on the greeting so far; True when it is strong enough to `evaluate` at once."""
        return self.greeting.voice_judged(machine_probability, self.verdict)

    @property
    def wants_sound(self) -> bool:
        """Whether it matters what sounds: nobody is found yet, and it is no tone as the networks have."""
        tone = self.tones.sounding
        settings = self._settings
        wanted = self._undecided and settings.detect_machine if self.connected else settings.detect_tones
        return wanted and (tone is None or not self.tones.is_like_network(tone))

    def sound_judged(self, sound: Sound) -> list[Finding]:
        """Music or speech was heard; in early media either is said once."""
        if self.connected:
            return self._music_found(sound)
        kind, cause = VerdictKind.CRBT, "music before the answer"
        if sound.score < 0.0:
            kind, cause = VerdictKind.ANNOUNCEMENT, "speech before the answer"
        # The other one may follow: but then it is beyond doubt, for a song has its quieter moments.
        changed = bool(self._told - {VerdictKind.NO_RINGBACK})
        unsure = changed and not (sound.goes_on and abs(sound.score) >= SURE_OF_CHANGE)
        if self.done or kind in self._told or unsure:
            return []
        self._told.add(kind)
        return [Finding(kind, cause, False, evidence=_sound_evidence(sound))]

    def _music_found(self, sound: Sound) -> list[Finding]:
        """Nobody who answers plays music for seconds: queues, menus and mailboxes do."""
        unbroken = sound.pauses_ratio <= MUSIC_PAUSES_RATIO and sound.jumps_db <= MUSIC_JUMPS_DB
        music = sound.score > 0.0 and sound.heard_s >= MUSIC_S and unbroken and not self.tones.rang
        if not (self._undecided and music and self._plays_on()):
            return []
        judgement = Judgement(VerdictKind.MACHINE, "music after the answer", _sound_evidence(sound))
        found = [self._speech_finding(judgement)]
        self._schedule(self._origin)
        return found

    @property
    def _undecided(self) -> bool:
        return self.verdict is None and not self.done

    def burst_began(self, burst: Burst, now: int) -> list[Finding]:
        """A burst has lasted long enough to be one."""
        self._tone_heard = True
        found = self._tone_found(self.tones.burst_began(burst, self.greeting.spoke))
        if self.tones.is_like_network(burst):
            self._rings(now)
        return found + self.evaluate(now)

    def burst_ended(self, burst: Burst, now: int, voice_dbfs: float = QUIET_DBFS) -> list[Finding]:
        """An announced burst ended; ``voice_dbfs`` is the peak of who spoke."""
        burst = self.tones.whole(burst)
        self._toned_frames += burst.end - burst.start
        found = self._tone_found(self.tones.burst_ended(burst, now))
        if self.tones.is_like_network(burst):
            self._rings(now)
        # What sounded already at the answer is the end of the network's ringback.
        tail_of_early_media = burst.start <= self._origin + 1
        if self.connected and self._settings.detect_machine and not self.done and not tail_of_early_media:
            person = (self.greeting.machine_probability or 0.0) < LIKELIER and self.verdict is not VerdictKind.MACHINE
            self._voice_dbfs = max(self._voice_dbfs, voice_dbfs)
            network = self.tones.is_plan_tone(burst) or (
                self.tones.is_like_network(burst) and not (burst.is_one_line and self.greeting.spoke)
            )
            self.beep.consider(burst, now, network, self.greeting.spoke, self._voice_dbfs, person)
            sung = _is_sung(burst) and not self.tones.is_plan_tone(burst)  # others hold their pitch better
            if not sung and burst.level_dbfs > self._voice_dbfs - SOFT_DB:
                self._note_frame = now
            if not self.beep.pending and sung:
                self.greeting.speech_began(burst.start)
                self.greeting.speech_ended(Spurt(burst.start, burst.end, burst.end))
        return found + self.evaluate(now)

    def evaluate(self, now: int, sounding: Burst | None = None, samples: Samples | None = None) -> list[Finding]:
        """
        Judge everything that depends on time passing.

        ``sounding`` is the running burst with its present end, ``samples`` its latest audio.
        """
        if self.done:
            return []
        if self._beeped_frame != NEVER:
            return self._judge_after_beep(now)
        if now >= self._until and self.tones.sounding is None and not self.beep.pending:
            self.done, self.due_frame = True, NEVER
            return []
        if found := self._tone_found(self._tone_judged(now, sounding, samples)):
            return found
        if now >= self.beep.due_frame and self.tones.sounding is None and (found := self._beep_found(now)):
            return found
        found = self._judge_speech(now) if self.connected else self._judge_nothing(now)
        self._schedule(now)
        return found

    def _tone_judged(self, now: int, sounding: Burst | None, samples: Samples | None) -> Judgement | None:
        if self.tones.sounding is None:
            return self.tones.silence_goes_on(now, not self.connected, self.greeting.spoke, self.greeting.only_word)
        if sounding is None or samples is None:
            return None
        return self.tones.burst_goes_on(sounding, samples)

    # --- verdicts -----------------------------------------------------------------------------------------------

    def _tone_found(self, judgement: Judgement | None) -> list[Finding]:
        """A tone that ends the analysis or informs. Over a person or machine only a fax or modem wins."""
        if judgement is None or not self._settings.detect_tones or self._beeped_frame != NEVER:
            return []
        if judgement.kind in INFORMATION:
            return [Finding(judgement.kind, judgement.cause, self.connected, evidence=judgement.evidence)]
        if self.verdict is not None and judgement.kind not in (VerdictKind.FAX, VerdictKind.MODEM):
            return []  # busy after a greeting: they hung up; the signalling says so
        found = self._speech_finding(judgement)
        self.done, self.due_frame = True, NEVER
        return [found]

    def _speech_finding(self, judgement: Judgement) -> Finding:
        revises = self.verdict is not None
        self.verdict = judgement.kind
        end = self.greeting.speech_end_frame
        return Finding(judgement.kind, judgement.cause, self.connected, end, revises, judgement.evidence)

    def _judge_after_beep(self, now: int) -> list[Finding]:
        """A machine has beeped: another recording tone may follow, above all when it talks on; nothing else may."""
        if now >= self.beep.due_frame and self.tones.sounding is None and (found := self._beep_found(now)):
            return found
        until = self._longest() if self._talking else self._listens_until()
        if now >= until and not self.beep.pending:
            self.done = True
        self._schedule(now)
        return []

    def _listens_until(self) -> int:
        heard = self._beeped_frame if self._talked_frame == NEVER else self._talked_frame
        return min(heard + AFTER_BEEP_FRAMES, self._longest())

    def _longest(self) -> int:
        return self._first_beep_frame + LONGEST_AFTER_BEEP_FRAMES

    def _beep_found(self, now: int) -> list[Finding]:
        row = self.beep.take()
        if row is not None and self.tones.rang and self.tones.is_plan_tone(row[-1]) and not self.greeting.spoke:
            row = None  # the ringback, which stopped
        if self._talking:
            row = None  # a note
        if row is not None and self._until != NEVER and self.verdict in REVISABLE and not self._ends_message(row):
            row = None
        if row is not None and self._beeped_frame != NEVER and self._talked_frames < BETWEEN_BEEPS_FRAMES:
            same = abs(row[0].hz - self._beeped_hz) <= SAME_TONE_RATIO * self._beeped_hz
            row = None if same else row  # another tone than that before: that was a chime
        if self.verdict is None and (found := self._tone_found(self.tones.partial_sit())):
            return found
        if row is None:
            return []
        first, last = row
        evidence = {
            "hz": first.lines[0].hz if first.lines else first.hz,
            "beep_s": last.finish_s - first.begin_s,
            "beep_at_s": first.begin_s,
            "beep_end_s": last.finish_s,
        }
        found = []
        if self.verdict is not VerdictKind.MACHINE:
            found.append(self._speech_finding(Judgement(VerdictKind.MACHINE, "beep", evidence)))
        end = self.greeting.speech_end_frame
        again = self._beeped_frame != NEVER
        cause = "another recording tone" if again else "recording tone"
        found.append(Finding(VerdictKind.BEEP, cause, True, end, evidence=evidence))
        self._beeped_frame, self._talked_frame, self._talked_frames = now, NEVER, 0
        self._beeped_hz, self._first_beep_frame = last.hz, min(self._first_beep_frame, now)
        self._schedule(now)
        return found

    def _ends_message(self, row: Sequence[Burst]) -> bool:
        """Whether a tone that an agent hears stands at the end of a recording's message."""
        if any(self.tones.is_plan_tone(burst) for burst in row):
            return False
        likely, end = self.greeting.machine_probability or 0.0, row[0].start
        if is_in_call_tone(row):
            return likely >= SURE_MESSAGE_PROBABILITY
        begins = [*(spurt.start for spurt in self._spurts), end][1:]
        pauses = [begin - spurt.end for spurt, begin in zip(self._spurts, begins, strict=True)]
        unpaused = bool(pauses) and max(pauses) < HEARS_OUT_FRAMES
        if likely >= SURE_MESSAGE_PROBABILITY or (unpaused and likely >= LIKELIER):
            return True
        talked = sum(max(0, min(one.end, end) - max(one.start, end - MESSAGE_FRAMES)) for one in self._spurts)
        return likely >= MESSAGE_PROBABILITY and talked >= MESSAGE_TALK_FRAMES

    def _judge_nothing(self, now: int) -> list[Finding]:
        """Early media without a sound: the network does not ring, or says nothing of it."""
        if now >= self._sound_start + SOUND_FRAMES:
            self._sound_heard = True
        quiet = self._settings.detect_tones and not (self._tone_heard or self._sound_heard or self._told)
        if not quiet or now < self._silent_until():
            return []
        self._told.add(VerdictKind.NO_RINGBACK)
        evidence = {"waited_s": now * FRAME_S}
        return [Finding(VerdictKind.NO_RINGBACK, "nothing heard before the answer", False, evidence=evidence)]

    def _silent_until(self) -> int:
        return round(max(NO_RINGBACK_S, self.tones.plan.longest_pause_s + NO_RINGBACK_MARGIN_S) / FRAME_S)

    def _judge_speech(self, now: int) -> list[Finding]:
        tone = self.tones.sounding is not None or self.beep.pending or now < self._note_frame + BETWEEN_NOTES_FRAMES
        self._held_back = False
        judgement = self.greeting.judge(now, self.verdict, tone, self._holds_back)
        if judgement is not None:
            return [self._speech_finding(judgement)]
        return self._judge_clock(now) if self.verdict is None else []

    def _holds_back(self) -> bool:
        self._held_back = self._plays_on()
        return self._held_back

    def _judge_clock(self, now: int) -> list[Finding]:
        evidence = {"waited_s": (now - self._origin) * FRAME_S}
        if self._is_silent() and now >= self._origin + self._settings.initial_silence_ms // 20:
            if (word := self.greeting.judge_silence()) is not None:
                return [self._speech_finding(word)]
            self.verdict, self.done, self.due_frame = VerdictKind.SILENCE, True, NEVER
            return [Finding(VerdictKind.SILENCE, "nothing heard", True, -1, evidence=evidence)]
        if now >= self._guard:
            self.verdict = VerdictKind.TIMEGUARD
            end = self.greeting.provisional_end_frame
            # A person by rule; whoever only measures recordings may want to know that nobody was heard.
            evidence[SPOKE] = float(self.greeting.heard_any or self.greeting.spoke or self._toned(now) < VOWEL_FRAMES)
            return [Finding(VerdictKind.TIMEGUARD, "no decision in time", True, end, evidence=evidence)]
        return []

    def _toned(self, now: int) -> int:
        """Frames of tones since the beginning."""
        sounding = self.tones.sounding
        return self._toned_frames + (now - sounding.start if sounding is not None else 0)

    def _is_silent(self) -> bool:
        return not (self._tone_heard or self.greeting.heard_any or self.greeting.spoke)

    # --- timer --------------------------------------------------------------------------------------------------

    def _schedule(self, now: int) -> None:
        """Set `due_frame` to the next frame at which `evaluate` could say something new."""
        if self.done:
            self.due_frame = NEVER
            return
        if self._beeped_frame != NEVER:
            until = self._longest() if self._talking else self._listens_until()
            self.due_frame = max(min(self.beep.due_frame, until), now + 1)
            return
        due = min(self.beep.due_frame, self.tones.due_frame(now, not self.connected), self._until)
        if not self.connected and not (self._tone_heard or self._sound_heard or self._told):
            due = min(due, self._silent_until())
        if not self.connected and not self._sound_heard:
            due = min(due, self._sound_start + SOUND_FRAMES)
        if self.connected:
            due = min(due, self.greeting.due_frame(self.verdict, now))
            if now < self._note_frame + BETWEEN_NOTES_FRAMES:
                due = min(due, self._note_frame + BETWEEN_NOTES_FRAMES)
            if self._held_back and self.verdict is None:
                due = min(due, now + LOOK_AGAIN_FRAMES)
            if self.verdict is None:
                due = min(due, self._guard)
                if self._is_silent():
                    due = min(due, self._origin + self._settings.initial_silence_ms // 20)
        self.due_frame = max(due, now + 1)


def _sound_evidence(sound: Sound) -> dict[str, float]:
    return {
        "score": sound.score,
        "likeness": sound.likeness,
        "held_ratio": sound.held_ratio,
        "pauses_ratio": sound.pauses_ratio,
        "jumps_db": sound.jumps_db,
        "heard_s": sound.heard_s,
    }


def _is_sung(burst: Burst) -> bool:
    """Whether a burst that is no tone of anybody's was a drawn-out vowel: it glides, and has more than one line."""
    strongest = max((line.share for line in burst.lines), default=1.0)
    return burst.hz <= HIGHEST_SUNG_HZ and burst.spread_hz > SUNG_SPREAD_HZ and strongest < SUNG_SHARE
