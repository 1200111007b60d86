"""Key presses of all channels: understood, passed on through a conversation, and sent. Rows; no sockets.

A key that one side of a bridge presses goes on as events where the other side negotiated them, and as tones where it
did not. While a key is held, the side that holds it is silent for its partners: far ends that send the tone as audio,
too, would make the other side hear it twice.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from telephony.media.dtmf import DIGITS, EventPacket, EventReceiver, EventSender, Key, tone
from telephony.media.g711 import Samples

FRAME_SAMPLES: Final = 160
LONGEST_HELD_S: Final = 5.0
"""A tone passed on ends by itself: its end may have been lost together with the call that it came from."""


@dataclass(slots=True)
class _Held:
    """A key that is being passed on as a tone."""

    digit: str
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """20 ms of a key that is sent to ``row``; ``packet`` None: the gap after it. ``ended``: the digits now all sent."""

    row: int
    packet: EventPacket | None
    ended: str


class Keys:
    """Receivers, senders and held tones by row."""

    def __init__(self) -> None:
        self._receivers: dict[int, EventReceiver] = {}
        self._down: set[int] = set()
        self._senders: dict[int, deque[EventSender]] = {}
        self._held: dict[int, tuple[int, _Held]] = {}
        self.pressed: list[tuple[int, Key]] = []
        """Keys let go since this list was last emptied, (row, key)."""

    @property
    def down(self) -> set[int]:
        """Rows whose far end holds a key now."""
        return self._down

    def knows_events(self, row: int) -> bool:
        """Whether this far end has ever sent a telephone event."""
        return row in self._receivers

    def heard(self, row: int, payload: bytes, timestamp: int, ssrc: int, now_s: float) -> None:
        """A telephone-event packet of a row's far end."""
        receiver = self._receivers.get(row)
        if receiver is None:
            receiver = self._receivers[row] = EventReceiver()
        self.pressed += [(row, key) for key in receiver.packet(payload, timestamp, ssrc, now_s)]
        self._note(row, receiver)

    def expire(self, now_s: float) -> None:
        """Call every tick."""
        for row in list(self._down):
            receiver = self._receivers[row]
            self.pressed += [(row, key) for key in receiver.expire(now_s)]
            self._note(row, receiver)

    def _note(self, row: int, receiver: EventReceiver) -> None:
        if receiver.pressed:
            self._down.add(row)
        else:
            self._down.discard(row)
            for listener in [listener for listener, (talker, _) in self._held.items() if talker == row]:
                del self._held[listener]

    def close(self, row: int) -> None:
        """The channel is gone."""
        self._receivers.pop(row, None)
        self._down.discard(row)
        self._senders.pop(row, None)
        for listener in [one for one, (talker, _) in self._held.items() if row in (one, talker)]:
            del self._held[listener]

    # --- passing on as a tone -----------------------------------------------------------------------------------

    def hold(self, listener: int, talker: int) -> None:
        """``listener``, who understands no events, shall hear the key that ``talker`` holds, for as long as it does."""
        receiver = self._receivers.get(talker)
        known = self._held.get(listener)
        if receiver is None or not receiver.pressed:
            return
        if known is None or known[0] != talker or known[1].digit != receiver.pressed:
            self._held[listener] = talker, _Held(receiver.pressed)

    def held_tones(self) -> list[tuple[int, Samples]]:
        """20 ms of each tone that is passed on."""
        pieces: list[tuple[int, Samples]] = []
        for listener, (_, held) in list(self._held.items()):
            pieces.append((listener, tone(held.digit, FRAME_SAMPLES, held.samples)))
            held.samples += FRAME_SAMPLES
            if held.samples > LONGEST_HELD_S * 8000:
                del self._held[listener]
        return pieces

    # --- sending ------------------------------------------------------------------------------------------------

    def send(self, row: int, digits: str, tone_ms: int, gap_ms: int) -> None:
        """Queue keys as events. Raises ValueError for what cannot be sent."""
        self._senders.setdefault(row, deque()).append(EventSender(digits, tone_ms, gap_ms))

    def steps(self) -> list[Step]:
        """The next 20 ms of every row that sends keys."""
        steps: list[Step] = []
        for row, queue in list(self._senders.items()):
            packet = queue[0].step()
            ended = ""
            if queue[0].done:
                ended = queue.popleft().digits
                if not queue:
                    del self._senders[row]
            steps.append(Step(row, packet, ended))
        return steps


def is_key(payload: bytes) -> bool:
    """Whether a telephone-event payload is one of the sixteen keys."""
    return payload[0] < len(DIGITS)
