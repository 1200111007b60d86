"""Worlds to simulate. Seconds and ratios; distributions are lognormal with mean and coefficient of variation (cv)."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Spread:
    """A lognormal by mean and coefficient of variation."""

    mean_s: float
    cv: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One campaign group and its called parties.

    A call sets up for ``setup_s`` (uniform), rings, and with ``hit_ratio`` a person answers after ``ring``. Of the
    others ``machine_ratio`` are machines answering after ``machine_ring``, ``no_answer_ratio`` ring until
    ``no_answer_s``, the rest fail at set-up, busy and special information tones alike.

    ``analysed``: calls answered by either kind pass analysis (``person_delay``, ``machine_delay``); otherwise the
    verdict is immediate. ``connect_s``: time to connect an agent, part of ``max_wait_s``. ``hit_ratio_later`` applies
    to launches in the second half. ``leaving_ratio`` of the agents log out at half-time, for good. ``break_every_s``:
    mean time between breaks of an agent (0: none), of ``break_s`` each.
    """

    name: str
    agents: int
    hit_ratio: float = 0.30
    duration_s: float = 4 * 3600.0
    talk: Spread = Spread(150.0, 0.8)
    wrap_up: Spread = Spread(30.0, 0.6)
    ring: Spread = Spread(10.0, 0.45)
    setup_s: tuple[float, float] = (1.0, 3.0)
    machine_ring: Spread = Spread(14.0, 0.3)
    machine_ratio: float = 0.45
    no_answer_ratio: float = 0.35
    no_answer_s: float = 28.0
    analysed: bool = False
    person_delay: Spread = Spread(1.5, 0.3)
    machine_delay: Spread = Spread(3.0, 0.3)
    connect_s: float = 0.0
    max_wait_s: float = 2.0
    hit_ratio_later: float | None = None
    leaving_ratio: float = 0.0
    break_every_s: float = 0.0
    break_s: float = 600.0
    ports: int = 100_000
    decide_every_s: float = 1.0


def _by_name() -> dict[str, Scenario]:
    base = Scenario("agents-25", 25)
    short = Scenario(
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
    scenarios = [
        *(replace(base, name=f"agents-{agents}", agents=agents) for agents in (5, 10, 25, 50, 100, 300)),
        replace(base, name="hit-10", agents=30, hit_ratio=0.10),
        replace(base, name="handling-30s", talk=Spread(22.0, 0.8), wrap_up=Spread(8.0, 0.6)),
        replace(base, name="hit-jumps", agents=30, hit_ratio=0.20, hit_ratio_later=0.45),
        replace(base, name="breaks", agents=40, break_every_s=3600.0, leaving_ratio=0.5),
        replace(base, name="long-rings", agents=30, ring=Spread(16.0, 0.45), machine_ring=Spread(25.0, 0.1)),
        replace(base, name="talk-cv-2", agents=30, talk=Spread(150.0, 2.0)),
        replace(base, name="few-lines", agents=40, ports=70),
        short,
        replace(short, name="short-run-ring-8", ring=Spread(8.0, 0.5), machine_ring=Spread(8.0, 0.5)),
    ]
    return {scenario.name: scenario for scenario in scenarios}


SCENARIOS = _by_name()
