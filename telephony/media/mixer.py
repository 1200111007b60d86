"""The audio of all channels, without sockets: datagrams in, datagrams out, once per 20 ms.

Everything is arrays over channels, addressed by row. Each tick every channel takes one frame from its jitter buffer;
what a channel sends is the frame of the channel it is bridged to, or its prompt, or silence: one packet per tick, so
that far ends and address translators on the way always see a living stream.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from telephony.media import rtp
from telephony.media.g711 import ALAW_TO_LINEAR, ULAW_TO_LINEAR, Samples, linear_to_alaw, linear_to_ulaw
from telephony.media.jitter import FRAME_SAMPLES, JitterBuffers

PACKET_BYTES: Final = rtp.HEADER_BYTES + FRAME_SAMPLES
_SILENT, _BRIDGED, _PROMPT = range(3)

Octets = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class _Prompt:
    name: str
    samples: Samples
    repeats: bool
    position: int = 0


class Mixer:
    """Audio state of ``capacity`` channels. Random starting values come from ``rng`` (RFC 3550 section 5.1)."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self.capacity = capacity
        self._rng = rng
        self.jitter = JitterBuffers(capacity)
        self.open = np.zeros(capacity, dtype=np.bool_)
        self.sending = np.zeros(capacity, dtype=np.bool_)
        self.partner = np.full(capacity, -1, dtype=np.intp)
        self.payload_type = np.zeros(capacity, dtype=np.uint8)
        self.packets_in = np.zeros(capacity, dtype=np.int64)
        self.packets_out = np.zeros(capacity, dtype=np.int64)
        self.bridged_in = np.zeros(capacity, dtype=np.int64)
        self.last_rtp_s = np.zeros(capacity, dtype=np.float64)
        self.ssrc = np.zeros(capacity, dtype=np.int64)
        self.timestamp = np.zeros(capacity, dtype=np.int64)
        self._seq = np.zeros(capacity, dtype=np.int64)
        self._source = np.full(capacity, -1, dtype=np.int8)
        self._event_timestamp: dict[int, tuple[int, int]] = {}
        self._prompts: dict[int, _Prompt] = {}
        self.frames = np.zeros((capacity, FRAME_SAMPLES), dtype=np.int16)
        self.packets = np.zeros((capacity, PACKET_BYTES), dtype=np.uint8)

    # --- channels -----------------------------------------------------------------------------------------------

    def open_row(self, row: int, now_s: float) -> None:
        """Begin a channel with fresh counters, SSRC, sequence and timestamp."""
        self.jitter.reset(row)
        self.open[row] = True
        self.sending[row] = False
        self.partner[row] = -1
        self.payload_type[row] = rtp.PCMU
        for counter in (self.packets_in, self.packets_out, self.bridged_in):
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
        self.stop_prompt(row)
        self._event_timestamp.pop(row, None)
        self.open[row] = False
        self.sending[row] = False

    def bridge(self, row: int, other: int) -> None:
        """Join two channels; earlier bridges of either end, prompts of both stop."""
        for one in (row, other):
            self.unbridge(one)
            self.stop_prompt(one)
        self.partner[row], self.partner[other] = other, row

    def unbridge(self, row: int) -> int:
        """Part a channel from its partner; returns the partner's row, -1 for none."""
        other = int(self.partner[row])
        if other >= 0:
            self.partner[row] = self.partner[other] = -1
        return other

    def start_prompt(self, row: int, name: str, samples: Samples, *, repeats: bool = False) -> None:
        """Play once, or ``repeats`` until it is stopped, in place of any prompt that plays now."""
        self._prompts[row] = _Prompt(name, samples, repeats)

    def stop_prompt(self, row: int) -> str | None:
        """Stop the prompt; its name, or None when nothing played."""
        prompt = self._prompts.pop(row, None)
        return prompt.name if prompt is not None else None

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
        plain = audio & (batch.start == rtp.HEADER_BYTES) & (batch.end == PACKET_BYTES)
        if plain.any():
            octets = packets[plain, rtp.HEADER_BYTES : PACKET_BYTES]
            samples = ULAW_TO_LINEAR[octets]
            a_law = batch.payload_type[plain] == rtp.PCMA
            if a_law.any():
                samples[a_law] = ALAW_TO_LINEAR[octets[a_law]]
            self.jitter.put(
                rows[plain], batch.timestamp[plain], batch.ssrc[plain], samples, batch.seq[plain], at_s[plain]
            )
        onward: list[tuple[int, bytes]] = []
        for i in np.nonzero(~plain)[0].tolist():
            payload = packets[i, int(batch.start[i]) : int(batch.end[i])]
            kind, row = int(batch.payload_type[i]), int(rows[i])
            if kind in (rtp.TELEPHONE_EVENT, rtp.COMFORT_NOISE):
                self.jitter.note_other(row, int(batch.seq[i]))
            if kind == rtp.TELEPHONE_EVENT:
                onward += self._pass_event(row, payload, bool(batch.marker[i]), int(batch.timestamp[i]))
            elif kind != rtp.COMFORT_NOISE:
                table = ULAW_TO_LINEAR if kind == rtp.PCMU else ALAW_TO_LINEAR
                self.jitter.put_odd(
                    row, int(batch.timestamp[i]), int(batch.ssrc[i]), table[payload], int(batch.seq[i]), float(at_s[i])
                )
        return onward

    def _pass_event(self, row: int, payload: Octets, marker: bool, timestamp: int) -> list[tuple[int, bytes]]:
        """A key pressed on one side of a bridge is heard by the other side's machine (RFC 4733 section 2.5)."""
        other = int(self.partner[row])
        if other < 0 or not self.sending[other]:
            return []
        known = self._event_timestamp.get(row)
        if known is None or known[0] != timestamp:  # all packets of one event carry the time it began
            known = self._event_timestamp[row] = (timestamp, int(self.timestamp[other]))
        packet = np.zeros((1, rtp.HEADER_BYTES + len(payload)), dtype=np.uint8)
        self._seq[other] = (self._seq[other] + 1) & 0xFFFF
        rtp.write_headers(
            packet,
            np.array([rtp.TELEPHONE_EVENT], dtype=np.uint8),
            np.array([marker]),
            self._seq[[other]],
            np.array([known[1]]),
            self.ssrc[[other]],
        )
        packet[0, rtp.HEADER_BYTES :] = payload
        self.packets_out[other] += 1
        return [(other, packet.tobytes())]

    # --- out ----------------------------------------------------------------------------------------------------

    def tick(self) -> tuple[list[int], list[tuple[int, str]]]:
        """
        Move 20 ms on: `frames` then holds what each open channel said, `packets` what each sending one is to be sent.

        Returns (rows to send, (row, prompt name) of prompts that ended).
        """
        rows = np.nonzero(self.open)[0]
        if not len(rows):
            return [], []
        audio, real = self.jitter.take(rows)
        self.frames[rows] = audio
        bridged = rows[real & (self.partner[rows] >= 0)]
        self.bridged_in[bridged] += 1

        source = np.where(self.partner[rows] >= 0, _BRIDGED, _SILENT).astype(np.int8)
        out = np.where((source == _BRIDGED)[:, None], self.frames[self.partner[rows]], 0).astype(np.int16)
        finished: list[tuple[int, str]] = []
        for row, prompt in list(self._prompts.items()):
            at = int(np.searchsorted(rows, row))
            piece = prompt.samples[prompt.position : prompt.position + FRAME_SAMPLES]
            out[at] = 0
            out[at, : len(piece)] = piece
            source[at] = _PROMPT
            prompt.position += FRAME_SAMPLES
            if prompt.position >= len(prompt.samples) and prompt.repeats:
                prompt.position = 0
            elif prompt.position >= len(prompt.samples):
                del self._prompts[row]
                finished.append((row, prompt.name))

        marker = (source != self._source[rows]) & ((source != _SILENT) | (self._source[rows] < 0))
        sends = self.sending[rows]
        # The first packet after a gap in sending carries the marker too, so the source is only noted when sent.
        self._source[rows[sends]] = source[sends]
        self.timestamp[rows] = (self.timestamp[rows] + FRAME_SAMPLES) & 0xFFFFFFFF
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
