"""How calls sound: from what media servers say at the end of a channel to what is kept, counted, warned of. Pure."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ocsd.model.records import KeptStream, StreamTotals
from ocsd.sessions.clock import Clock, utc_of
from telephony.contract import ChannelClosed

CHANNEL: Final = re.compile(r"a(\d{1,18})-[0-9a-f]{8}-(customer|agent|destination)(?:-.*)?-rtp")
"""See `AttemptContext.leg_id` and its siblings, and `second_leg.channel_of`."""

CODECS: Final = {0: "PCMU", 8: "PCMA"}

SATISFYING_MOS: Final = 3.6
"""R = 70, above which ITU-T G.109 table 1 calls a connection's quality medium or better; below it many complain."""

BAD_MOS: Final = 2.58
"""R = 50, below which ITU-T G.109 recommends no connection."""

LEAST_PACKETS: Final = 100
"""Two seconds: from less than that nobody can tell how a call sounded."""

RECENT: Final = 1000
"""Streams that the running figures are taken of."""

WARN_EVERY_S: Final = 60.0
MOST_INT: Final = 2**31 - 1


def totals_of(closed: ChannelClosed, clock: Clock) -> StreamTotals | None:
    """What to keep of a channel; None: it is no call's, or nothing was sent or heard on it."""
    found = CHANNEL.fullmatch(closed.channel_id)
    if found is None or not (closed.packets_in or closed.packets_out):
        return None
    ended_at = utc_of(clock, closed.at_s) if closed.at_s > 0.0 else None
    reported = closed.remote_mos > 0.0
    return StreamTotals(
        attempt_id=int(found[1]),
        channel_id=closed.channel_id,
        leg=found[2],
        ended_at=ended_at if ended_at is not None else clock.utc(),
        codec=CODECS.get(closed.payload_type, str(closed.payload_type)),
        packets_in=min(closed.packets_in, MOST_INT),
        packets_out=min(closed.packets_out, MOST_INT),
        lost=min(closed.lost, MOST_INT),
        late=min(closed.dropped.get("late", 0), MOST_INT),
        concealed=min(closed.gaps, MOST_INT),
        loss_ratio=round(closed.loss_ratio, 4),
        jitter_ms=round(closed.jitter_ms, 1),
        mos=round(closed.mos, 2) if closed.mos > 0.0 else None,
        rtt_ms=round(closed.rtt_ms, 1) if closed.rtt_ms > 0.0 else None,
        remote_mos=round(closed.remote_mos, 2) if reported else None,
        remote_loss_ratio=round(closed.remote_loss_ratio, 4) if reported else None,
        remote_jitter_ms=round(closed.remote_jitter_ms, 1) if reported else None,
    )


def unheard(kept: KeptStream) -> bool:
    """A call that was answered and spoken to for a while, and from which not one packet came."""
    totals = kept.totals
    return kept.answered and totals.leg == "customer" and not totals.packets_in and totals.packets_out >= LEAST_PACKETS


def sounds(totals: StreamTotals) -> list[float]:
    """The MOS of each direction that is known well enough."""
    heard = [] if totals.mos is None or totals.packets_in < LEAST_PACKETS else [totals.mos]
    return heard + ([] if totals.remote_mos is None or totals.packets_out < LEAST_PACKETS else [totals.remote_mos])


@dataclass(slots=True)
class StreamTally:
    """Running figures of a campaign group about how its customers sound to its agents, since the group was loaded."""

    unheard: int = 0
    _mos: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def note(self, kept: KeptStream) -> None:
        """Count a stream of the group."""
        totals = kept.totals
        self.unheard += unheard(kept)
        if totals.leg == "customer" and totals.mos is not None and totals.packets_in >= LEAST_PACKETS:
            self._mos.append(totals.mos)

    def figures(self) -> dict[str, float | int | None]:
        """By the names under which live figures are published."""
        ordered = sorted(self._mos)
        below = sum(mos < SATISFYING_MOS for mos in ordered)
        return {
            "mos_p50": ordered[len(ordered) // 2] if ordered else None,
            "mos_p5": ordered[len(ordered) // 20] if ordered else None,
            "mos_below_3_6_ratio": round(below / len(ordered), 4) if ordered else None,
            "answered_unheard": self.unheard,
        }


@dataclass(slots=True)
class BadStreams:
    """Which streams to warn of: at most one line in WARN_EVERY_S, which counts the others."""

    _worst: tuple[float, KeptStream] | None = None
    _count: int = 0
    _warned_s: float | None = None

    def note(self, streams: Iterable[KeptStream], now_s: float) -> dict[str, object] | None:
        """What to log now, if anything; also to be called without news, for what waits."""
        for kept in streams:
            mos = 0.0 if unheard(kept) else min(sounds(kept.totals), default=5.0)
            if mos < BAD_MOS:
                self._count += 1
                if self._worst is None or mos < self._worst[0]:
                    self._worst = mos, kept
        if self._worst is None or (self._warned_s is not None and now_s - self._warned_s < WARN_EVERY_S):
            return None
        (_, worst), count = self._worst, self._count
        self._worst, self._count, self._warned_s = None, 0, now_s
        totals = worst.totals
        return {
            "streams": count,
            "attempt_id": totals.attempt_id,
            "leg": totals.leg,
            "campaign_group_dbid": worst.campaign_group_dbid,
            "mos": totals.mos,
            "remote_mos": totals.remote_mos,
            "packets_in": totals.packets_in,
            "loss_ratio": totals.loss_ratio,
            "remote_loss_ratio": totals.remote_loss_ratio,
            "jitter_ms": totals.jitter_ms,
        }
