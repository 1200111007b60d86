"""What channels do beyond talking to each other: prompts, keys, comfort noise, recordings. Commands in, events out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from telephony import contract as wire
from telephony.media.channels import Channel, ChannelError
from telephony.media.comfort import power_of_dbfs
from telephony.media.dtmf import check
from telephony.media.dtmf_inband import InbandDetector
from telephony.media.g711 import Samples
from telephony.media.mixer import Mixer
from telephony.media.players import Prompt, consent_tone
from telephony.media.prompts import RINGBACK, PromptError, PromptLibrary
from telephony.media.prompts.reader import PromptReader
from telephony.media.recording import Recorder, RecordingError

LOUDEST_COMFORT_DBFS: Final = -30.0
QUIETEST_COMFORT_DBFS: Final = -90.0
FINISH_LIMIT_S: Final = 3.0
"""How long the end of a channel is held back for its recordings to be on disk."""
LOOK_AGAIN_S: Final = 5.0
"""How often a prompt that is played is compared with its file."""
MOST_LOOKED_AT: Final = 1000
SPARE_RECORDINGS: Final = 64
"""More recordings than channels at once: the analysis phase and the conversation may overlap."""


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A closed channel whose recordings are being finished."""

    closed: wire.ChannelClosed
    until_s: float


class ChannelAudio:
    """
    Args:
        lookup: a channel by its id; raises ChannelError for none. ``at``: the channel of a row.
        idle_dbfs: comfort noise of new channels; 0: none.
    """

    def __init__(
        self,
        mixer: Mixer,
        prompts: PromptLibrary,
        recorder: Recorder,
        lookup: Callable[[str], Channel],
        at: Callable[[int], Channel | None],
        idle_dbfs: float = 0.0,
    ) -> None:
        self._mixer = mixer
        self._prompts = prompts
        self._reader: PromptReader[wire.Play | None] = PromptReader(prompts)
        self._awaited: dict[int, wire.Play] = {}
        """Prompts that are being read, by row."""
        self._looked_at_s: dict[tuple[str, str], float] = {}
        self._recorder = recorder
        self._channel = lookup
        self._at = at
        self._idle_dbfs = _checked_level(idle_dbfs)
        self._comfort: dict[int, float] = {}
        self._digits: dict[int, wire.DetectDigits] = {}
        self._inband = InbandDetector(mixer.capacity)
        self._consent = consent_tone()
        self._leaving: dict[str, _Leaving] = {}
        self.log: list[tuple[str, str]] = []
        """Lines for the server's log, (event name, what); whoever reads them empties the list."""

    @property
    def finishing(self) -> bool:
        """Whether closed channels are still to be reported: their recordings are being finished."""
        return bool(self._leaving)

    # --- channels -----------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        """A channel is open."""
        self._set_comfort(channel.row, self._idle_dbfs)

    def closed(self, channel: Channel, totals: wire.ChannelClosed, now_s: float) -> list[msgspec.Struct]:
        """A channel is being closed, its row is still its own. Returns what can be told at once."""
        row = channel.row
        self._awaited.pop(row, None)
        self._comfort.pop(row, None)
        if self._digits.pop(row, None) is not None:
            self._inband.enable(row, False)
        self._recorder.stop(channel.channel_id)
        if not self._recorder.pending(channel.channel_id):
            return [totals]
        self._leaving[channel.channel_id] = _Leaving(totals, now_s + FINISH_LIMIT_S)
        return []

    def describe(self, channel: Channel, snapshot: wire.ChannelSnapshot) -> wire.ChannelSnapshot:
        """The snapshot with what is known here."""
        row, conversations = channel.row, self._mixer.conversations
        joined_to, role = -1, wire.Role.MEMBER
        supervised = conversations.supervised(row)
        if supervised is not None:
            joined_to, role = supervised
        elif len(members := conversations.members(row)) > 2:
            joined_to = min(members - {row})
        other = self._at(joined_to) if joined_to >= 0 else None
        awaited = self._awaited.get(row)
        return msgspec.structs.replace(
            snapshot,
            joined_to=other.channel_id if other is not None else "",
            role=role,
            recordings=self._recorder.snapshots(channel.channel_id),
            digits=self._digits.get(row),
            comfort_dbfs=self._comfort.get(row, 0.0),
            prompt=awaited.prompt if awaited is not None else self._mixer.players.playing(row),
            muted=bool(self._mixer.muted[row]),
            standing_by=bool(self._mixer.standing_by[row]),
        )

    # --- commands -----------------------------------------------------------------------------------------------

    def command(self, message: msgspec.Struct, now_s: float) -> list[msgspec.Struct]:
        """Carry out a command. Raises ChannelError, or ValueError for values out of range."""
        match message:
            case wire.Play(channel_id):
                return self._play(self._channel(channel_id), message, now_s)
            case wire.StopPlaying(channel_id):
                return self._stop_playing(self._channel(channel_id))
            case wire.Mute(channel_id, muted):
                self._mixer.muted[self._channel(channel_id).row] = muted
            case wire.StandBy(channel_id, standing_by):
                self._mixer.standing_by[self._channel(channel_id).row] = standing_by
            case wire.Comfort(channel_id, level_dbfs):
                self._set_comfort(self._channel(channel_id).row, _checked_level(level_dbfs))
            case wire.DetectDigits(channel_id, enabled, inband):
                row = self._channel(channel_id).row
                self._inband.enable(row, enabled and inband)
                if enabled:
                    self._digits[row] = message
                else:
                    self._digits.pop(row, None)
            case wire.SendDigits(channel_id):
                return self._send_digits(self._channel(channel_id), message)
            case wire.StartRecording(channel_id, path):
                channel = self._channel(channel_id)
                try:
                    self._recorder.start(channel.row, message, now_s)
                except RecordingError as error:  # whoever waits for its end must not wait for ever
                    return [wire.RecordingFinished(channel_id, path, error=str(error))]
            case wire.StopRecording(channel_id, path):
                self._recorder.stop(self._channel(channel_id).channel_id, path)
            case _:
                raise ChannelError(f"{type(message).__name__} is no command for a channel")
        return []

    def _play(self, channel: Channel, command: wire.Play, now_s: float) -> list[msgspec.Struct]:
        names = (command.prompt, *command.then)
        parts: list[Samples] = []
        try:
            for name in names:
                samples = self._prompts.at_hand(name, command.language)
                if samples is None:  # new, or mistaken: the disk knows, and may take its time
                    replaced = self._stop_waiting(channel)
                    self._awaited[channel.row] = command
                    self._reader.ask(command, names, command.language)
                    return replaced
                parts.append(samples)
        except PromptError as error:  # whoever waits for its end must not wait for ever
            return [wire.PromptFinished(channel.channel_id, command.prompt, str(error))]
        self._look_again(names, command.language, now_s)
        return self._start(channel, command, parts)

    def _look_again(self, names: tuple[str, ...], language: str, now_s: float) -> None:
        """A file may have changed: its next playing has what is on the disk now."""
        for name in names:
            if now_s - self._looked_at_s.get((name, language), -LOOK_AGAIN_S) >= LOOK_AGAIN_S:
                self._looked_at_s[name, language] = now_s
                self._reader.ask(None, (name,), language)
        if len(self._looked_at_s) > MOST_LOOKED_AT:
            self._looked_at_s.clear()

    def _start(self, channel: Channel, command: wire.Play, parts: list[Samples]) -> list[msgspec.Struct]:
        stopped = self._stop_playing(channel)
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
        repeats = command.loop or command.prompt == RINGBACK
        self._mixer.players.start(channel.row, Prompt(command.prompt, samples, repeats, command.mix, command.everybody))
        channel.person_since_s = None  # the daemon looks after this person
        return stopped

    def _stop_playing(self, channel: Channel) -> list[msgspec.Struct]:
        stopped = self._mixer.stop_prompt(channel.row)
        events = [wire.PromptFinished(channel.channel_id, stopped)] if stopped is not None else []
        return [*events, *self._stop_waiting(channel)]

    def _stop_waiting(self, channel: Channel) -> list[msgspec.Struct]:
        awaited = self._awaited.pop(channel.row, None)
        return [wire.PromptFinished(channel.channel_id, awaited.prompt)] if awaited is not None else []

    def _set_comfort(self, row: int, level_dbfs: float) -> None:
        self._comfort[row] = level_dbfs
        self._mixer.idle_power[row] = power_of_dbfs(level_dbfs) if level_dbfs else 0.0

    def _send_digits(self, channel: Channel, command: wire.SendDigits) -> list[msgspec.Struct]:
        try:
            check(command.digits, command.tone_ms, command.gap_ms)
            if not self._mixer.sending[channel.row]:
                raise ValueError("the far end's address is not known, or it is on hold")
        except ValueError as error:
            return [wire.DigitsSent(channel.channel_id, command.digits, str(error))]
        self._mixer.send_digits(channel.row, command.digits, command.tone_ms, command.gap_ms, inband=command.inband)
        return []

    # --- ticks --------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[msgspec.Struct]:
        """After the mixer's tick and after its packets have left: prompts that were read, keys, recordings."""
        return [*self._were_read(), *self._keys(now_s), *self._record(now_s), *self._ended_channels(now_s)]

    def forget_prompt(self, row: int) -> None:
        """A bridge stops prompts, those too that are being read."""
        self._awaited.pop(row, None)

    def _were_read(self) -> list[msgspec.Struct]:
        events: list[msgspec.Struct] = []
        for reading in self._reader.finished() if self._reader.waiting else ():
            command = reading.asker
            row = next((row for row, one in self._awaited.items() if one is command), None)
            channel = self._at(row) if row is not None else None
            if command is None or row is None or channel is None:
                continue
            del self._awaited[row]
            if isinstance(reading.parts, PromptError):
                events.append(wire.PromptFinished(channel.channel_id, command.prompt, str(reading.parts)))
            else:
                events += self._start(channel, command, reading.parts)
        return events

    def _keys(self, now_s: float) -> list[msgspec.Struct]:
        mixer = self._mixer
        mixer.keys.expire(now_s)
        heard = [(row, key, False) for row, key in mixer.keys.pressed]
        mixer.keys.pressed.clear()
        if self._inband.active:
            # A far end that also sends events has told of this key already.
            found = self._inband.step(mixer.frames, now_s)
            heard += [(row, key, True) for row, key in found if not mixer.keys.knows_events(row)]
        events: list[msgspec.Struct] = []
        for row, key, inband in heard:
            channel = self._at(row)
            if channel is not None and row in self._digits:
                events.append(wire.DigitPressed(channel.channel_id, key.digit, key.duration_ms, key.at_s, inband))
        for row, digits in mixer.keys_sent:
            if (channel := self._at(row)) is not None:
                events.append(wire.DigitsSent(channel.channel_id, digits))
        return events

    def _record(self, now_s: float) -> list[msgspec.Struct]:
        mixer = self._mixer
        done = self._recorder.tick(mixer.frames, mixer.sent_rows, mixer.sent, now_s)
        self.log += [("recording.writer", line) for line in done.log]
        for row in done.beeps:
            for one in mixer.conversations.everybody(row):
                mixer.players.sound(one, self._consent)
        return list(done.finished)

    def _ended_channels(self, now_s: float) -> list[msgspec.Struct]:
        events: list[msgspec.Struct] = []
        for channel_id, leaving in list(self._leaving.items()):
            if self._recorder.pending(channel_id):
                if now_s < leaving.until_s:
                    continue
                events += self._recorder.give_up(channel_id)
            del self._leaving[channel_id]
            events.append(leaving.closed)
        return events


def _checked_level(level_dbfs: float) -> float:
    if level_dbfs and not QUIETEST_COMFORT_DBFS <= level_dbfs <= LOUDEST_COMFORT_DBFS:
        raise ValueError(
            f"comfort noise must be 0 or {QUIETEST_COMFORT_DBFS:.0f}..{LOUDEST_COMFORT_DBFS:.0f} dBFS, got {level_dbfs}"
        )
    return level_dbfs
