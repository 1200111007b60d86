"""The judge of a greeting: talk spurts in, person or machine out. Pure; time is frames of 20 ms since the start."""

from typing import Final

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import Spurt
from telephony.cpa.bursts import FRAME_S
from telephony.cpa.finding import NEVER, REVISABLE, Judgement

MACHINE_GREETING_FRAMES: Final = 130
"""2.6 s of talk without the pause of somebody who waits for an answer: a recording."""

MACHINE_AFTER_HUMAN_FRAMES: Final = 100
"""A person who hears nothing says "hello?" again; one who talks on for 2 s is a recording."""

LONG_GREETING_FRAMES: Final = 75
"""Greetings longer than 1.5 s need more silence, because recordings pause between sentences: 0.2 s more per second."""

EXTRA_SILENCE_RATIO: Final = 0.2
MIN_SPEECH_FRAMES: Final = 7  # 140 ms: a shorter sound is a click or a breath; "hi" is voiced for 200 ms


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
        self._talking_since: int | None = None
        self._voiced = 0
        self.speech_end_frame = -1
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
    def provisional_end_frame(self) -> int:
        """End of the speech so far, for a verdict that does not wait for its end; -1 when there was none."""
        return self._talk_end if self._voiced else -1

    def connect(self, frame: int, settings: AnalysisSettings) -> None:
        """The call was answered at this frame: voice counts from here."""
        self._settings = settings
        self._origin = frame
        self._forget()

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

    def speech_was_tone(self) -> None:
        """The spurt under way turned out to be the beginning of a tone."""
        self._talking_since = None
        if self._voiced == 0:
            self._talk_start = None

    def judge(self, now: int, verdict: VerdictKind | None, tone: bool) -> Judgement | None:
        """
        Judge everything heard until frame ``now``.

        ``verdict`` is the standing one (HUMAN or TIMEGUARD may be revised); ``tone``: a tone sounds, or one may yet
        turn out to be a beep, so that it is too early to say HUMAN.
        """
        if self._talk_start is None:
            return None
        talking = self._talking_since is not None
        length = (now if talking else self._talk_end) - self._talk_start
        voiced = self._voiced + (now - self._talking_since if self._talking_since is not None else 0)
        quiet = 0 if talking else now - self._talk_end
        if voiced >= MIN_SPEECH_FRAMES:
            return self._judge_greeting(verdict, tone, length, voiced, quiet)
        if not talking and quiet >= self._needed_silence(length):
            self._forget()
        return None

    def due_frame(self, verdict: VerdictKind | None) -> int:
        """The next frame at which `judge` could say something new without a new spurt."""
        if self._talk_start is None:
            return NEVER
        if self._talking_since is None:
            return self._talk_end + self._needed_silence(self._talk_end - self._talk_start)
        if verdict is VerdictKind.MACHINE:
            return NEVER
        return self._talk_start + (MACHINE_GREETING_FRAMES if verdict is None else MACHINE_AFTER_HUMAN_FRAMES)

    def _needed_silence(self, greeting_frames: int) -> int:
        base = max(1, self._settings.human_silence_ms // 20)
        return base + int(EXTRA_SILENCE_RATIO * max(0, greeting_frames - LONG_GREETING_FRAMES))

    def _judge_greeting(
        self, verdict: VerdictKind | None, tone: bool, length: int, voiced: int, quiet: int
    ) -> Judgement | None:
        evidence = {"greeting_s": length * FRAME_S, "voiced_s": voiced * FRAME_S, "silence_s": quiet * FRAME_S}
        tells_machines = self._settings.detect_machine
        if verdict is None:
            if tells_machines and length >= MACHINE_GREETING_FRAMES:
                return self._heard(VerdictKind.MACHINE, "long greeting", evidence, quiet)
            if quiet >= self._needed_silence(length) and not tone:
                return self._heard(VerdictKind.HUMAN, "short greeting, then silence", evidence, quiet)
            if not tells_machines and length >= MACHINE_GREETING_FRAMES:
                return self._heard(VerdictKind.HUMAN, "speech; machines are not told apart", evidence, quiet)
        elif quiet >= self._needed_silence(length):
            self.speech_end_frame = self._talk_end
            self._forget()
        elif tells_machines and verdict in REVISABLE and length >= MACHINE_AFTER_HUMAN_FRAMES:
            return self._heard(VerdictKind.MACHINE, "talks on", evidence, quiet)
        return None

    def _heard(self, kind: VerdictKind, cause: str, evidence: dict[str, float], quiet: int) -> Judgement:
        if quiet:
            self.speech_end_frame = self._talk_end
            self._forget()
        return Judgement(kind, cause, evidence)

    def _forget(self) -> None:
        self._talk_start, self._talking_since, self._voiced = None, None, 0
