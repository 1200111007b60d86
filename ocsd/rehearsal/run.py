"""One rehearsal: one variant of a campaign group, one seed, so many hours of virtual time."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from ocsd.config.objects import Agent, CampaignGroup, Configuration
from ocsd.dnc.contract import DoNotCall
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.model.enums import PREDICTIVE_MODES
from ocsd.model.errors import ConfigError
from ocsd.rehearsal.agents import Rota
from ocsd.rehearsal.clock import VirtualClock
from ocsd.rehearsal.figures import SAMPLE_S, Sample, Stretch, by, stretch, worst_window
from ocsd.rehearsal.lists import ListCopies, RehearsalStore
from ocsd.rehearsal.session import Delays, RehearsedSession, Rhythm
from ocsd.rehearsal.world import World
from ocsd.sessions.group import DialSettings
from ocsd.sessions.roster import AgentSeat, AgentState
from pacing.guard import Phase

DRAIN_S: Final = 120.0
"""After the end what is under way is followed for so long, so that no call is left out of the rates."""


@dataclass(frozen=True, slots=True)
class Variant:
    """
    What is compared.

    ``name``: for tables and plots.
    """

    name: str
    settings: DialSettings
    rota: Rota


@dataclass(frozen=True, slots=True)
class Scene:
    """
    What all variants have in common.

    Attributes:
        start: aware; where in the day and the week the rehearsal begins.
        duration_s: of dialing.
        world: gives the world of a seed.
    """

    config: Configuration
    group: CampaignGroup
    lists: ListCopies
    world: Callable[[int], World]
    start: datetime
    duration_s: float
    delays: Delays
    rhythm: Rhythm
    dnc: DoNotCall | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """
    What the guard over the legal window says at the end of a run.

    Attributes:
        rule, limit_ratio: in force for the campaign.
        people, abandoned: in the window, those before the rehearsal included.
        bound_ratio: share of the dialing during which the guard let calls start one to one only, or not at all.
    """

    rule: str
    limit_ratio: float
    people: int
    abandoned: int
    bound_ratio: float

    @property
    def kept(self) -> bool:
        return self.abandoned <= self.limit_ratio * self.people


@dataclass(frozen=True, slots=True)
class Run:
    """
    Attributes:
        samples: of every minute, the first at the start, the last at the end of dialing.
        drained: the totals once everything under way has ended; people and abandoned count from there.
        results: calls by result (manual's number).
        because: decisions to launch nothing or something, by binding reason, in calls started.
        exhausted_s: when the lists had nothing left to give; None: not before the end.
        left: chains that may still be dialed.
        window: None: no legal window is watched.
        cpu_s: what the run has cost.
    """

    variant: Variant
    seed: int
    samples: tuple[Sample, ...]
    drained: Sample
    waits_s: tuple[float, ...]
    results: Mapping[int, int]
    because: Mapping[str, int]
    held_back: Mapping[str, int]
    decisions: int
    exhausted_s: float | None
    left: int
    window: Window | None
    cpu_s: float

    @property
    def total(self) -> Stretch:
        """
        Figures of the whole run. Agents' time is that of the dialing: not of what follows, which is only drained, nor
        of sitting before exhausted lists. Everything counted in people includes those whom the last calls brought.
        """
        dialed, drained = stretch(self.samples[0], self.dialed), stretch(self.samples[0], self.drained)
        return replace(
            drained,
            until_s=dialed.until_s,
            busy_ratio=dialed.busy_ratio,
            agent_wait_s=dialed.agent_wait_s,
            agents=dialed.agents,
        )

    @property
    def dialed(self) -> Sample:
        """The totals when dialing was over: at the end, or when the lists were exhausted."""
        end_s = self.exhausted_s if self.exhausted_s is not None else math.inf
        return next((sample for sample in self.samples if sample.at_s >= end_s), self.samples[-1])

    @property
    def worst(self) -> Stretch | None:
        return worst_window(self.samples)

    def by(self, length_s: float) -> list[Stretch]:
        return by(self.samples, length_s)

    @property
    def speed(self) -> float:
        """Seconds of virtual time per second of CPU."""
        return self.samples[-1].at_s / self.cpu_s if self.cpu_s > 0.0 else 0.0

    def fingerprint(self) -> tuple[Any, ...]:
        """Everything that must be the same when the run is repeated."""
        return (self.samples, self.drained, self.waits_s, sorted(self.results.items()), sorted(self.because.items()),
                sorted(self.held_back.items()), self.decisions, self.exhausted_s, self.left,
                self.window)  # fmt: skip


def with_seats(config: Configuration, group: CampaignGroup, seats: int) -> list[AgentSeat]:
    """So many agents of the group: its own first, then made-up ones."""
    own = config.agent_group(group.group).agents
    known = {agent.login_id: agent for agent in config.agents}
    agents = [known[login_id] for login_id in own[:seats]]
    agents += [
        Agent(dbid=1, login_id=f"rehearsal{number}", dn=f"sip:rehearsal{number}@127.0.0.1")
        for number in range(1, seats - len(agents) + 1)
    ]
    return [AgentSeat(agent.login_id, agent.dn) for agent in agents]


def group_named(config: Configuration, name: str) -> CampaignGroup:
    """By name or DBID; ConfigError: there is none, and which there are."""
    for group in config.campaign_groups:
        if name in (group.name, str(group.dbid)):
            return group
    known = ", ".join(repr(group.name) for group in config.campaign_groups)
    raise ConfigError([f"no campaign group is called {name!r}; there are: {known or 'none'}"])


def without_outside(config: Configuration) -> Configuration:
    """Nothing outside is asked in a rehearsal: pre-dial validation counts as passed."""
    name = "pre-dial-validation"

    def off(entry: Any) -> Any:
        return entry.model_copy(update={"options": {k: v for k, v in entry.options.items() if k != name}})

    return config.model_copy(
        update={
            "application": off(config.application),
            "campaigns": tuple(off(entry) for entry in config.campaigns),
            "campaign_groups": tuple(off(entry) for entry in config.campaign_groups),
            "calling_lists": tuple(off(entry) for entry in config.calling_lists),
        }
    )


def rehearse(scene: Scene, variant: Variant, seed: int, *, progress: Callable[[float], object] | None = None) -> Run:
    """
    Run one variant with one seed. The same arguments give the same run to the last digit.

    Args:
        progress: called with the share that is done, 0..1.
    """
    began_s = time.process_time()
    collects = gc.isenabled()
    gc.disable()  # millions of small values and hardly a circle: collecting costs a fifth of the run
    try:
        return _rehearse(scene, variant, seed, began_s, progress)
    finally:
        if collects:
            gc.enable()


def _rehearse(
    scene: Scene, variant: Variant, seed: int, began_s: float, progress: Callable[[float], object] | None
) -> Run:
    clock = VirtualClock(scene.start)
    database = scene.lists.database(scene.config)
    database.now = clock.utc
    store = RehearsalStore(database, scene.lists.answered, scene.lists.began_s)
    seats = with_seats(scene.config, scene.group, variant.rota.seats)
    session = RehearsedSession(
        scene.config,
        scene.group,
        variant.settings,
        store=store,
        dnc=scene.dnc if scene.dnc is not None else MemoryDoNotCall(),
        clock=clock,
        seats=seats,
        world=scene.world(seed),
        delays=scene.delays,
        rhythm=scene.rhythm if variant.settings.dial_mode in PREDICTIVE_MODES else scene.rhythm.finer(),
    )
    for at_s, seat, turn in variant.rota.turns(seed):
        if at_s < scene.duration_s:
            session.at(at_s, partial(session.turn, seat, turn))
    session.at(0.0, session.start)  # once those who are there from the beginning are there
    samples = [sample(session)]
    step = bound = 0
    while clock.seconds < scene.duration_s:
        step += 1
        session.run_until(min(step * SAMPLE_S, scene.duration_s))
        samples.append(sample(session))
        bound += _is_bound(session)
        if progress is not None:
            progress(clock.seconds / scene.duration_s)
    session.stop()
    # Whoever has stayed until then stays for the people whom the last calls bring.
    session.run_until(scene.duration_s + DRAIN_S)
    return Run(
        variant=variant,
        seed=seed,
        samples=tuple(samples),
        drained=sample(session),
        waits_s=tuple(session.waits_s),
        results=dict(session.score.tally.results),
        because=dict(session.because),
        held_back={gate.value: count for gate, count in session.supply.refused.items()},
        decisions=session.decisions,
        exhausted_s=session.exhausted_s,
        left=store.left(),
        window=_window(session, bound / max(1, step)),
        cpu_s=time.process_time() - began_s,
    )


def _is_bound(session: RehearsedSession) -> bool:
    return session.guard.guard is not None and session.guard.state().phase is not Phase.OPEN


def _window(session: RehearsedSession, bound_ratio: float) -> Window | None:
    if session.guard.guard is None:
        return None
    state = session.guard.state()
    return Window(state.rule.name, state.rule.limit_ratio, state.count.people, state.count.abandoned, bound_ratio)


def sample(session: RehearsedSession) -> Sample:
    """The session's totals now."""
    tally, now_s = session.score.tally, session.clock.seconds
    busy_s = ready_s = 0.0
    agents = 0
    for seat in session.roster.seats.values():
        busy_s += seat.time_spent_s(AgentState.TALKING, now_s) + seat.time_spent_s(AgentState.WRAP_UP, now_s)
        ready_s += seat.time_spent_s(AgentState.READY, now_s) + seat.time_spent_s(AgentState.RESERVED, now_s)
        agents += seat.state is not AgentState.LOGGED_OUT
    return Sample(
        at_s=now_s,
        attempts=tally.attempts,
        answered=tally.answered,
        people=tally.people,
        connected=tally.connected,
        abandoned=tally.abandoned,
        wait_total_s=tally.wait_total_s,
        busy_s=busy_s,
        ready_s=ready_s,
        agents=agents,
        touched=len(session.store.touched),
        final=session.store.final,
    )
