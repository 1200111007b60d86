"""The judge of a greeting: talk spurts and the model's opinion in, person or machine out. Pure; time is 20 ms frames.

Theory of operation. What a mistake costs is not the same for all: a person taken for a machine is hung up on; a person
who waits in silence hangs up, and the legal clock runs; a machine taken for a person costs an agent some seconds, and
speech that goes on puts it right. So the judge speaks in stages, the cheap ones first::

    P(machine) >= machine_probability, any time --------------------> MACHINE
    silence of sure_silence      and P(machine) < sure_probability --> HUMAN
    silence of human_silence     and P(machine) < human_probability -> HUMAN
                                 and >= undecided_probability -------> MACHINE
    silence of undecided_silence ------------------------------------> HUMAN
    after HUMAN: more speech, soon, and P(machine) >= revise_probability -> MACHINE (revises)
    a word too short for all this, and then nothing ----------------> HUMAN, where SILENCE would be said

The probability (`telephony.cpa.forest`) is told every 100 ms while somebody talks and in the pauses after. Without one
(machines are not to be told apart) speech and then silence is a person, and so is speech that does not end.
"""

from collections.abc import Callable
from typing import Final

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import Spurt
from telephony.cpa.bursts import FRAME_S
from telephony.cpa.finding import NEVER, REVISABLE, Judgement

MIN_SPEECH_FRAMES: Final = 6  # 120 ms: a shorter sound is a click or a breath; "hi" is voiced for 200 ms
MIN_WORD_FRAMES: Final = 4
"""80 ms: "si?" on a line that cuts its consonants. If nothing follows, nobody but a person said it."""

MIN_MACHINE_FRAMES: Final = 30
"""0.6 s of talk before a machine may be found by its voice: who says less may be anybody."""

MIN_REVISION_FRAMES: Final = 50
"""1 s of it after a verdict for a person: "hello? hello?" again is no recording."""

LONG_SPEECH_FRAMES: Final = 175
"""3.5 s of it since the answer, in however many sentences, and less doubt is enough (`LONG_SPEECH_DOUBT_RATIO`): a
person who hears nobody asks once or twice."""

LONG_SPEECH_DOUBT_RATIO: Final = 6.0  # 0.98 becomes 0.88

LATER_SPEECH_FRAMES: Final = 200
LATER_SPEECH_DOUBT_RATIO: Final = 25.0
"""4 s of it after the verdict, and a machine needs only be likelier than not (0.98 becomes 0.5): who reads slowly,
phrase by phrase, is hard to tell from a person who asks again, but nobody asks so long."""

RESUME_FRAMES: Final = 100
"""A recording that pauses goes on within 2 s; who speaks again later asks whether anybody is there."""

LONG_TALK_FRAMES: Final = 130
"""2.6 s of speech: where machines are not told apart, a person is there without waiting for the end."""


class GreetingJudge:
    """
    Hears the talk spurts of one answered call; asked by the listener what it makes of them.

    Tones are not its business: the listener tells it when a spurt was the beginning of one, and holds back a verdict
    for a person while a tone sounds or waits to be judged (``tone`` of `judge`).
    """

    def __init__(self, settings: AnalysisSettings) -> None:
        self._settings = settings
        self._origin = 0
        self._talk_start: int | None = None
        self._talk_end = -1
        self._tail_end: float = -1
        self._talking_since: int | None = None
        self._voiced = 0
        self._spoken = 0  # frames of speech that were dealt with
        self._spoken_before = 0  # of them, until somebody was taken for a person
        self._p_machine: float | None = None
        self._bridged = False
        self._word_end: float = -1
        self.speech_end_frame: float = -1
        """End of the last greeting that counted; -1 when there was none."""

    @property
    def heard_any(self) -> bool:
        """Whether anything like speech was heard since the last greeting that was dealt with."""
        return self._talk_start is not None

    @property
    def spoke(self) -> bool:
        """Whether there was enough speech since the answer to be somebody's."""
        return self.speech_end_frame >= 0 or self._voiced >= MIN_SPEECH_FRAMES

    @property
    def only_word(self) -> tuple[int, int] | None:
        """First frame and frame after the last of what was said, where that is over and nothing was before it."""
        if self._talk_start is None or self._talking_since is not None or self.speech_end_frame >= 0:
            return None
        return self._talk_start, self._talk_end

    @property
    def provisional_end_frame(self) -> float:
        """End of the speech so far, for a verdict that does not wait for its end; -1 when there was none."""
        return self._tail_end if self._voiced else -1

    @property
    def machine_probability(self) -> float | None:
        """The model's latest opinion, None before it had one."""
        return self._p_machine

    def connect(self, frame: int, settings: AnalysisSettings) -> None:
        """The call was answered at this frame: voice counts from here."""
        self._settings = settings
        self._origin = frame
        self._p_machine = None
        self._word_end = -1
        self._forget()
        self._spoken, self._spoken_before = 0, 0

    def bridged(self) -> None:
        """An agent talks with who was taken for a person: what is said now may be an answer, and tells nothing more."""
        self._bridged = True

    def speech_began(self, start: int) -> None:
        """A talk spurt began at frame ``start``."""
        start = max(start, self._origin)
        if self._talk_start is None:
            self._talk_start = start
        self._talking_since = start

    def speech_ended(self, spurt: Spurt) -> None:
        """A talk spurt ended."""
        if self._talking_since is None:
            return
        self._voiced += max(0, spurt.end - self._talking_since)
        self._talking_since = None
        self._talk_end = spurt.end
        self._tail_end = max(spurt.end, spurt.tail_end)

    @property
    def wants_tail(self) -> bool:
        """Whether speech has ended of which a verdict may yet tell the end."""
        return self._talk_start is not None and self._talking_since is None

    def tail_heard(self, end: float) -> None:
        """The last sound before the present pause died away at this frame."""
        if self.wants_tail:
            self._tail_end = end

    def speech_was_tone(self) -> None:
        """The spurt under way turned out to be the beginning of a tone."""
        self._talking_since = None
        if self._voiced == 0:
            self._talk_start = None

    def voice_judged(self, machine_probability: float, verdict: VerdictKind | None) -> bool:
        """The model's opinion on everything heard since the answer; True when it may decide at once."""
        self._p_machine = machine_probability
        if self._talk_start is None or self._bridged:
            return False
        if self._talking_since is None:
            return True
        settings = self._settings
        return machine_probability >= (
            settings.machine_probability if verdict is None else self._revise_limit(self._voiced)
        )

    def judge(
        self, now: int, verdict: VerdictKind | None, tone: bool, plays_on: Callable[[], bool] = lambda: False
    ) -> Judgement | None:
        """
        Judge everything heard until frame ``now``.

        ``verdict`` is the standing one (HUMAN or TIMEGUARD may be revised); ``tone``: a tone sounds, or one may yet
        turn out to be a beep, so that it is too early to say HUMAN. ``plays_on`` is asked before that is said: whether
        music goes on where silence was expected.
        """
        if self._talk_start is None:
            return None
        talking = self._talking_since is not None
        voiced = self._voiced + (now - self._talking_since if self._talking_since is not None else 0)
        quiet = 0 if talking else now - self._talk_end
        if voiced < MIN_SPEECH_FRAMES:
            if quiet >= _frames(self._settings.human_silence_ms):
                if voiced >= MIN_WORD_FRAMES:
                    self._word_end = self._tail_end
                self._forget()
            return None
        judgement = self._judge_voice(voiced, quiet, tone) if verdict is None else None
        if judgement is not None and judgement.kind is VerdictKind.HUMAN and plays_on():
            return None
        if verdict in REVISABLE:
            judgement = self._judge_again(voiced)
        if judgement is None:
            if verdict is not None and quiet >= _frames(self._settings.undecided_silence_ms):
                self.speech_end_frame = self._tail_end
                self._forget()
            return None
        length = (now if talking else self._talk_end) - self._talk_start
        evidence = {"greeting_s": length * FRAME_S, "voiced_s": voiced * FRAME_S, "silence_s": quiet * FRAME_S}
        if self._p_machine is not None:
            evidence["p_machine"] = self._p_machine
        if quiet:
            self.speech_end_frame = self._tail_end
            self._forget()
            self._spoken_before = self._spoken
        elif judgement.kind is VerdictKind.HUMAN:
            self.speech_end_frame = now
        return Judgement(judgement.kind, judgement.cause, evidence)

    def judge_silence(self) -> Judgement | None:
        """Nobody has said enough in all the time there was: a person if there was a word, else None."""
        if self._word_end < 0:
            return None
        self.speech_end_frame = self._word_end
        return Judgement(VerdictKind.HUMAN, "a short word, then silence")

    def due_frame(self, verdict: VerdictKind | None, now: int) -> int:
        """The next frame after ``now`` at which `judge` could say something new without a new spurt or opinion."""
        if self._talk_start is None:
            return NEVER
        settings = self._settings
        if self._talking_since is None:
            waits = (settings.sure_silence_ms, settings.human_silence_ms, settings.undecided_silence_ms)
            return min((due for wait in waits if (due := self._talk_end + _frames(wait)) > now), default=NEVER)
        if settings.detect_machine or verdict is not None:
            return NEVER
        return self._talk_start + LONG_TALK_FRAMES

    def _judge_voice(self, voiced: int, quiet: int, tone: bool) -> Judgement | None:
        settings, p = self._settings, self._p_machine
        if not settings.detect_machine or p is None:
            if not tone and quiet >= _frames(settings.human_silence_ms):
                return Judgement(VerdictKind.HUMAN, "greeting, then silence")
            if not settings.detect_machine and voiced >= LONG_TALK_FRAMES:
                return Judgement(VerdictKind.HUMAN, "speech; machines are not told apart")
            return None
        if p >= settings.machine_probability and voiced >= MIN_MACHINE_FRAMES:
            return Judgement(VerdictKind.MACHINE, "greeting of a recording")
        if tone:
            return None
        if quiet >= _frames(settings.sure_silence_ms) and p < settings.sure_probability:
            return Judgement(VerdictKind.HUMAN, "short greeting, then silence")
        if quiet >= _frames(settings.human_silence_ms):
            if p < settings.human_probability:
                return Judgement(VerdictKind.HUMAN, "greeting, then silence")
            if p >= settings.undecided_probability:
                return Judgement(VerdictKind.MACHINE, "rather a recording, after a silence")
        if quiet >= _frames(settings.undecided_silence_ms):
            return Judgement(VerdictKind.HUMAN, "rather a person, after a long silence")
        return None

    def _revise_limit(self, voiced: int) -> float:
        limit = self._settings.revise_probability
        if self._spoken + voiced >= self._spoken_before + LATER_SPEECH_FRAMES:
            return 1.0 - LATER_SPEECH_DOUBT_RATIO * (1.0 - limit)
        if self._spoken + voiced >= LONG_SPEECH_FRAMES:
            return 1.0 - LONG_SPEECH_DOUBT_RATIO * (1.0 - limit)
        return limit

    def _judge_again(self, voiced: int) -> Judgement | None:
        p = self._p_machine
        if not self._settings.detect_machine or p is None or self._talk_start is None or self._bridged:
            return None
        if 0 <= self.speech_end_frame < self._talk_start - RESUME_FRAMES:
            return None
        if p >= self._revise_limit(voiced) and voiced >= MIN_REVISION_FRAMES:
            return Judgement(VerdictKind.MACHINE, "talks on")
        return None

    def _forget(self) -> None:
        self._spoken += self._voiced
        self._talk_start, self._talking_since, self._voiced = None, None, 0


def _frames(duration_ms: int) -> int:
    return max(1, duration_ms // 20)
