"""
The demo's world in a rehearsal: the very plans that the simulated carrier carries out, without carrier and sound.

What each number does is a pure function of seed and number (`telephony.simworld.plan`), so a rehearsed demo calls the
same people as a real one with the same seed, and each agent has the same talk and wrap-up times in the same order
(`telephony.simworld.desktop.Desk`). `MEASURED` holds what the plans do not say: how long the product itself takes.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zoneinfo import ZoneInfo

from ocsd.config.loader import load_configuration
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import (
    CALLING_LIST,
    CAMPAIGN_GROUP,
    RING_SCALE,
    TALK_CV,
    TALK_MEAN_S,
    WRAP_MEAN_S,
    write_configuration,
)
from ocsd.model.enums import CallResult, DialMode, OptimizeBy, RecordType
from ocsd.model.records import CallingRecord
from ocsd.rehearsal.agents import Rota, Shift
from ocsd.rehearsal.lists import ListCopies, ListCopy
from ocsd.rehearsal.run import Run, Scene, Variant, group_named, rehearse
from ocsd.rehearsal.session import Delays, Rhythm
from ocsd.rehearsal.world import Course
from ocsd.sessions.group import DialSettings
from telephony.contract import VerdictKind
from telephony.simworld.desktop import Habits
from telephony.simworld.numbers import number_for
from telephony.simworld.plan import MIXES, Behaviour, NumberClass, Plan, lognormal, plan_for

Range = tuple[float, float]
"""Least and most, uniform between them; seconds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """
    What was measured in real demos and on their sounds (docs/rehearsal.md says where and how), in seconds.

    Attributes:
        network: from the INVITE to the carrier's first answer, beyond what the plan says.
        person: from the end of a person's greeting, as its score says, to the verdict; clips end in silence, some more
            than others.
        heard_back: from the end of the greeting as it is heard to the verdict: what the analysis waits for.
        machine: from the answer to the verdict "machine".
        machine_as_person, machine_heard_out: share of machines that an agent gets, because they are silent for a
            moment before they beep; and from the end of their greeting to that verdict.
        beep: from the beginning of their beep until it is known for one, which frees the agent.
        fax, busy_answered, silence: from the answer to that verdict.
        busy, reorder, sit: from the beginning of early media.
        connect: from the choice of an agent to the bridge: the phone's delay and the signalling.
    """

    network: Range = (0.01, 0.05)
    person: Range = (0.3, 0.71)
    heard_back: float = 0.6
    machine: Range = (4.0, 6.95)
    machine_as_person: float = 0.2
    machine_heard_out: Range = (0.38, 0.79)
    beep: Range = (0.63, 1.09)
    fax: Range = (1.2, 2.1)
    busy_answered: Range = (1.61, 1.65)
    silence: Range = (4.48, 4.49)
    busy: Range = (1.6, 1.65)
    reorder: Range = (0.85, 0.87)
    sit: Range = (1.0, 1.22)
    connect: Range = (0.06, 0.31)
    delays: Delays = field(default_factory=lambda: Delays(launch_s=0.01, teardown_s=0.02, ready_s=0.02))


MEASURED: Final = Measured()

SIT: Final[Mapping[NumberClass, VerdictKind]] = {
    NumberClass.SIT_IC: VerdictKind.SIT_INTERCEPT,
    NumberClass.SIT_VC: VerdictKind.SIT_VACANT,
    NumberClass.SIT_RO: VerdictKind.SIT_REORDER,
    NumberClass.SIT_NC: VerdictKind.SIT_NO_CIRCUIT,
    NumberClass.SIT_IO: VerdictKind.SIT_INEFFECTIVE,
}


START: Final = datetime(2026, 3, 3, 15, 0, tzinfo=UTC)
"""Any time will do: the demo's numbers may be called at any hour."""


class DemoWorld:
    """Calls to the demo's numbers. The same seed gives the same course to the same number."""

    def __init__(self, seed: int, measured: Measured = MEASURED) -> None:
        self._seed, self._measured = seed, measured
        self._mix = MIXES["demo"]
        self._behaviour = Behaviour(ring_scale=RING_SCALE, talk_mean_s=TALK_MEAN_S, talk_cv=TALK_CV)
        self._habits = Habits(talk_mean_s=TALK_MEAN_S, talk_cv=TALK_CV, wrap_mean_s=WRAP_MEAN_S)
        self._random = random.Random()
        self._agents: dict[str, random.Random] = {}

    def course(self, record: CallingRecord, zone: ZoneInfo | None, at_s: float) -> Course:
        """See `World.course`."""
        plan = plan_for(self._seed, record.contact_info, self._mix, self._behaviour)
        rng, measured = self._random, self._measured
        rng.seed(self._seed * 1_000_003 + record.record_id * 1_009 + record.attempt)
        first_s = plan.post_dial_s + rng.uniform(*measured.network)
        course = Course(
            rings_s=first_s if plan.ring_s > 0.0 else math.inf,
            media=bool(plan.early),
            connect_s=rng.uniform(*measured.connect),
            talk_s=plan.talk_s,
        )
        over_s = first_s + plan.ring_s
        if plan.status == 200:
            course.answered_s = over_s
            course.gone_s = plan.hang_up_s
            self._after_answer(plan, course)
        else:
            course.ended_s, course.sip_status, course.q850_cause = over_s, plan.status, plan.q850_cause
            self._early(plan, course)
        return course

    def handling(self, course: Course, agent_id: str) -> tuple[float, float]:
        """See `World.handling`: the agent's next conversation, unless the customer ends it sooner."""
        if (rng := self._agents.get(agent_id)) is None:
            rng = self._agents[agent_id] = random.Random(f"desk|{self._seed}|{agent_id}")
        talk_s = lognormal(rng, self._habits.talk_mean_s, self._habits.talk_cv)
        wrap_up_s = lognormal(rng, self._habits.wrap_mean_s, self._habits.wrap_cv)
        rng.random()  # whether the agent corrects the result, which none does in the demo
        return min(talk_s, course.talk_s), wrap_up_s

    def _early(self, plan: Plan, course: Course) -> None:
        rng, measured = self._random, self._measured
        kind, heard = SIT.get(plan.number_class), measured.sit
        if plan.number_class is NumberClass.BUSY_INBAND:
            kind, heard = VerdictKind.BUSY, measured.busy
        elif plan.number_class is NumberClass.REORDER_INBAND:
            kind, heard = VerdictKind.REORDER, measured.reorder
        if kind is not None:
            course.early, course.early_s = kind, course.rings_s + rng.uniform(*heard)

    def _after_answer(self, plan: Plan, course: Course) -> None:
        rng, measured = self._random, self._measured
        match plan.number_class:
            case NumberClass.HUMAN | NumberClass.MUSIC | NumberClass.HANGUP_EARLY:
                course.verdict = VerdictKind.HUMAN
                course.verdict_s = plan.greeting_end_s + rng.uniform(*measured.person)
                course.speech_end_s = max(0.05, course.verdict_s - measured.heard_back)
                course.gone_s = min(plan.hang_up_s, plan.greeting_end_s + plan.patience_s)
            case NumberClass.MACHINE if rng.random() < measured.machine_as_person:
                course.verdict = VerdictKind.HUMAN
                course.verdict_s = plan.greeting_end_s + rng.uniform(*measured.machine_heard_out)
                course.speech_end_s = max(0.05, course.verdict_s - measured.heard_back)
                course.talk_s = plan.hang_up_s - course.verdict_s
                assert plan.beep_s is not None
                course.beep_s = course.revised_s = plan.beep_s + rng.uniform(*measured.beep)
                course.revised = VerdictKind.MACHINE
            case NumberClass.MACHINE:
                course.verdict, course.verdict_s = VerdictKind.MACHINE, rng.uniform(*measured.machine)
                course.beep_s = plan.greeting_end_s
            case NumberClass.FAX:
                course.verdict, course.verdict_s = VerdictKind.FAX, rng.uniform(*measured.fax)
            case NumberClass.BUSY_ANSWERED:
                course.verdict, course.verdict_s = VerdictKind.BUSY, rng.uniform(*measured.busy_answered)
            case _:
                course.verdict, course.verdict_s = VerdictKind.SILENCE, rng.uniform(*measured.silence)


def rehearse_demo(options: DemoOptions, measured: Measured = MEASURED) -> Run:
    """A demo with these options, in virtual time."""
    with TemporaryDirectory(prefix="ocsd-rehearsal-") as folder:
        path = Path(folder) / "ocsd.toml"
        write_configuration(
            path,
            options,
            data_dir=Path(folder),
            http_port=0,
            desktop_port=0,
            carrier_port=5060,
            phones_port=5061,
            legal_window=False,
        )
        config = load_configuration(path)
    group = group_named(config, CAMPAIGN_GROUP)
    calling_list = config.calling_list(CALLING_LIST)
    rows = tuple(
        CallingRecord(
            list_dbid=calling_list.dbid,
            record_id=place,
            contact_info=number_for(place - 1),
            contact_info_type=1,
            record_type=RecordType.GENERAL,
            call_result=int(CallResult.UNKNOWN),
            attempt=0,
            dial_sched_time=None,
            call_time=None,
            daily_from_s=calling_list.daily_from,
            daily_till_s=calling_list.daily_till,
            tz_dbid=config.time_zones[0].dbid,
            chain_id=place,
            chain_n=0,
        )
        for place in range(1, options.records + 1)
    )
    duration_s = float(options.seconds)
    scene = Scene(
        config=config,
        group=group,
        lists=ListCopies((ListCopy(calling_list.dbid, rows, len(rows)),), "the demo's customers"),
        world=lambda seed: DemoWorld(seed, measured),
        start=START,
        duration_s=duration_s,
        delays=measured.delays,
        rhythm=Rhythm(),
    )
    settings = DialSettings(
        DialMode.PREDICTIVE if options.mode == "predictive" else DialMode.PROGRESSIVE, OptimizeBy.OVERDIAL_RATE, 3
    )
    variant = Variant("rehearsed", settings, Rota((Shift(0.0, duration_s, options.agents),)))
    return rehearse(scene, variant, options.seed)


def told_of_rehearsal(run: Run) -> dict[str, float | int]:
    """The figures that a demo's report has too, by the same names."""
    total = run.total
    return {
        "attempts": total.attempts,
        "answered": total.people,
        "connected": total.connected,
        "abandoned": total.abandoned,
        "overdial_rate": round(total.overdial_ratio or 0.0, 5),
        "busy_factor": round(total.busy_ratio or 0.0, 4),
        "mean_wait_s": round(total.people_wait_s or 0.0, 3),
        "cpu_s": round(run.cpu_s, 2),
    }
