"""Pacing as others do it, each behind the methods of :class:`pacing.Pacer`, to measure ours against.

Those with a knob are tuned per scenario to stay within the limit (:mod:`pacing.sim.experiment`), which no real campaign
could do: it would have to know its day in advance.
"""

import math

from pacing.pacer import Outcome
from pacing.progressive import one_to_one_launches
from pacing.types import DialDecision, GroupSnapshot


class Baseline:
    """Takes every event and learns nothing; the base of the others."""

    def answered(self, age_s: float) -> None:
        """See :meth:`pacing.Pacer.answered`, as for the others below."""

    def ended(self, age_s: float, outcome: Outcome, after_answer_s: float | None = None) -> None:
        pass

    def person(self, delay_s: float) -> None:
        pass

    def bridged(self, wait_s: float) -> None:
        pass

    def abandoned(self) -> None:
        pass

    def handled(self, talk_s: float, wrap_up_s: float) -> None:
        pass

    def launches(self, snapshot: GroupSnapshot) -> float:
        """Calls wanted now, before the hard limits; fractions are rounded down."""
        raise NotImplementedError

    def decide(self, snapshot: GroupSnapshot) -> DialDecision:
        room = min(snapshot.ports_free, snapshot.records_ready, snapshot.starts_allowed)
        return DialDecision(max(0, min(math.floor(self.launches(snapshot) + 1e-9), room)), type(self).__name__, 0.0)


class Progressive(Baseline):
    """One call per ready agent."""

    def launches(self, snapshot: GroupSnapshot) -> float:
        return one_to_one_launches(snapshot)
