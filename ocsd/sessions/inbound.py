"""Inbound calls for an agent group, as a telephony system outside reports them: ocsd has no queue of its own."""

import structlog

log = structlog.get_logger()

INBOUND_LIFETIME_S = 30.0
"""A report counts for so long. Calls in a queue change within seconds; a reporter that is gone must not hold dialing
back for ever."""


class InboundCalls:
    """The last report of one agent group. Time is passed in."""

    def __init__(self, agent_group: str) -> None:
        self._agent_group = agent_group
        self._queued = 0
        self._ringing = 0
        self._at_s: float | None = None
        self._free: int | None = None

    def report(self, queued: int, ringing: int, now_s: float, free: int | None = None) -> None:
        """
        Take note of what is so now; it replaces the last report.

        Args:
            queued: calls that wait for one of the agents.
            ringing: calls that will need one within seconds: ringing at the entry, or with an announcement.
            free: people whom a queue of another switch can take now; None: that is not said.
        """
        self._queued, self._ringing, self._at_s, self._free = queued, ringing, now_s, free

    def free(self, now_s: float) -> tuple[int, float] | None:
        """Free places of the last report and when it came; None: nobody has reported any for INBOUND_LIFETIME_S."""
        if self._free is None or self._at_s is None or now_s - self._at_s > INBOUND_LIFETIME_S:
            return None
        return self._free, self._at_s

    def current(self, now_s: float) -> tuple[int, int]:
        """Calls queued and ringing; none when nobody has reported for INBOUND_LIFETIME_S."""
        if self._at_s is not None and now_s - self._at_s > INBOUND_LIFETIME_S:
            if self._queued or self._ringing:
                log.warning(
                    "inbound.report_expired",
                    agent_group=self._agent_group,
                    queued=self._queued,
                    ringing=self._ringing,
                    lifetime_s=INBOUND_LIFETIME_S,
                )
            self._queued, self._ringing, self._at_s = 0, 0, None
        return self._queued, self._ringing
