"""Worlds to simulate: what a scenario is, the named ones, and random ones. Seconds and ratios throughout."""

from dataclasses import dataclass, field, replace

import numpy as np

from pacing.sim.spread import Shape, Spread

_TALK = Spread(150.0, 0.8)
_WRAP_UP = Spread(30.0, 0.6)
_RING = Spread(10.0, 0.45)
_MACHINE_RING = Spread(22.0, 0.2)
_PERSON_DELAY = Spread(1.5, 0.3)
_MACHINE_DELAY = Spread(3.0, 0.3)
_MACHINE_TALK = Spread(6.0, 0.5)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One or several campaign groups, their agents and the people they call.

    Times within a run are given as a share of ``duration_s``, so that a shorter run is the same story told faster.

    Attributes:
        name: how the command line and the tables call it.
        agents: how many there are at most at a time (see ``staff``).
        hit_ratio: share of launched calls answered by a person; with several groups, of the first one.
        duration_s: calls start for so long; then the calls under way are followed to their end.
        talk, wrap_up: what an agent needs for a call, in conversation and after it.
        ring: from the end of set-up to a person's answer. machine_ring: to a machine's.
        setup_s: bounds of the uniform time until it rings, or fails.
        machine_ratio, no_answer_ratio: shares among the calls that reach no person; the others fail at set-up (busy,
            special information tones). no_answer_s: how long an unanswered call rings before it is given up.
        analysed: calls answered by either kind pass analysis for ``person_delay`` or ``machine_delay``; otherwise the
            verdict is immediate.
        person_lost_ratio: people whom analysis takes for machines and hangs up on. machine_passed_ratio: machines it
            takes for people; an agent hears one for ``machine_talk``.
        connect_s: time to connect an agent, part of ``max_wait_s``, for which a person found is kept at most.
        hang_up: patience of people who wait; None: they wait for ``max_wait_s``.
        hit_steps: (share of the duration, hit ratio from then on).
        hit_walk: (standard deviation, time constant in seconds) of a stationary AR(1) process that moves the logit of
            the hit ratio. hit_batches: (records, standard deviation): each so many records of the list share an
            offset of the logit.
        staff: (share of the duration, share of ``agents`` on duty from then on), the first at 0; empty: all, always.
            crowd_s: they come or go within so many seconds. notice_s: agents tell so long ahead that they are going
            to leave (Smart Logout).
        break_every_s: mean time between breaks of an agent (0: none), of ``break_s`` each.
        ports: lines for everything. starts_per_s: calls that may start per second.
        records: records of the list; busy time counts until the last one is dialed. records_per_s: records that
            become due, besides.
        hint_ratio: share of wrap-ups for which the agent tells when it will be ready; hint_cv: error of that.
        inbound_per_s: inbound calls for the same agents, served first, which ring ``inbound_ring_s`` before they queue;
            kept_back: ready agents whom outbound calls leave alone.
        group_hits: hit ratios of several groups that share all agents; pacing counts agent i for group i modulo n.
        decide_every_s: interval of decisions.
        about: the story, for people.
    """

    name: str
    agents: int
    hit_ratio: float = 0.30
    duration_s: float = 4 * 3600.0
    talk: Spread = _TALK
    wrap_up: Spread = _WRAP_UP
    ring: Spread = _RING
    setup_s: tuple[float, float] = (1.0, 3.0)
    machine_ring: Spread = _MACHINE_RING
    machine_ratio: float = 0.45
    no_answer_ratio: float = 0.35
    no_answer_s: float = 28.0
    analysed: bool = False
    person_delay: Spread = _PERSON_DELAY
    machine_delay: Spread = _MACHINE_DELAY
    person_lost_ratio: float = 0.0
    machine_passed_ratio: float = 0.0
    machine_talk: Spread = _MACHINE_TALK
    connect_s: float = 0.0
    max_wait_s: float = 2.0
    hang_up: Spread | None = None
    hit_steps: tuple[tuple[float, float], ...] = ()
    hit_walk: tuple[float, float] = (0.0, 600.0)
    hit_batches: tuple[int, float] = (0, 0.0)
    staff: tuple[tuple[float, float], ...] = ()
    crowd_s: float = 0.0
    notice_s: float = 0.0
    break_every_s: float = 0.0
    break_s: float = 600.0
    ports: int = 100_000
    starts_per_s: float = 1_000_000.0
    records: int = 100_000_000
    records_per_s: float = 0.0
    hint_ratio: float = 0.0
    hint_cv: float = 0.3
    inbound_per_s: float = 0.0
    inbound_ring_s: float = 6.0
    kept_back: int = 0
    group_hits: tuple[float, ...] = ()
    decide_every_s: float = 1.0
    about: str = field(default="", repr=False, compare=False)

    @property
    def handling_s(self) -> float:
        """Mean seconds an agent needs for a person."""
        return self.talk.mean_s + self.wrap_up.mean_s


SHORT_RUN = Scenario(
    "short-run",
    20,
    hit_ratio=0.45,
    duration_s=120.0,
    talk=Spread(12.0, 0.5),
    wrap_up=Spread(3.0, 0.5),
    ring=Spread(4.0, 0.5),
    setup_s=(0.1, 0.3),
    machine_ring=Spread(4.0, 0.5),
    machine_ratio=0.20 / 0.55,
    no_answer_ratio=0.30,
    no_answer_s=20.0,
    analysed=True,
    connect_s=0.3,
    decide_every_s=0.2,
)
"""The demonstration: two minutes of short calls. Too few people for a rate, so it is no part of the table."""

_HOUR_S = 3600.0
_BASE = Scenario("agents-25", 25)
_ANALYSED = replace(
    _BASE,
    agents=30,
    analysed=True,
    person_delay=Spread(2.75, 0.26, Shape.UNIFORM),
    machine_delay=Spread(2.75, 0.26, Shape.UNIFORM),
)
_DAY = ((0.0, 0.4), (0.08, 1.0), (0.42, 0.45), (0.55, 1.0), (0.8, 0.6), (0.93, 0.25))
"""Early birds, everybody, lunch, everybody, part-timers leave, the last ones: as shares of the day and the staff."""

REFERENCE = (
    *(replace(_BASE, name=f"agents-{agents}", agents=agents) for agents in (5, 10, 25, 50, 100, 300)),
    replace(_BASE, name="hit-10", agents=30, hit_ratio=0.10),
    replace(_BASE, name="handling-30s", talk=Spread(22.0, 0.8), wrap_up=Spread(8.0, 0.6)),
    replace(_BASE, name="hit-jumps", agents=30, hit_ratio=0.20, hit_steps=((0.5, 0.45),)),
    replace(_BASE, name="breaks", agents=40, break_every_s=_HOUR_S, staff=((0.0, 1.0), (0.5, 0.5))),
    replace(
        _BASE, name="long-rings", agents=30, ring=Spread(16.0, 0.45), machine_ring=Spread(25.0, 0.1), no_answer_s=38.0
    ),
    replace(_BASE, name="talk-cv-2", agents=30, talk=Spread(150.0, 2.0)),
    replace(_BASE, name="few-lines", agents=40, ports=70),
)
"""Worlds for which figures of other pacing algorithms are known from an independent simulator. Where its description
is silent (when machines answer), progressive pacing, whose busy factor follows from the mean times alone, tells."""

FURTHER = (
    replace(_BASE, name="agents-1000", agents=1000, duration_s=2 * _HOUR_S),
    replace(_BASE, name="hit-5", agents=30, hit_ratio=0.05),
    replace(_BASE, name="talk-pareto", agents=30, talk=Spread(150.0, 3.0, Shape.PARETO)),
    replace(_BASE, name="talk-cv-3", agents=30, talk=Spread(150.0, 3.0)),
    replace(_BASE, name="shifts", agents=60, staff=_DAY, crowd_s=120.0, break_every_s=2 * _HOUR_S),
    replace(_BASE, name="shifts-at-once", agents=60, staff=_DAY, crowd_s=5.0),
    replace(_BASE, name="shifts-announced", agents=60, staff=_DAY, crowd_s=30.0, notice_s=60.0),
    replace(_BASE, name="calls-per-second", agents=60, starts_per_s=1.0),
    replace(_BASE, name="hit-walk", agents=40, hit_walk=(0.5, 600.0)),
    replace(_BASE, name="hit-batches", agents=40, hit_batches=(250, 0.6)),
    replace(_ANALYSED, name="analysis"),
    replace(_ANALYSED, name="analysis-errors", person_lost_ratio=0.06, machine_passed_ratio=0.08),
    *(
        replace(_BASE, name=f"cold-start-{agents}", agents=agents, duration_s=_HOUR_S, hit_ratio=hit_ratio)
        for agents, hit_ratio in ((25, 0.30), (100, 0.15), (300, 0.45))
    ),
    replace(_BASE, name="list-runs-out", agents=30, records=4000, records_per_s=0.15),
    replace(_BASE, name="impatient", agents=30, hang_up=Spread(1.5, 0.5)),
    replace(_BASE, name="blended", agents=40, inbound_per_s=0.06, kept_back=1),
    replace(_BASE, name="ready-hints", agents=30, wrap_up=Spread(60.0, 1.0), hint_ratio=0.8),
    replace(_BASE, name="shared-agents", agents=45, group_hits=(0.10, 0.25, 0.45)),
)

_ABOUT = {
    "agents-5": "five agents, three calls in ten answered, three minutes of handling, four hours from a cold start",
    "agents-10": "the same with 10 agents",
    "agents-25": "the same with 25 agents: the base of all that follow",
    "agents-50": "the same with 50 agents",
    "agents-100": "the same with 100 agents",
    "agents-300": "the same with 300 agents",
    "hit-10": "one call in ten answered",
    "handling-30s": "short calls: 22 s of talk, 8 s of wrap-up",
    "hit-jumps": "from one day part to the next the hit ratio goes from 20 to 45 %",
    "breaks": "ten minutes of break every hour, each agent at will; at half-time half the agents leave",
    "long-rings": "people let it ring for 16 s, machines for 25 s, nobody is given up before 38 s",
    "talk-cv-2": "talk times with twice the mean as standard deviation",
    "few-lines": "70 lines for 40 agents, conversations included",
    "agents-1000": "1,000 agents, two hours",
    "hit-5": "one call in twenty answered",
    "talk-pareto": "talk times with a tail that has hardly a variance (Pareto, index 2.05)",
    "talk-cv-3": "lognormal talk times, three times the mean as standard deviation",
    "shifts": "a day with early birds, lunch and part-timers, who come and go within two minutes; breaks",
    "shifts-at-once": "the same crowds within five seconds, unforeseen",
    "shifts-announced": "the same crowds, each agent telling a minute ahead",
    "calls-per-second": "one call start per second for 60 agents, which is just not enough",
    "hit-walk": "the logit of the hit ratio wanders: standard deviation 0.5, ten minutes of memory",
    "hit-batches": "each 250 records of the list have a hit ratio of their own",
    "analysis": "answers are analysed for 1.5 to 4 s, people and machines alike",
    "analysis-errors": "besides, 6 % of the people are taken for machines, 8 % of the machines for people",
    "cold-start-25": "the first hour of 25 agents",
    "cold-start-100": "the first hour of 100 agents, 15 % of the calls answered",
    "cold-start-300": "the first hour of 300 agents, 45 % of the calls answered, all idle at once",
    "list-runs-out": "4,000 records and nine a minute more, for 30 agents who need twice as many",
    "impatient": "people hang up after 1.5 s on average instead of waiting for two",
    "blended": "the agents serve inbound calls as well, a quarter of their time; one is kept back for them",
    "ready-hints": "long wrap-ups, of which eight in ten are announced to end at a time that is right within 30 %",
    "shared-agents": "three groups with hit ratios of 10, 25 and 45 % share 45 agents",
    "short-run": "two minutes of short calls, decided five times a second",
}
SCENARIOS = {
    scenario.name: replace(scenario, about=_ABOUT[scenario.name]) for scenario in (*REFERENCE, *FURTHER, SHORT_RUN)
}
TABLE_NAMES = tuple(scenario.name for scenario in (*REFERENCE, *FURTHER))


def random_scenario(number: int) -> Scenario:
    """The scenario ``random-<number>``: every parameter drawn from a wide range, always the same for a number.

    They guard against pacing that is tuned to the named worlds.
    """
    random = np.random.default_rng((number, 20_251))

    def between(low: float, high: float) -> float:  # logarithmic: half the draws below the geometric mean
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    def sometimes(chance: float) -> bool:
        return bool(random.random() < chance)

    agents = round(between(5, 300))
    analysed = sometimes(0.5)
    shape = (Shape.LOGNORMAL, Shape.LOGNORMAL, Shape.GAMMA, Shape.PARETO)[int(random.integers(4))]
    hit_ratio = between(0.06, 0.6)
    talk = Spread(between(15.0, 400.0), float(random.uniform(0.4, 2.0)), shape)
    wrap_up = Spread(between(3.0, 90.0), float(random.uniform(0.2, 1.2)))
    ring = Spread(between(5.0, 16.0), float(random.uniform(0.2, 0.7)))
    # What one call per agent would need at the worst, times a margin from scarce to plenty.
    lines = agents * (1.0 + (ring.mean_s + 20.0) / (talk.mean_s + wrap_up.mean_s) / hit_ratio)
    return Scenario(
        name=f"random-{number}",
        agents=agents,
        hit_ratio=hit_ratio,
        duration_s=2 * _HOUR_S,
        talk=talk,
        wrap_up=wrap_up,
        ring=ring,
        machine_ring=Spread(between(8.0, 25.0), float(random.uniform(0.1, 0.5))),
        machine_ratio=float(random.uniform(0.1, 0.6)),
        no_answer_ratio=float(random.uniform(0.1, 0.4)),
        no_answer_s=float(random.uniform(18.0, 35.0)),
        analysed=analysed,
        person_delay=Spread(float(random.uniform(0.8, 3.0)), 0.3),
        machine_delay=Spread(float(random.uniform(1.5, 4.5)), 0.3),
        person_lost_ratio=float(random.uniform(0.0, 0.08)) if analysed else 0.0,
        machine_passed_ratio=float(random.uniform(0.0, 0.12)) if analysed else 0.0,
        connect_s=float(random.uniform(0.0, 0.5)),
        hang_up=Spread(2.0, 0.6) if sometimes(0.2) else None,
        hit_steps=((float(random.uniform(0.3, 0.7)), between(0.06, 0.6)),) if sometimes(0.3) else (),
        hit_walk=(float(random.uniform(0.1, 0.7)), between(120.0, 2000.0)) if sometimes(0.4) else (0.0, 600.0),
        hit_batches=(round(between(50, 1000)), float(random.uniform(0.1, 0.8))) if sometimes(0.3) else (0, 0.0),
        staff=_DAY if sometimes(0.25) else (),
        crowd_s=between(1.0, 300.0),
        notice_s=60.0 if sometimes(0.3) else 0.0,
        break_every_s=between(1800.0, 7200.0) if sometimes(0.4) else 0.0,
        ports=round(lines * random.uniform(0.8, 1.5)) if sometimes(0.25) else 100_000,
        hint_ratio=float(random.uniform(0.2, 1.0)) if sometimes(0.2) else 0.0,
        inbound_per_s=agents / (talk.mean_s + wrap_up.mean_s) * random.uniform(0.02, 0.2) if sometimes(0.2) else 0.0,
    )


def scenario_named(name: str) -> Scenario:
    """The named scenario, or ``random-<number>``; KeyError for any other name."""
    if name.startswith("random-") and name[7:].isdecimal():
        return random_scenario(int(name[7:]))
    return SCENARIOS[name]
