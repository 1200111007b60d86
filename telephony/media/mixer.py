"""The audio of all channels, without sockets: datagrams in, datagrams out, once per 20 ms.

Everything is arrays over channels, addressed by row. Each tick every channel takes one frame from its jitter buffer;
what a channel sends is what the others of its conversation say, or its prompt, or comfort noise, or silence: one packet
per tick, so that far ends and address translators on the way always see a living stream.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.contract import Role
from telephony.media import rtp
from telephony.media.comfort import ComfortNoise
from telephony.media.conversation import Conversations, mix
from telephony.media.dtmf import tones
from telephony.media.g711 import ALAW_TO_LINEAR, ULAW_TO_LINEAR, Samples, linear_to_alaw, linear_to_ulaw
from telephony.media.jitter import FRAME_SAMPLES, HALF_SAMPLES, JitterBuffers
from telephony.media.keys import Keys
from telephony.media.players import Players, Prompt

PACKET_BYTES: Final = rtp.HEADER_BYTES + FRAME_SAMPLES
RELAY_TICKS: Final = 4
"""A far end that stands by is sent what the other says so long after the last packet: jitter is no end of a talk."""
AWAY_TICKS: Final = 20
"""A far end that stands by and was silent for so long sends to somebody else: its packets meanwhile are not lost."""
_SILENT, _BRIDGED, _PROMPT, _KEYS = range(4)

Octets = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


class Mixer:
    """Audio state of ``capacity`` channels. Random starting values come from ``rng`` (RFC 3550 section 5.1)."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self.capacity = capacity
        self._rng = rng
        self.jitter = JitterBuffers(capacity)
        self.open = np.zeros(capacity, dtype=np.bool_)
        self.sending = np.zeros(capacity, dtype=np.bool_)
        self.conversations = Conversations(capacity)
        self.players = Players()
        self.keys = Keys()
        self.comfort = ComfortNoise(capacity, rng)
        self.idle_power = np.zeros(capacity, dtype=np.float64)
        """Mean square of the noise a channel is sent while it has nobody to hear; 0: that of its last partner."""
        self._left_power = np.zeros(capacity, dtype=np.float64)
        self.muted = np.zeros(capacity, dtype=np.bool_)
        """Far ends that nobody is to hear: the noise of their line stands for what they say."""
        self.standing_by = np.zeros(capacity, dtype=np.bool_)
        """Far ends that may have their audio from somebody else (direct media): they are sent what is relayed only."""
        self._unheard = np.zeros(capacity, dtype=np.int64)
        """Ticks since something came from the far end."""
        self.away = np.zeros(capacity, dtype=np.bool_)
        """Far ends that have sent their audio to somebody else meanwhile: what comes of them next begins anew."""
        self.payload_type = np.zeros(capacity, dtype=np.uint8)
        self.event_type = np.full(capacity, rtp.TELEPHONE_EVENT, dtype=np.uint8)
        """Payload type of telephone events towards the far end; 0: it negotiated none."""
        self.packets_in = np.zeros(capacity, dtype=np.int64)
        self.samples_in = np.zeros(capacity, dtype=np.int64)
        self.packets_out = np.zeros(capacity, dtype=np.int64)
        self.bridged_in = np.zeros(capacity, dtype=np.int64)
        self.last_rtp_s = np.zeros(capacity, dtype=np.float64)
        self.ssrc = np.zeros(capacity, dtype=np.int64)
        self.timestamp = np.zeros(capacity, dtype=np.int64)
        self._seq = np.zeros(capacity, dtype=np.int64)
        self._source = np.full(capacity, -1, dtype=np.int8)
        self._event_timestamp: dict[tuple[int, int], tuple[int, int]] = {}
        self._key_timestamp: dict[int, int] = {}
        self.frames = np.zeros((capacity, FRAME_SAMPLES), dtype=np.int16)
        self.packets = np.zeros((capacity, PACKET_BYTES), dtype=np.uint8)
        self.sent_rows: Indices = np.empty(0, dtype=np.intp)
        self.sent: Samples = np.zeros((0, FRAME_SAMPLES), dtype=np.int16)
        """What the channels in `sent_rows` (ascending) were sent in the last tick, before it was encoded."""
        self.extra: list[tuple[int, bytes]] = []
        """Datagrams beside the audio of the last tick, (row, datagram): keys."""
        self.keys_sent: list[tuple[int, str]] = []
        """Digits of which the last tick sent the end, (row, digits)."""

    @property
    def partner(self) -> Indices:
        """The row that a row is bridged to, -1 for none."""
        return self.conversations.partner

    # --- channels -----------------------------------------------------------------------------------------------

    def open_row(self, row: int, now_s: float) -> None:
        """Begin a channel with fresh counters, SSRC, sequence and timestamp."""
        self.jitter.reset(row)
        self.open[row] = True
        self.sending[row] = False
        self.payload_type[row] = rtp.PCMU
        self.event_type[row] = rtp.TELEPHONE_EVENT
        self.idle_power[row] = self._left_power[row] = 0.0
        self.muted[row] = self.standing_by[row] = False
        self._unheard[row], self.away[row] = 0, False
        self.comfort.reset(row)
        for counter in (self.packets_in, self.samples_in, self.packets_out, self.bridged_in):
            counter[row] = 0
        self.last_rtp_s[row] = now_s
        self.ssrc[row] = self._rng.integers(1, 1 << 32)
        self.timestamp[row] = self._rng.integers(0, 1 << 32)
        self._seq[row] = self._rng.integers(0, 1 << 16)
        self._source[row] = -1
        self.frames[row] = 0

    def close_row(self, row: int) -> None:
        """End a channel and its bridge."""
        self.unbridge(row)
        self.conversations.close(row)
        self.players.close(row)
        self.keys.close(row)
        self._key_timestamp.pop(row, None)
        for pair in [pair for pair in self._event_timestamp if row in pair]:
            del self._event_timestamp[pair]
        self.open[row] = False
        self.sending[row] = False

    def bridge(self, row: int, other: int) -> None:
        """Join two channels; earlier bridges of either end, prompts of both stop."""
        for one in (row, other):
            self.unbridge(one)
            self.stop_prompt(one)
        self.conversations.bridge(row, other)

    def join(self, row: int, other: int, role: Role) -> None:
        """Take part in another channel's conversation (`contract.Join`). Raises ConversationError."""
        waited = not self.conversations.talks[other]
        self.conversations.join(row, other, role)
        if role is Role.MEMBER:
            self.stop_prompt(row)
            if waited:  # it is a bridge now
                self.stop_prompt(other)

    def unbridge(self, row: int) -> None:
        """
        Part a channel from its conversation.

        Whoever is left alone goes on hearing the noise of the line that is gone: sudden digital silence sounds like a
        call that was cut off.
        """
        members = self.conversations.members(row)
        self.conversations.leave(row)
        for one in members:
            if len(members) > 1 and not self.conversations.talks[one]:
                self._left_power[one] = max(float(self.comfort.floor[other]) for other in members if other != one)

    def start_prompt(self, row: int, name: str, samples: Samples, *, repeats: bool = False) -> None:
        """Play once, or ``repeats`` until it is stopped, in place of any prompt that plays now."""
        self.players.start(row, Prompt(name, samples, repeats))

    def stop_prompt(self, row: int) -> str | None:
        """Stop the prompt; its name, or None when nothing played."""
        return self.players.stop(row)

    def send_digits(self, row: int, digits: str, tone_ms: int, gap_ms: int, *, inband: bool) -> None:
        """Press keys towards the far end; `keys_sent` tells the end. Raises ValueError for what cannot be sent."""
        if inband or not self.event_type[row]:
            self.players.sound(row, tones(digits, tone_ms, gap_ms), alone=True, note=digits)
        else:
            self.keys.send(row, digits, tone_ms, gap_ms)

    def normalise_events(self, rows: Indices, packets: Octets) -> None:
        """
        Give telephone events our own payload type, in place, where a far end sends them with the number it answered.

        It should use ours (RFC 3264 section 5.1), but not all do. ``rows[i]`` sent ``packets[i]``, of 2 octets or more.
        """
        own = self.event_type[rows]
        theirs = (own != rtp.TELEPHONE_EVENT) & (own != 0) & ((packets[:, 1] & 0x7F) == own)
        if theirs.any():
            packets[theirs, 1] = (packets[theirs, 1] & 0x80) | rtp.TELEPHONE_EVENT

    # --- in -----------------------------------------------------------------------------------------------------

    def accept(
        self, rows: Indices, packets: Octets, batch: rtp.ParsedBatch, now_s: float, arrival_s: Floats | None = None
    ) -> list[tuple[int, bytes]]:
        """
        Take valid packets from the right source, at most one per channel: ``rows[i]`` sent ``packets[i]``, which came
        at ``arrival_s[i]`` (by default now).

        Returns (row, datagram) to send at once: telephone events of bridged channels, which pass through.
        """
        self.packets_in[rows] += 1
        self.last_rtp_s[rows] = now_s
        at_s = np.full(len(rows), now_s) if arrival_s is None else arrival_s
        audio = (batch.payload_type == rtp.PCMU) | (batch.payload_type == rtp.PCMA)
        size = batch.end - batch.start
        self.samples_in[rows] += np.where(audio, size, 0)
        plain = audio & (batch.start == rtp.HEADER_BYTES) & (size % HALF_SAMPLES == 0)
        for samples in np.unique(size[plain]).tolist():  # one length as a rule: that of 20 ms
            alike = plain & (size == samples)
            octets = packets[alike, rtp.HEADER_BYTES : rtp.HEADER_BYTES + samples]
            frames = ULAW_TO_LINEAR[octets]
            a_law = batch.payload_type[alike] == rtp.PCMA
            if a_law.any():
                frames[a_law] = ALAW_TO_LINEAR[octets[a_law]]
            self.jitter.put(
                rows[alike], batch.timestamp[alike], batch.ssrc[alike], frames, batch.seq[alike], at_s[alike]
            )
        onward: list[tuple[int, bytes]] = []
        for i in np.nonzero(~plain)[0].tolist():
            payload = packets[i, int(batch.start[i]) : int(batch.end[i])]
            kind, row = int(batch.payload_type[i]), int(rows[i])
            if kind in (rtp.TELEPHONE_EVENT, rtp.COMFORT_NOISE):
                self.jitter.note_other(row, int(batch.seq[i]))
            if kind == rtp.TELEPHONE_EVENT:
                stamp, ssrc = int(batch.timestamp[i]), int(batch.ssrc[i])
                self.keys.heard(row, payload.tobytes(), stamp, ssrc, now_s)
                onward += self._pass_event(row, payload, bool(batch.marker[i]), stamp)
            elif kind == rtp.COMFORT_NOISE:
                self.comfort.told(row, payload.tobytes())
            else:
                table = ULAW_TO_LINEAR if kind == rtp.PCMU else ALAW_TO_LINEAR
                self.jitter.put_odd(
                    row, int(batch.timestamp[i]), int(batch.ssrc[i]), table[payload], int(batch.seq[i]), float(at_s[i])
                )
        return onward

    def _pass_event(self, row: int, payload: Octets, marker: bool, timestamp: int) -> list[tuple[int, bytes]]:
        """A key pressed on one side of a bridge is heard by the other side's machine (RFC 4733 section 2.5)."""
        onward: list[tuple[int, bytes]] = []
        if self.muted[row]:
            return onward
        for other in self.conversations.members(row) - {row}:
            if not self.sending[other]:
                continue
            if not self.event_type[other]:
                self.keys.hold(other, row)
                continue
            known = self._event_timestamp.get((row, other))
            if known is None or known[0] != timestamp:  # all packets of one event carry the time it began
                known = self._event_timestamp[row, other] = (timestamp, int(self.timestamp[other]))
            onward.append((other, self._event_packet(other, payload.tobytes(), marker, known[1])))
        return onward

    def _event_packet(self, row: int, payload: bytes, marker: bool, timestamp: int) -> bytes:
        """A telephone event towards a row's far end, with the next sequence number."""
        packet = np.zeros((1, rtp.HEADER_BYTES + len(payload)), dtype=np.uint8)
        self._seq[row] = (self._seq[row] + 1) & 0xFFFF
        rtp.write_headers(
            packet,
            self.event_type[[row]],
            np.array([marker]),
            self._seq[[row]],
            np.array([timestamp & 0xFFFFFFFF]),
            self.ssrc[[row]],
        )
        packet[0, rtp.HEADER_BYTES :] = np.frombuffer(payload, dtype=np.uint8)
        self.packets_out[row] += 1
        return packet.tobytes()

    # --- out ----------------------------------------------------------------------------------------------------

    def tick(self) -> tuple[list[int], list[tuple[int, str]]]:
        """
        Move 20 ms on: `frames` then holds what each open channel said, `packets` what each sending one is to be sent.

        Returns (rows to send, (row, prompt name) of prompts that ended).
        """
        self.extra, self.keys_sent = [], []
        rows = np.nonzero(self.open)[0]
        if not len(rows):
            self.sent_rows, self.sent = rows, self.sent[:0]
            return [], []
        audio, real = self.jitter.take(rows)
        self.frames[rows] = audio
        self._unheard[rows] = np.where(real, 0, self._unheard[rows] + 1)
        self._fill_gaps(rows, audio, real)
        muted = rows[self.muted[rows]]
        if len(muted):
            self.frames[muted] = self.comfort.of_far_end(muted)
        out, source = self._hear(rows)
        finished = self._play(rows, out, source)
        self.timestamp[rows] = (self.timestamp[rows] + FRAME_SAMPLES) & 0xFFFFFFFF
        self._send_keys(rows, out, source)
        self.sent_rows, self.sent = rows, out

        marker = (source != self._source[rows]) & ((source != _SILENT) | (self._source[rows] < 0))
        sends = self.sending[rows] & (source != _KEYS)
        if self.standing_by.any():
            self.away[rows] |= self.standing_by[rows] & (self._unheard[rows] > AWAY_TICKS)
            silent = self._has_nothing_to_relay(rows, source)
            sends &= ~silent
            self._source[rows[silent]] = -1  # what is relayed next begins with the marker
        # The first packet after a gap in sending carries the marker too, so the source is only noted when sent.
        self._source[rows[sends]] = source[sends]
        self._source[rows[source == _KEYS]] = -1
        going = rows[sends]
        if not len(going):
            return [], finished
        self._seq[going] = (self._seq[going] + 1) & 0xFFFF
        self.packets_out[going] += 1
        kind = self.payload_type[going]
        voice = out[sends]
        payload = linear_to_ulaw(voice)
        a_law = kind == rtp.PCMA
        if a_law.any():
            payload[a_law] = linear_to_alaw(voice[a_law])
        packets = np.empty((len(going), PACKET_BYTES), dtype=np.uint8)
        rtp.write_headers(packets, kind, marker[sends], self._seq[going], self.timestamp[going], self.ssrc[going])
        packets[:, rtp.HEADER_BYTES :] = payload
        self.packets[going] = packets
        return going.tolist(), finished

    def _has_nothing_to_relay(self, rows: Indices, source: npt.NDArray[np.int8]) -> Mask:
        """Which of ``rows`` stand by while the other of their bridge is not heard here either."""
        partner = self.conversations.partner[rows]
        unheard = (partner < 0) | (self._unheard[partner] > RELAY_TICKS)
        return np.asarray(self.standing_by[rows] & unheard & ((source == _BRIDGED) | (source == _SILENT)))

    def _fill_gaps(self, rows: Indices, audio: Samples, real: Mask) -> None:
        """What a conversation hears of far ends that send nothing: the noise of their line, not digital silence."""
        talks = self.conversations.talks[rows]
        heard = rows[real & talks]
        self.bridged_in[heard] += 1
        if len(heard):
            self.comfort.observe(heard, audio[real & talks])
        quiet = ~real & talks
        if quiet.any():
            quiet[quiet] = ~audio[quiet].any(axis=1)  # concealment is still at work in the others
        for row in self.keys.down:
            quiet[np.searchsorted(rows, row)] = self.conversations.talks[row]
        if quiet.any():
            self.frames[rows[quiet]] = self.comfort.of_far_end(rows[quiet])

    def _hear(self, rows: Indices) -> tuple[Samples, npt.NDArray[np.int8]]:
        """What each of ``rows`` hears of the others, and where that comes from."""
        partner = self.conversations.partner[rows]
        source = np.where(partner >= 0, _BRIDGED, _SILENT).astype(np.int8)
        out = np.where((partner >= 0)[:, None], self.frames[partner], 0).astype(np.int16)
        plan = self.conversations.plan()
        if len(plan.listeners):
            at = np.searchsorted(rows, plan.listeners)
            out[at] = mix(self.frames, plan)
            source[at] = _BRIDGED
        if len(plan.deaf):
            at = np.searchsorted(rows, plan.deaf)
            out[at] = 0
            source[at] = _SILENT
        power = np.where(self.idle_power[rows] > 0, self.idle_power[rows], self._left_power[rows])
        alone = (source == _SILENT) & (power > 0)
        if alone.any():
            out[alone] = self.comfort.at_power(rows[alone], power[alone])
        return out, source

    def _play(self, rows: Indices, out: Samples, source: npt.NDArray[np.int8]) -> list[tuple[int, str]]:
        """Prompts and tones, over what is heard; (row, name) of the prompts that end."""
        pieces, finished = self.players.prompts(self.conversations.everybody)
        tone_pieces, self.keys_sent = self.players.tones()
        pieces += [(row, not alone, piece) for row, alone, piece in tone_pieces]
        pieces += [(row, False, piece) for row, piece in self.keys.held_tones()]
        for row, mixed, piece in pieces:
            at = int(np.searchsorted(rows, row))
            if mixed:
                total = out[at, : len(piece)].astype(np.int32) + piece
                out[at, : len(piece)] = np.clip(total, -32768, 32767)
            else:
                out[at] = 0
                out[at, : len(piece)] = piece
                source[at] = _PROMPT
        return finished

    def _send_keys(self, rows: Indices, out: Samples, source: npt.NDArray[np.int8]) -> None:
        """Keys as telephone events take the place of audio (RFC 4733 section 2.5.1.1)."""
        for step in self.keys.steps():
            row = step.row
            if step.ended:
                self.keys_sent.append((row, step.ended))
            if step.packet is None:
                continue
            if step.packet.marker:
                self._key_timestamp[row] = int(self.timestamp[row])
            if not self.sending[row]:  # on hold: the key is held in vain
                continue
            at = int(np.searchsorted(rows, row))
            out[at] = 0
            source[at] = _KEYS
            packet = self._event_packet(row, step.packet.payload, step.packet.marker, self._key_timestamp[row])
            self.extra.append((row, packet))
