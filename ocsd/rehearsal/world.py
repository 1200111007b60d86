"""
What happens to one call: its course, drawn from a mix. Pure.

A draw depends on the seed, the record and how often it was dialed, on nothing else: the same customer does the same in
every variant of a rehearsal, so that variants differ by what they do and not by luck (common random numbers).

Distributions: set-up uniform, everything else lognormal, which fits times to answer and talk times well enough and
needs two figures only (mean and coefficient of variation); docs/rehearsal.md has the figures and where they come from.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from ocsd.model.records import CallingRecord
from telephony.contract import VerdictKind

MOST_PEOPLE: Final = 0.98
"""However good an hour, some numbers are wrong."""


class Party(StrEnum):
    """Who or what is at the other end. Values are those of mix files."""

    PERSON = "person"
    MACHINE = "machine"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAX = "fax"
    SIT = "sit"
    """The network's announcement that the number does not exist (vacant code)."""
    FAILED = "failed"
    """No circuit, or the trunk refuses."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A lognormal time. ``cv``: standard deviation over mean; 0: always the mean."""

    mean_s: float
    cv: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.mean_s < math.inf and 0.0 <= self.cv < math.inf):
            raise ValueError(f"a time needs a mean and a cv of 0 or more, got {self.mean_s} and {self.cv}")

    @property
    def parameters(self) -> tuple[float, float]:
        """mu and sigma of the logarithm; mu is -inf for a mean of 0."""
        sigma2 = math.log1p(self.cv * self.cv)
        return (math.log(self.mean_s) - sigma2 / 2.0 if self.mean_s > 0.0 else -math.inf), math.sqrt(sigma2)


@dataclass(frozen=True, slots=True)
class Mix:
    """
    What calls of a list come to. Times in seconds.

    Attributes:
        shares: weight of each party among the dials, on average over hours and zones.
        setup_s: least and most time from the INVITE to the first ring.
        person_ring, machine_ring: from the first ring to the answer; longer than the ring limit is no answer.
        busy_s: from the INVITE to a busy or failure response.
        greeting: from a person's answer to the end of the greeting: there the legal wait begins.
        person_verdict: from the end of a person's greeting to the verdict of call progress analysis.
        machine_verdict: from a machine's answer to the verdict.
        machine_greeting: from a machine's answer to its recording tone.
        patience: how long a person who hears nobody stays after the greeting.
        connect_s: least and most time from the choice of an agent to the bridge.
        talk, wrap_up: of agents.
        person_as_machine_ratio, machine_as_person_ratio: errors of call progress analysis.
        mistaken_talk: how long an agent needs to notice that a machine is talking.
        by_hour: factor on the share of people for each hour of the called party's day.
        by_zone: the same by IANA zone; 1 for those that are not named.
        sources: where each figure comes from, in words, by name of the figure.
    """

    shares: Mapping[Party, float]
    setup_s: tuple[float, float] = (1.0, 3.0)
    person_ring: Spread = Spread(10.0, 0.45)
    machine_ring: Spread = Spread(14.0, 0.3)
    busy_s: Spread = Spread(2.0, 0.3)
    greeting: Spread = Spread(1.2, 0.4)
    person_verdict: Spread = Spread(0.7, 0.15)
    machine_verdict: Spread = Spread(2.5, 0.4)
    machine_greeting: Spread = Spread(12.0, 0.4)
    patience: Spread = Spread(7.0, 0.3)
    connect_s: tuple[float, float] = (0.2, 0.5)
    talk: Spread = Spread(150.0, 0.8)
    wrap_up: Spread = Spread(30.0, 0.6)
    person_as_machine_ratio: float = 0.0
    machine_as_person_ratio: float = 0.0
    mistaken_talk: Spread = Spread(6.0, 0.4)
    by_hour: tuple[float, ...] = (1.0,) * 24
    by_zone: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.shares.values(), default=0.0) < 0.0 or not 0.0 < math.fsum(self.shares.values()) < math.inf:
            raise ValueError("shares must be 0 or more, and one of them more than 0")
        if len(self.by_hour) != 24 or not all(0.0 <= factor < math.inf for factor in self.by_hour):
            raise ValueError("by_hour needs 24 factors of 0 or more")
        if not all(0.0 <= factor < math.inf for factor in self.by_zone.values()):
            raise ValueError("factors of zones must be 0 or more")
        for name in ("setup_s", "connect_s"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high < math.inf:
                raise ValueError(f"{name} needs a least and a most time, got {low} and {high}")
        for name in ("person_as_machine_ratio", "machine_as_person_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be within 0..1, is {getattr(self, name)}")

    @property
    def person_share(self) -> float:
        """Part of the dials that a person answers, when the ring limit lets them."""
        return self.shares.get(Party.PERSON, 0.0) / math.fsum(self.shares.values())


REFERENCE: Final = Mix(
    shares=MappingProxyType(
        {
            Party.PERSON: 0.30,
            Party.MACHINE: 0.315,
            Party.NO_ANSWER: 0.245,
            Party.BUSY: 0.07,
            Party.SIT: 0.07,
        }
    )
)
"""The reference scenario of the pacing simulator: a hit rate of 30 %, talks of 150 s, wrap-up of 30 s."""


@dataclass(slots=True)
class Course:
    """
    The course of one call if the dialer lets it. Times in seconds; ``math.inf``: never.

    Attributes:
        rings_s: from the INVITE to the first provisional response that says so.
        media: it brings early media.
        early, early_s: what analysis of the early media finds, and when after the INVITE.
        answered_s: from the INVITE.
        ended_s: from the INVITE to the final response of a call that is not answered.
        verdict, verdict_s, speech_end_s: what is found after the answer, when after it, and when the greeting was over.
        revised, revised_s: a later verdict that corrects it, after the answer.
        gone_s: from the answer until the called side hangs up unless somebody talks to it.
        beep_s: from the answer to a machine's recording tone.
        connect_s: from the choice of an agent to its answer.
        talk_s, wrap_up_s: of the agent who gets the call.
    """

    rings_s: float
    answered_s: float = math.inf
    ended_s: float = math.inf
    sip_status: int = 480
    q850_cause: int | None = None
    media: bool = False
    early: VerdictKind | None = None
    early_s: float = math.inf
    verdict: VerdictKind | None = None
    verdict_s: float = math.inf
    speech_end_s: float = 0.0
    revised: VerdictKind | None = None
    revised_s: float = math.inf
    gone_s: float = math.inf
    beep_s: float = math.inf
    connect_s: float = 0.3
    talk_s: float = 0.0
    wrap_up_s: float = 0.0


class World(Protocol):
    """What is called, and by whom calls are taken."""

    def course(self, record: CallingRecord, zone: ZoneInfo | None, at_s: float) -> Course:
        """
        What a call to this record comes to.

        Args:
            record: as it is before the call (its ``attempt`` tells how often it was dialed).
            zone: of the called party; None: UTC.
            at_s: Unix seconds of the call.
        """
        ...

    def handling(self, course: Course, agent_id: str) -> tuple[float, float]:
        """Talk and wrap-up in seconds, once an agent has got the call; asked once per conversation."""
        ...


class MixWorld:
    """Calls drawn from a mix. The same seed gives the same course to the same call."""

    def __init__(self, mix: Mix, seed: int) -> None:
        self.mix = mix
        self._seed = seed
        self._random = random.Random()
        total = math.fsum(mix.shares.values())
        self._person = mix.shares.get(Party.PERSON, 0.0) / total
        # In the order of the enumeration, so that the order of a mix file does not matter.
        others = [(party, mix.shares.get(party, 0.0) / total) for party in Party if party is not Party.PERSON]
        rest = math.fsum(share for _, share in others)
        running, self._others = 0.0, list[tuple[float, Party]]()
        for party, share in others:
            if share > 0.0:
                running += share / rest
                self._others.append((running, party))
        names = ("person_ring", "machine_ring", "busy_s", "greeting", "person_verdict", "machine_verdict",
                 "machine_greeting", "patience", "talk", "wrap_up", "mistaken_talk")  # fmt: skip
        self._spreads = {name: getattr(mix, name).parameters for name in names}
        self._level = any(factor != 1.0 for factor in mix.by_hour) or bool(mix.by_zone)
        self._hours: dict[tuple[str, int], float] = {}

    def course(self, record: CallingRecord, zone: ZoneInfo | None, at_s: float) -> Course:
        mix, rng = self.mix, self._random
        # Large odd multipliers keep records, attempts, lists and seeds apart; Random spreads the rest.
        rng.seed(
            self._seed * 0x9E3779B97F4A7C15
            + record.list_dbid * 0xD1B54A32D192ED03
            + record.record_id * 0x2545F4914F6CDD1D
            + record.attempt
        )
        draw, uniform = self._draw, rng.random
        hit, which, setup = uniform(), uniform(), uniform()
        connect, mistaken = uniform(), uniform()
        rings_s = mix.setup_s[0] + setup * (mix.setup_s[1] - mix.setup_s[0])
        person_share = self._person if not self._level else self._person_share(zone, at_s)
        if hit < person_share:
            party = Party.PERSON
        else:
            party = next((party for bound, party in self._others if which < bound), self._others[-1][1]) if (
                self._others
            ) else Party.NO_ANSWER  # fmt: skip
        course = Course(rings_s, connect_s=mix.connect_s[0] + connect * (mix.connect_s[1] - mix.connect_s[0]))
        match party:
            case Party.PERSON:
                course.answered_s = rings_s + draw("person_ring")
                course.speech_end_s = draw("greeting")
                course.verdict_s = course.speech_end_s + draw("person_verdict")
                course.gone_s = course.speech_end_s + draw("patience")
                course.talk_s, course.wrap_up_s = draw("talk"), draw("wrap_up")
                course.verdict = VerdictKind.MACHINE if mistaken < mix.person_as_machine_ratio else VerdictKind.HUMAN
            case Party.MACHINE:
                course.answered_s = rings_s + draw("machine_ring")
                course.verdict_s = draw("machine_verdict")
                course.beep_s = max(course.verdict_s, draw("machine_greeting"))
                course.gone_s = course.beep_s + 30.0
                course.verdict = VerdictKind.MACHINE
                if mistaken < mix.machine_as_person_ratio:
                    course.verdict = VerdictKind.HUMAN
                    course.speech_end_s = max(0.0, course.verdict_s - mix.person_verdict.mean_s)
                    course.talk_s, course.wrap_up_s = draw("mistaken_talk"), draw("wrap_up")
            case Party.FAX:
                course.answered_s = rings_s + draw("machine_ring")
                course.verdict, course.verdict_s = VerdictKind.FAX, draw("machine_verdict")
                course.gone_s = 35.0
            case Party.BUSY:
                course.rings_s, course.ended_s = math.inf, draw("busy_s")
                course.sip_status, course.q850_cause = 486, 17
            case Party.SIT:
                course.rings_s, course.ended_s = math.inf, draw("busy_s")
                course.sip_status, course.q850_cause = 404, 1
            case Party.FAILED:
                course.rings_s, course.ended_s = math.inf, draw("busy_s")
                course.sip_status, course.q850_cause = 503, 34
            case Party.NO_ANSWER:
                pass  # it rings until the dialer gives up
        return course

    def handling(self, course: Course, agent_id: str) -> tuple[float, float]:
        """All agents are alike: how long a call takes is the customer's."""
        return course.talk_s, course.wrap_up_s

    def _draw(self, name: str) -> float:
        mu, sigma = self._spreads[name]
        if sigma == 0.0:
            return math.exp(mu)
        return self._random.lognormvariate(mu, sigma)

    def _person_share(self, zone: ZoneInfo | None, at_s: float) -> float:
        """By the clock of the called party. Offsets change on quarters of an hour at the soonest."""
        name = zone.key if zone is not None else "UTC"
        key = (name, int(at_s // 900))
        if (found := self._hours.get(key)) is None:
            hour = datetime.fromtimestamp(at_s, zone if zone is not None else UTC).hour
            factor = self.mix.by_hour[hour] * self.mix.by_zone.get(name, 1.0)
            found = self._hours[key] = min(MOST_PEOPLE, self._person * factor)
        return found
