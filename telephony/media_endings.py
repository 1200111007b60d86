"""The daemon's side of `telephony.media.endings`: ends that a server tells, each taken once, kept until asked for."""

from collections import deque
from typing import Final, Generic, TypeVar

from telephony.contract import ChannelClosed, RecordingFinished

EndedT = TypeVar("EndedT", RecordingFinished, ChannelClosed)

MOST_KEPT: Final = 10_000
"""Minutes of a busy server; who asks does so every second."""


class Ends(Generic[EndedT]):
    """``news`` says whether an end is new, ``keep`` keeps it for `take`."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._kept: deque[EndedT] = deque(maxlen=MOST_KEPT)

    def news(self, ended: EndedT) -> bool:
        """False when it has been told before: a server tells what ended lately to whoever connects."""
        identity = _identity(ended)
        if identity in self._known:
            return False
        self._known[identity] = None
        if len(self._known) > MOST_KEPT:
            del self._known[next(iter(self._known))]
        return True

    def keep(self, ended: EndedT) -> None:
        self._kept.append(ended)

    def take(self) -> list[EndedT]:
        """What has been kept since the last time."""
        taken = list(self._kept)
        self._kept.clear()
        return taken


def _identity(ended: RecordingFinished | ChannelClosed) -> str:
    return ended.path if isinstance(ended, RecordingFinished) else ended.channel_id
