"""What ended lately, for daemons that were not there to hear it, or were killed before they had written it down. Pure.

A recording's end and a channel's totals are said once, and the daemon keeps both in its database. It may be away just
then; or it may be killed between hearing and writing, and nobody can tell the server which of the two happened last.
So what was told is kept for a while and told again to whoever connects next, who knows it by its path or channel.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from telephony.contract import ChannelClosed, RecordingFinished

TELL_AGAIN_S: Final = 60.0
"""A daemon writes what it hears within seconds, through a short outage of its database too."""

MOST_RECORDINGS: Final = 1000
"""Each is in its sidecar file as well."""

MOST_CHANNELS: Final = 3000
"""A minute of a busy server; with the recordings about a third of the longest frame."""

Ended = RecordingFinished | ChannelClosed


class Endings:
    """``note`` what was said, ``lately`` what the next daemon is to be told."""

    def __init__(self) -> None:
        self._recordings: deque[tuple[RecordingFinished, float | None]] = deque(maxlen=MOST_RECORDINGS)
        self._channels: deque[tuple[ChannelClosed, float | None]] = deque(maxlen=MOST_CHANNELS)

    def note(self, events: Iterable[msgspec.Struct], now_s: float, *, told: bool) -> None:
        """Keep the ends among ``events``. ``told``: a daemon was connected."""
        told_at_s = now_s if told else None
        for event in events:
            if isinstance(event, RecordingFinished):
                self._recordings.append((event, told_at_s))
            elif isinstance(event, ChannelClosed):
                self._channels.append((event, told_at_s))

    def lately(self, now_s: float) -> tuple[tuple[RecordingFinished, ...], tuple[ChannelClosed, ...]]:
        """What a daemon that connects now is told, the oldest first; it counts as told from now on."""
        recordings = [one for one, at_s in self._recordings if at_s is None or now_s - at_s <= TELL_AGAIN_S]
        channels = [one for one, at_s in self._channels if at_s is None or now_s - at_s <= TELL_AGAIN_S]
        self._recordings = deque(((one, now_s) for one in recordings), maxlen=MOST_RECORDINGS)
        self._channels = deque(((one, now_s) for one in channels), maxlen=MOST_CHANNELS)
        return tuple(recordings), tuple(channels)
