"""Whose packets a channel takes: symmetric RTP that cannot be stolen. Pure; one `SourceGate` per channel.

SDP names an address, but behind a translator packets come from another port, or from another host altogether. Whoever
finds our port must not be able to inject audio or to draw ours away, so:

    nothing heard --(negotiated address)--> exact       at once; from then on nobody else, until SDP says otherwise
    nothing heard --(its host, other port)--> latched   after probation
    nothing heard --(another host)--> latched           after longer probation, only with ``learn`` ANY, only when the
                                                        negotiated host is a private one, only in the first seconds
    latched --(negotiated address)--> exact             after a short probation: the latched one may be a leftover of
                                                        the call that used the port before
    latched --(its host, other port)--> latched         after probation, only when the latched one has been silent for
                                                        RELEARN_AFTER_S

Probation: packets of one SSRC with rising sequence numbers, spread over the time that so many packets take. A burst
sent at once does not pass, nor do single packets that hit the right numbers.
"""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

Sources = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

RELEARN_AFTER_S: Final = 3.0
"""A latched source silent for so long may be replaced; a moved far end sends 50 packets a second."""

TAKEOVER_PACKETS: Final = 2  # RFC 3550 A.1, MIN_SEQUENTIAL
PROBATION_PACKETS: Final = 3
ANY_HOST_PACKETS: Final = 6
PACKET_SPACING_S: Final = 0.008
"""Least mean distance of packets on probation: those of 10 ms, some of them pushed together on the way."""

LARGEST_STEP: Final = 8
"""Sequence numbers may rise by so much between two packets on probation: some are lost on every path."""

ANY_HOST_WITHIN_S: Final = 10.0
"""After SDP came, a stranger's host can be learned for so long; the first packets through a translator come at once."""

CANDIDATES: Final = 64
"""Sources on probation at the same time. A flood of others pushes out those that were heard once, the oldest first."""


class Learn(StrEnum):
    """Which hosts a source may be learned from."""

    HOST = "host"
    ANY = "any"


@dataclass(slots=True)
class _Candidate:
    ssrc: int
    seq: int
    since_s: float
    packets: int = 1


@dataclass(slots=True)
class SourceGate:
    """
    Addresses are numbers: IPv4 host << 16 | port (`batch_io.source_key`).

    ``latched`` is the source whose packets count, ``exact`` whether that is the negotiated one.
    """

    learn: Learn = Learn.HOST
    negotiated: int | None = None
    latched: int | None = None
    exact: bool = False
    _since_s: float = 0.0
    _candidates: dict[int, _Candidate] = field(default_factory=dict)

    def negotiate(self, remote: int | None, now_s: float) -> bool:
        """Take the address of an SDP, None for no media; True when it is a new one, which ends what was learned."""
        if remote == self.negotiated:
            return False
        self.negotiated, self.latched, self.exact, self._since_s = remote, None, False, now_s
        self._candidates.clear()
        return True

    def judge(self, source: int, ssrc: int, seq: int, at_s: float, silent_s: float) -> str:
        """
        Judge a well-formed RTP packet from a source that is not the latched one.

        ``silent_s``: time since the last packet that counted. Returns "" when the source is now the latched one, else
        why the packet is dropped.
        """
        if self.negotiated is None:
            return "no_remote"
        if self.exact:
            return "unknown_source"
        living = self.latched is not None and silent_s <= RELEARN_AFTER_S
        if source == self.negotiated:
            needed = TAKEOVER_PACKETS if living else 1
        elif living:
            return "unknown_source"
        elif source >> 16 == self.negotiated >> 16:
            needed = PROBATION_PACKETS
        elif self._may_learn_host(at_s):
            needed = ANY_HOST_PACKETS
        else:
            return "unknown_source"
        if not self._passes(source, ssrc, seq, at_s, needed):
            return "probation"
        self.latched, self.exact = source, source == self.negotiated
        self._candidates.clear()
        return ""

    def candidates(self, sources: Sources, at_s: float, silent_s: float) -> Mask:
        """Which of ``sources`` have to be looked at: the latched one, and those that `judge` could take now."""
        if self.negotiated is None:
            return np.zeros(len(sources), dtype=np.bool_)
        if self.exact:
            return np.isin(sources, self.negotiated)
        if self.latched is not None and silent_s <= RELEARN_AFTER_S:
            return np.isin(sources, (self.latched, self.negotiated))
        if self._may_learn_host(at_s):
            return np.ones(len(sources), dtype=np.bool_)
        return np.isin(sources >> 16, self.negotiated >> 16)

    def _may_learn_host(self, at_s: float) -> bool:
        if self.learn is not Learn.ANY or self.latched is not None or self.negotiated is None:
            return False
        # A host that is reachable as such sends from where it says; one of a private net is translated on the way.
        private = not ipaddress.IPv4Address(self.negotiated >> 16).is_global
        return private and at_s - self._since_s <= ANY_HOST_WITHIN_S

    def _passes(self, source: int, ssrc: int, seq: int, at_s: float, needed: int) -> bool:
        found = self._candidates.get(source)
        follows = found is not None and found.ssrc == ssrc and 1 <= (seq - found.seq) & 0xFFFF <= LARGEST_STEP
        if found is None or not follows:
            if found is None and len(self._candidates) >= CANDIDATES:
                once = (key for key, one in self._candidates.items() if one.packets == 1)
                del self._candidates[next(once, next(iter(self._candidates)))]
            found = self._candidates[source] = _Candidate(ssrc, seq, at_s)
        else:
            found.seq = seq
            found.packets += 1
        spread_s = at_s - found.since_s
        return found.packets >= needed and spread_s >= (needed - 1) * PACKET_SPACING_S
