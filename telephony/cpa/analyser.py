"""The analyser of many channels: array work once per 20 ms, per-channel Python only where something changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from telephony.contract import AnalysisSettings, VerdictKind
from telephony.cpa.activity import Activity, Floats, Frames, Indices, Mask, SpeechTracker, level_dbfs
from telephony.cpa.bursts import FRAME_S, Burst, BurstTracker
from telephony.cpa.earlymedia import LOWEST_DBFS, SoundTracker
from telephony.cpa.finding import NEVER, Finding
from telephony.cpa.forest import VoiceModel, shipped_model
from telephony.cpa.history import HISTORY_FRAMES, History
from telephony.cpa.listener import MUSIC_S, Listener
from telephony.cpa.spectrum import FRAME_SAMPLES, WINDOW_SAMPLES, ToneBank
from telephony.cpa.tail import BEFORE_FRAMES, look_frames, tail_end
from telephony.cpa.voice import VoiceTracker

TONE_ONSET_FRAMES = 5
"""A talk spurt that began so shortly before a burst was the burst, its first frames spoilt by noise or loss."""


MODEL_FRAMES = 5
"""The model is asked this often (100 ms) while somebody talks, and at these lengths of a pause."""

MODEL_PAUSE_FRAMES = 150
"""After a pause so long it is not asked any more: nothing changes until somebody talks again."""


DURATIONS = ("timeguard_ms", "human_silence_ms", "sure_silence_ms", "undecided_silence_ms", "initial_silence_ms")


@dataclass(frozen=True, slots=True)
class VerdictData:
    """
    One verdict. ``at_s`` and ``speech_end_s`` are on the clock of the caller's ``now_s``.

    ``speech_end_s`` is the end of the called person's greeting, 0.0 when nobody spoke. ``done``: analysis of this
    channel ended with it.
    """

    kind: VerdictKind
    cause: str
    at_s: float
    connected: bool
    speech_end_s: float
    revises: bool
    evidence: dict[str, float]
    done: bool


class Analyser:
    """
    Call progress analysis of up to ``n_channels`` channels, addressed by index.

    Every channel under analysis must get a frame every 20 ms (silence where nothing arrived): frames are its clock.
    """

    def __init__(self, n_channels: int, model: VoiceModel | None = None) -> None:
        self._model: VoiceModel = model or shipped_model()
        self._bank = ToneBank(n_channels)
        self._history = History(n_channels)
        self._bursts = BurstTracker(n_channels, self._history, self._admits)
        self._speech = SpeechTracker(n_channels)
        self._voice = VoiceTracker(n_channels)
        self._sound = SoundTracker(n_channels)
        self._sounding = np.zeros(n_channels, dtype=np.bool_)  # channels without a tone in which music matters
        self._judging = np.zeros(n_channels, dtype=np.bool_)  # which calls the model is asked about
        self._listeners: list[Listener | None] = [None] * n_channels
        self._on = np.zeros(n_channels, dtype=np.bool_)
        self._frame = np.zeros(n_channels, dtype=np.int32)
        self._due = np.full(n_channels, NEVER, dtype=np.int64)
        self._look = np.zeros(n_channels, dtype=np.int32)  # length of a pause in which the end of speech is looked for
        self._window = np.zeros((n_channels, WINDOW_SAMPLES), dtype=np.float32)

    @property
    def analysing(self) -> npt.NDArray[np.bool_]:
        """(n_channels,) mask of channels under analysis; read only."""
        return self._on

    def start(self, channel: int, settings: AnalysisSettings, connected: bool, answer_known: bool = True) -> None:
        """
        Begin, or go on from early media to the connected call, which keeps the tones heard so far.

        ``answer_known`` False: of a recording that may begin before the answer; what rings holds the time guard.

        Raises ValueError for an unknown tone plan, a channel index out of range, or durations that are not positive.
        """
        if not 0 <= channel < len(self._listeners):
            raise ValueError(f"channel {channel} is not in 0..{len(self._listeners) - 1}")
        for name in DURATIONS:
            if getattr(settings, name) < FRAME_S * 1000:
                raise ValueError(f"{name} must be at least 20, got {getattr(settings, name)}")
        listener = Listener(settings, connected, answer_known, partial(self._sound.plays_on, channel))
        earlier = self._listeners[channel]
        if earlier is not None and connected and not earlier.connected and self._on[channel]:
            earlier.connect(int(self._frame[channel]), settings)
            self._speech.silence(channel)
            self._sound.reset(channel)
            self._voice.reset(channel, int(self._frame[channel]))
            listener = earlier
        else:
            self._bank.reset(channel)
            self._bursts.reset(channel)
            self._history.reset(channel)
            self._sound.reset(channel)
            self._speech.reset(channel)
            self._voice.reset(channel, 0)
            self._frame[channel] = 0
            self._window[channel] = 0.0
        self._listeners[channel] = listener
        self._on[channel] = True
        self._judging[channel] = listener.wants_voice
        self._sounding[channel] = listener.wants_sound
        self._due[channel] = listener.due_frame
        self._look[channel] = look_frames(min(settings.sure_silence_ms, settings.human_silence_ms))

    def hears_connected(self, channel: int) -> bool:
        """Whether the channel is under analysis as an answered call."""
        listener = self._listeners[channel]
        return bool(self._on[channel]) and listener is not None and listener.connected

    def bridged(self, channel: int) -> bool:
        """An agent talks with them now. True: the analysis goes on for a while (``after_bridge_ms``), else it ends."""
        listener = self._listeners[channel]
        if listener is None or not self.hears_connected(channel) or not listener.bridged(self._now(channel)):
            self.stop(channel)
            return False
        self._due[channel] = listener.due_frame
        return True

    def floor_dbfs(self, channels: Indices) -> Floats:
        """(n,) level of the noise that these channels' talk stands out from."""
        return np.array([self._speech.floor(channel) for channel in channels.tolist()], dtype=np.float32)

    def stop(self, channel: int) -> None:
        """End the analysis of a channel; harmless when none runs."""
        self._listeners[channel] = None
        self._on[channel] = False
        self._sounding[channel] = False
        self._judging[channel] = False
        self._due[channel] = NEVER

    def verdict(self, channel: int) -> VerdictKind | None:
        """The standing verdict of a channel under analysis."""
        listener = self._listeners[channel]
        return listener.verdict if listener is not None else None

    def step(
        self, pcm: npt.NDArray[np.int16] | npt.NDArray[np.float32], active: npt.NDArray[np.bool_], now_s: float
    ) -> list[tuple[int, VerdictData]]:
        """
        Take 20 ms of audio.

        Args:
            pcm: (n_channels, 160) int16 or float32 in sample units; full scale is 32768.
            active: (n_channels,) bool: rows that hold a frame.
            now_s: monotonic time of the end of these frames.

        Returns: (channel, verdict) in order of decision.
        """
        rows = np.nonzero(self._on & active)[0]
        if not len(rows):
            return []
        window = self._window[rows]
        window[:, :FRAME_SAMPLES] = window[:, FRAME_SAMPLES:]
        window[:, FRAME_SAMPLES:] = pcm[rows]
        self._window[rows] = window
        frame = self._frame[rows]
        self._frame[rows] = frame + 1

        self._history.append(rows, frame, pcm[rows])
        ended, begun, sounding = self._bursts.step(rows, frame, self._bank.measure(window, rows))
        level = level_dbfs(window[:, FRAME_SAMPLES:])
        talking, quieted, activity = self._speech.step(rows, frame, level, sounding)
        self._voice.step(rows, frame, level, window, activity)

        verdicts: list[tuple[int, VerdictData]] = []
        for channel, burst in ended:
            if (listener := self._listeners[channel]) is not None:
                voice_dbfs = float(self._speech.peak_dbfs[channel])
                self._collect(verdicts, channel, listener.burst_ended(burst, self._now(channel), voice_dbfs), now_s)
        for channel, burst in begun:
            if (listener := self._listeners[channel]) is not None:
                if listener.tones.ends_sound(burst):
                    self._sound.reset(channel)  # the network's tones are neither music nor pauses in it
                else:
                    self._sound.retract(channel)
                start = self._speech.start_of_spurt(channel)
                if start is not None and start >= burst.start - TONE_ONSET_FRAMES:
                    self._speech.silence(channel)
                    self._voice.retract(channel)
                    listener.speech_was_tone()
                self._collect(verdicts, channel, listener.burst_began(burst, self._now(channel)), now_s)
        for channel, spurt in quieted:
            if (listener := self._listeners[channel]) is not None:
                self._collect(verdicts, channel, listener.speech_ended(spurt, self._now(channel)), now_s)
        for channel in talking:
            start = self._speech.start_of_spurt(channel)
            if (listener := self._listeners[channel]) is not None and start is not None:
                self._collect(verdicts, channel, listener.speech_began(start, self._now(channel)), now_s)
        self._look_for_tails(rows, frame, activity)
        self._ask_model(rows, frame, activity)
        self._judge_sound(rows, window, level, verdicts, now_s)
        for channel in rows[self._due[rows] <= frame + 1].tolist():
            if (listener := self._listeners[channel]) is not None:
                now, running = self._now(channel), self._bursts.current(channel)
                samples = None
                if running is not None:
                    samples = self._history.frames(channel, max(running.start + 1, now - HISTORY_FRAMES), now)[1]
                self._collect(verdicts, channel, listener.evaluate(now, running, samples), now_s)
        return verdicts

    def _look_for_tails(self, rows: Indices, frame: Frames, activity: Activity) -> None:
        """Where a pause grows long enough for a verdict: when exactly did the speech before it end?"""
        due = ~(activity.talking | activity.in_tone) & (activity.quiet == self._look[rows])
        for channel, now in zip(rows[due].tolist(), (frame[due] + 1).tolist(), strict=True):
            listener = self._listeners[channel]
            if listener is None or not listener.connected or listener.verdict is not None:
                continue
            if listener.greeting.wants_tail:
                talk_end = now - int(self._look[channel])
                first, samples = self._history.frames(channel, talk_end - BEFORE_FRAMES, now)
                listener.greeting.tail_heard(first + tail_end(samples, talk_end - first))

    def _questions(self, rows: Indices, frame: Frames, activity: Activity) -> Mask:
        """About which of the channels ``rows`` the model is asked after this frame."""
        since = np.where(activity.talking, frame - activity.start + 1, activity.quiet)
        due = (since % MODEL_FRAMES == 0) & (activity.talking | (activity.quiet <= MODEL_PAUSE_FRAMES))
        asked: Mask = due & self._judging[rows] & self._voice.heard(rows)
        return asked

    def _ask_model(self, rows: Indices, frame: Frames, activity: Activity) -> None:
        """Tell the listeners how likely a machine is, where that is due; they judge it as their next event."""
        asked = self._questions(rows, frame, activity)
        if not asked.any():
            return
        likely = self._model.probability(self._voice.features(rows, frame, activity, asked))
        for channel, p_machine in zip(rows[asked].tolist(), likely.tolist(), strict=True):
            listener = self._listeners[channel]
            if listener is not None and listener.voice_judged(p_machine):
                self._due[channel] = 0

    def _judge_sound(
        self, rows: Indices, window: Floats, level: Floats, verdicts: list[tuple[int, VerdictData]], now_s: float
    ) -> None:
        """Follow what sounds beside tones, and tell the listeners what it is, where that is due."""
        which = self._sounding[rows]
        which &= self._sound.begun(rows) | (level > LOWEST_DBFS)
        if not which.any():
            return
        early = rows[which]
        self._sound.follow(early, window[which])
        for channel in early[self._sound.due(early)].tolist():
            listener = self._listeners[channel]
            if listener is None or (listener.connected and self._sound.heard_s(channel) < MUSIC_S):
                continue
            if (sound := self._sound.judge(channel)) is not None:
                self._collect(verdicts, channel, listener.sound_judged(sound), now_s)

    def _admits(self, channel: int, burst: Burst) -> bool:
        listener = self._listeners[channel]
        return listener is not None and listener.tones.admits(burst)

    def _now(self, channel: int) -> int:
        return int(self._frame[channel])

    def _collect(
        self, into: list[tuple[int, VerdictData]], channel: int, found: Sequence[Finding], now_s: float
    ) -> None:
        listener = self._listeners[channel]
        assert listener is not None
        now = self._now(channel)
        for finding in found:
            end_s = now_s - (now - finding.speech_end_frame) * FRAME_S if finding.speech_end_frame >= 0 else 0.0
            evidence = {
                **{name: round(value, 3) for name, value in finding.evidence.items()},
                "floor_dbfs": round(self._speech.floor(channel), 1),
                "peak_dbfs": round(float(self._speech.peak_dbfs[channel]), 1),
            }
            into.append(
                (
                    channel,
                    VerdictData(
                        finding.kind,
                        finding.cause,
                        now_s,
                        finding.connected,
                        end_s,
                        finding.revises,
                        evidence,
                        listener.done,
                    ),
                )
            )
        self._due[channel] = listener.due_frame
        self._sounding[channel] = listener.wants_sound
        self._judging[channel] = listener.wants_voice
        if listener.done:
            self.stop(channel)
