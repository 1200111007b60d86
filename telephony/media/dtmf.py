"""Key presses: telephone events (RFC 4733) in both directions, and the tones of ITU-T Q.23.

A key is a run of packets that carry the same RTP timestamp, a growing duration, and at the end three times the end
bit. Packets get lost, doubled and reordered; whichever of them arrive, a key is reported once: when its end is seen,
when the next key begins, or when nothing more comes of it.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

DIGITS: Final = "0123456789*#ABCD"
"""In the order of their event codes (RFC 4733 table 3)."""

LOW_HZ: Final = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
KEYPAD: Final = ("123A", "456B", "789C", "*0#D")

SAMPLES_PER_MS: Final = 8
FRAME_SAMPLES: Final = 160
SEGMENT_SAMPLES: Final = 0xFFFF
"""Longest duration that one event can tell; a longer key goes on as another event (RFC 4733 section 2.5.1.3)."""

LOST_END_S: Final = 0.2
"""A key of which nothing has come for so long was let go; senders repeat it every 20 to 50 ms."""

REMEMBERED: Final = 8
"""Ended events kept to know late and repeated packets by."""

VOLUME_DBM0: Final = 10  # below 0: what telephones send (ITU-T Q.23 leaves it to administrations)
END_PACKETS: Final = 3
LOW_DBFS: Final = -11.2  # -8 dBm0, with 3.17 dBm0 at full scale (ITU-T G.711)
HIGH_DBFS: Final = -9.2  # 2 dB louder, because lines weaken high frequencies

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Key:
    """A key that was let go. ``at_s``: monotonic, when it was pressed."""

    digit: str
    duration_ms: int
    at_s: float


@dataclass(frozen=True, slots=True)
class _Event:
    code: int
    ssrc: int
    timestamp: int
    duration: int  # of this segment, samples
    before: int  # of earlier segments
    at_s: float
    heard_s: float

    @property
    def key(self) -> Key:
        return Key(DIGITS[self.code], (self.before + self.duration) // SAMPLES_PER_MS, self.at_s)


class EventReceiver:
    """Telephone events of one stream; `packet` for each that arrives, `expire` now and then."""

    def __init__(self) -> None:
        self._event: _Event | None = None
        self._ended: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)

    @property
    def pressed(self) -> str:
        """The key that is held down now; "" for none."""
        return DIGITS[self._event.code] if self._event is not None else ""

    def packet(self, payload: bytes, timestamp: int, ssrc: int, now_s: float) -> list[Key]:
        """
        Take a payload of 4 bytes or more; returns the keys that it ends.

        Events other than the sixteen keys (flash, modem tones) are none of ours.
        """
        code, flags = payload[0], payload[1]
        duration = payload[2] << 8 | payload[3]
        if code >= len(DIGITS) or (ssrc, timestamp) in self._ended:
            return []
        known, ended = self._event, []
        if known is not None and (known.ssrc, known.timestamp) == (ssrc, timestamp):
            # Reordered packets carry shorter durations: the longest one is true.
            event = replace(known, duration=max(known.duration, duration), heard_s=now_s)
        else:
            before, at_s = 0, now_s - duration / (1000 * SAMPLES_PER_MS)
            if known is not None and ssrc == known.ssrc:
                ahead = timestamp - known.timestamp & 0xFFFFFFFF
                if ahead >= 1 << 31:
                    return []  # overtaken by the key that followed; too late to be told in order
                if ahead == SEGMENT_SAMPLES and code == known.code:
                    before, at_s = known.before + SEGMENT_SAMPLES, known.at_s
            if known is not None:
                self._ended.append((known.ssrc, known.timestamp))
                ended = [known.key] if not before else []
            event = _Event(code, ssrc, timestamp, duration, before, at_s, now_s)
        self._event = event
        if flags & 0x80:
            ended.append(self._end(event))
        return ended

    def expire(self, now_s: float) -> list[Key]:
        """The key whose end was lost, once that is certain."""
        event = self._event
        if event is None or now_s - event.heard_s < LOST_END_S:
            return []
        return [self._end(event)]

    def _end(self, event: _Event) -> Key:
        self._ended.append((event.ssrc, event.timestamp))
        self._event = None
        return event.key


@dataclass(frozen=True, slots=True)
class EventPacket:
    """What to send in one 20 ms step of a key. ``offset``: samples since the beginning of its event."""

    payload: bytes
    marker: bool
    offset: int


class EventSender:
    """
    Sends keys as telephone events, 20 ms a step.

    Args:
        digits: of `DIGITS`; else ValueError.
        tone_ms: how long each is held, 40..2000; ``gap_ms``: pause after each, 40..2000.
    """

    def __init__(self, digits: str, tone_ms: int, gap_ms: int) -> None:
        check(digits, tone_ms, gap_ms)
        self.digits = digits
        self._length = tone_ms * SAMPLES_PER_MS
        # The end is told three times, and the next key must not begin before the third.
        self._gap_steps = max(END_PACKETS, -(-gap_ms // 20))
        self._index = 0
        self._step = 0

    @property
    def done(self) -> bool:
        """Whether the last key and its gap are over."""
        return self._index >= len(self.digits)

    def step(self) -> EventPacket | None:
        """The packet of the next 20 ms; None in the gap between keys."""
        steps = -(-self._length // FRAME_SAMPLES)
        step, code = self._step, DIGITS.index(self.digits[self._index])
        self._step += 1
        if self._step >= steps + self._gap_steps:
            self._index, self._step = self._index + 1, 0
        if step >= steps + END_PACKETS - 1:
            return None
        duration = min((step + 1) * FRAME_SAMPLES, self._length)
        end = 0x80 if duration == self._length else 0
        return EventPacket(
            bytes([code, end | VOLUME_DBM0]) + duration.to_bytes(2, "big"), step == 0, step * FRAME_SAMPLES
        )


def check(digits: str, tone_ms: int, gap_ms: int) -> None:
    """Raises ValueError for keys or durations that cannot be sent."""
    if not digits or len(digits) > 64 or set(digits) - set(DIGITS):
        raise ValueError(f"digits must be 1 to 64 of {DIGITS}, got {digits!r}")
    if not 40 <= tone_ms <= 2000 or not 40 <= gap_ms <= 2000:
        raise ValueError(f"tone_ms and gap_ms must lie in 40..2000, got {tone_ms} and {gap_ms}")


def frequencies(digit: str) -> tuple[float, float]:
    """The low and the high tone of a key, Hz."""
    row = next(i for i, keys in enumerate(KEYPAD) if digit in keys)
    return LOW_HZ[row], HIGH_HZ[KEYPAD[row].index(digit)]


def tone(digit: str, samples: int, start: int = 0) -> Samples:
    """``samples`` of a key's tones, from sample ``start`` on, so that pieces join without a click."""
    low_hz, high_hz = frequencies(digit)
    t = np.arange(start, start + samples) / (1000.0 * SAMPLES_PER_MS)
    low = 10 ** (LOW_DBFS / 20) * np.sin(2 * np.pi * low_hz * t)
    high = 10 ** (HIGH_DBFS / 20) * np.sin(2 * np.pi * high_hz * t)
    return np.asarray(32767 * (low + high)).astype(np.int16)


def tones(digits: str, tone_ms: int, gap_ms: int) -> Samples:
    """Keys as sound, each followed by its gap. Raises ValueError as `check` does."""
    check(digits, tone_ms, gap_ms)
    gap = np.zeros(gap_ms * SAMPLES_PER_MS, dtype=np.int16)
    return np.concatenate([part for digit in digits for part in (tone(digit, tone_ms * SAMPLES_PER_MS), gap)])
