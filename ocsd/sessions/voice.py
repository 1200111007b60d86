"""
Voice applications of one session: which calls run one, how many may at once, and what the pacing sees of it.

For the pacing a port of the application is an agent who is always at work: ready while no call is on it, talking while
one is, without after-call work. Progressive GVP starts one call per free port; Power GVP dials ahead by its goal, whose
busy factor is the utilization of the ports, within the bounds on abandoned calls that hold in every mode, or starts
``power-calls-per-minute``.

IVR groups
----------
An IVR group (``ivr_group``) is a group of places: ports of an IVR behind the switch, available whenever no call is on
them, and without desktops. In Predictive and Progressive mode, and in the GVP modes where no application is named, they
take the part of the agents. Their records are finished when the call is released; with ``ivr_update_on_release`` what
the port sends with the end of its leg is written to the record.

Source: Reference Manual, "Outbound Contact with GVP 8.1" and "Virtual Agent Support for Notifications".
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from ocsd.config.media_options import AGENTS, DISTRIBUTION
from ocsd.config.objects import AgentGroup, CampaignGroup, Configuration, FormatField
from ocsd.config.options import lookup
from ocsd.config.voice_objects import VoiceApplication
from ocsd.config.voice_options import (
    IVR_UPDATE_ON_RELEASE,
    POWER_CALLS_PER_MINUTE,
    VOICE_APPLICATION,
    VOICE_CHANNEL_NUM,
    VOICE_TO_MACHINES,
)
from ocsd.model.enums import GVP_MODES, SEIZING_MODES, CallAction, CallResult, CmError, DialMode
from ocsd.model.errors import CampaignRequestError
from ocsd.sessions.attempt_context import AttemptContext
from ocsd.sessions.attempt_events import CallPlan
from ocsd.sessions.attempt_voice import APPLICATION
from ocsd.sessions.call_plan import destination_uri
from ocsd.sessions.roster import AgentSeat, AgentState
from ocsd.sessions.trunks import StartBucket
from ocsd.voice import user_data
from pacing import DialDecision, GroupSnapshot

if TYPE_CHECKING:
    from ocsd.sessions.attempt import AttemptMachine
    from ocsd.sessions.attempt_task import AttemptTask
    from ocsd.sessions.roster import Roster
    from ocsd.sessions.session import Session

log = structlog.get_logger()

PORT_REST_S: Final = 5.0
"""How long a port is left alone whose phone did not answer: somebody else's call may be on it."""
SECONDS_PER_MINUTE: Final = 60.0
QUEUE_MODES: Final = frozenset({DialMode.PREDICTIVE, DialMode.PROGRESSIVE})
"""In these a queue of another switch may take the part of the agents (option distribution)."""
RESULTS_TO_RUN: Final = frozenset({CallResult.ANSWER})
ACTIONS_TO_RUN: Final = frozenset({CallAction.NONE, CallAction.CONNECT})
"""A treatment that connects the call connects it with the application; every other action goes before it."""


class Voice:
    """What a session does about voice applications."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._busy: dict[int, float] = {}
        """When each port in use was taken (monotonic), by attempt."""
        self._begun: set[int] = set()
        """Attempts whose application the pacing knows of."""
        self._led_to: dict[int, str] = {}
        """Agent group that an application has led the attempt to."""
        self._per_minute = StartBucket(session.clock.now_s())
        self.refused = 0
        """People for whom no port was free."""
        self.finished = 0
        self.busy_s = 0.0
        """Time of all ports on calls that are over."""

    @property
    def name(self) -> str:
        return str(self._session.planner.option(VOICE_APPLICATION.name))

    @property
    def active(self) -> bool:
        """The group's calls run a voice application."""
        return self._session.settings.dial_mode in GVP_MODES and self.application(self.name) is not None

    def application(self, name: str) -> VoiceApplication | None:
        return next((one for one in self._session.config.voice_applications if one.name == name), None)

    def plan(self, call_result: CallResult, plan: CallPlan | None) -> CallPlan | None:
        """What becomes of a call on which this was found; ``plan``: what a treatment says."""
        if not self.active or (plan is not None and plan.action not in ACTIONS_TO_RUN):
            return plan
        connected = plan is not None and plan.action is CallAction.CONNECT
        machine = call_result is CallResult.ANSWERING_MACHINE
        to_machines = machine and bool(self._session.planner.option(VOICE_TO_MACHINES.name))
        if not (connected or to_machines or call_result in RESULTS_TO_RUN):
            return plan
        application = self.application(self.name)
        assert application is not None
        return CallPlan(
            CallAction.NONE,
            treatment_dbid=plan.treatment_dbid if plan is not None else 0,
            application=application.name,
            dialog=application.is_vxml,
            answer_s=application.answer_s,
            limit_s=application.limit_s,
        )

    def uri(self, context: AttemptContext, destination: str) -> str:
        """Where a transfer of the application leads, ready to dial."""
        return destination_uri(destination, self._session.config.trunk(context.trunk))

    # --- ports ----------------------------------------------------------------------------------------------------

    @property
    def ports(self) -> int:
        session = self._session
        places = len(session.config.agent_group(session.group.group).places)
        asked = int(session.planner.option(VOICE_CHANNEL_NUM.name))
        return asked or places or session.group.num_of_channels

    @property
    def in_use(self) -> int:
        return len(self._busy)

    def take_port(self, attempt_id: int) -> bool:
        """Whether one is free, and the attempt's from now on, until it is over or somebody else has the call."""
        if attempt_id not in self._busy and len(self._busy) >= self.ports:
            self.refused += 1
            return False
        self._busy.setdefault(attempt_id, self._session.clock.now_s())
        return True

    def legs_kept(self) -> int:
        """Legs that dialogs of calls under way will need."""
        application = self.application(self.name) if self.active else None
        if application is None or not application.is_vxml:
            return 0
        return sum(attempt_id not in self._begun for attempt_id in self._session.attempts)

    # --- IVR groups -------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """A port whose phone did not answer is tried again after a while."""
        now_s = self._session.clock.now_s()
        for seat in self._session.roster.seats.values():
            if seat.is_port and seat.state is AgentState.NOT_READY and now_s - seat.since_s >= PORT_REST_S:
                seat.enter(AgentState.READY, now_s)
                self._session.match_agents()

    def wanted_headers(self, task: "AttemptTask", agent_id: str) -> tuple[str, ...]:
        """Headers with the end of the agent's leg that may say something about the record (ivr_update_on_release)."""
        seat = self._session.roster.seat(agent_id)
        updates = seat.is_port and bool(self._session.planner.option(IVR_UPDATE_ON_RELEASE.name))
        return user_data.wanted_headers(self._fields(task)) if updates else ()

    def port_released(self, task: "AttemptTask", agent_id: str) -> None:
        """Write what a port has sent with the end of its leg to the record, which is about to be closed."""
        if not self.wanted_headers(task, agent_id):
            return  # most calls; a rehearsed one has no second leg that could be asked
        ended = task.second.ended
        if ended is None:
            return
        data = user_data.user_data_of(ended.headers)
        result, updates, wrong = user_data.correction(data, self._fields(task))
        if wrong:
            log.warning("voice.user_data_refused", attempt_id=task.context.attempt_id, why=wrong)
        task.context.updates.update(updates)
        task.machine.correct(result)

    def _fields(self, task: "AttemptTask") -> tuple[FormatField, ...]:
        config = self._session.config
        return config.format_of_list(config.calling_list_by_dbid(task.context.record.list_dbid)).fields

    # --- attempts -------------------------------------------------------------------------------------------------

    def lead_to(self, attempt_id: int, agent_group: str) -> None:
        """The person is to wait for an agent of this group; "": of the campaign group's own."""
        self._led_to[attempt_id] = agent_group

    def roster_of(self, attempt_id: int) -> "Roster":
        """Whose agents the person of an attempt waits for."""
        name = self._led_to.get(attempt_id, "")
        return self._session.sharing.rosters[name] if name else self._session.roster

    def changed(self, attempt_id: int, machine: "AttemptMachine") -> None:
        """Called after each change of state."""
        if "applied" in machine.marks and attempt_id not in self._begun:
            self._begun.add(attempt_id)
            if machine.person_at_s is not None and machine.found_person:
                self._session.score.bridged(max(0.0, machine.marks["applied"] - machine.person_at_s))
        if machine.state in APPLICATION and attempt_id in self._begun:
            self._busy.setdefault(attempt_id, self._session.clock.now_s())  # back from a queue or a transfer
        if attempt_id in self._busy and machine.state not in APPLICATION:
            self._over(attempt_id, machine)

    def adopt(self, attempt_id: int, since_s: float) -> None:
        """A dialog that has outlived the daemon before."""
        self._busy[attempt_id] = since_s
        self._begun.add(attempt_id)

    def _over(self, attempt_id: int, machine: "AttemptMachine") -> None:
        lasted_s = self._session.clock.now_s() - self._busy.pop(attempt_id)
        self.finished += 1
        self.busy_s += lasted_s
        if "applied" in machine.marks and machine.found_person:
            self._session.handled(lasted_s, 0.0)

    def ended(self, attempt_id: int, machine: "AttemptMachine") -> None:
        """The attempt is over."""
        if attempt_id in self._busy:
            self._over(attempt_id, machine)
        self._begun.discard(attempt_id)
        self._led_to.pop(attempt_id, None)

    # --- the pacing -----------------------------------------------------------------------------------------------

    def as_seen(self, seen: GroupSnapshot) -> GroupSnapshot:
        """The group with the application's ports in place of its agents."""
        talking = tuple(seen.now_s - since_s for since_s in self._busy.values())
        return replace(
            seen,
            agents_idle_s=(0.0,) * max(0, self.ports - len(talking)),
            agents_talking_s=talking,
            agents_wrapping_s=(),
            agents_ready_in_s=(),
            agents_kept_back=0,
            agents_leaving=0,
            people_waiting=0,
        )

    def decide(self, seen: GroupSnapshot) -> DialDecision | None:
        """Calls by the minute; None: the pacing decides."""
        per_minute = float(self._session.planner.option(POWER_CALLS_PER_MINUTE.name))
        if self._session.settings.dial_mode is not DialMode.POWER_GVP or per_minute <= 0.0 or not self.active:
            return None
        return by_the_minute(self._per_minute, per_minute, seen, self.ports)

    def figures(self) -> dict[str, float | int | None]:
        """By the names under which live figures are published."""
        if not self.active:
            return {}
        return {
            "voice_ports": self.ports,
            "voice_ports_busy": self.in_use,
            "voice_port_utilization": self.in_use / self.ports if self.ports else 0.0,
            "voice_refused": self.refused,
            "voice_finished": self.finished,
            "voice_mean_s": self.busy_s / self.finished if self.finished else 0.0,
        }


def check_mode(config: Configuration, group: CampaignGroup, mode: DialMode) -> None:
    """CampaignRequestError for a mode that needs an application, or agents whose phones can be seized."""
    ivr = config.agent_group(group.group).ivr_group
    name = lookup(config, VOICE_APPLICATION, campaign=config.campaign(group.campaign), group=group)
    if mode in GVP_MODES and not ivr and name not in {one.name for one in config.voice_applications}:
        raise CampaignRequestError(
            CmError.INVALID_CAMPAIGN_MODE,
            f"{mode.campaign_mode}: campaign group {group.name!r} has no {VOICE_APPLICATION.name}",
        )
    if mode in SEIZING_MODES and ivr:
        raise CampaignRequestError(
            CmError.INVALID_CAMPAIGN_MODE,
            f"{mode.campaign_mode}: {group.group!r} is an IVR group, which seizing (ASM) modes do not support",
        )
    how = lookup(config, DISTRIBUTION, campaign=config.campaign(group.campaign), group=group)
    if how != AGENTS and mode not in QUEUE_MODES:
        raise CampaignRequestError(
            CmError.INVALID_CAMPAIGN_MODE,
            f"{mode.campaign_mode}: {DISTRIBUTION.name} of campaign group {group.name!r} is {how}, which predictive "
            "and progressive mode support",
        )


def ports_of(config: Configuration, group: AgentGroup, now_s: float) -> list[AgentSeat]:
    """Seats of the places of an IVR group, ready from the beginning."""
    dn_of = {place.name: place.dn for place in config.places}
    return [
        AgentSeat(name, dn_of[name], AgentState.READY, now_s, is_port=True) for name in group.places if group.ivr_group
    ]


def by_the_minute(bucket: StartBucket, per_minute: float, seen: GroupSnapshot, ports: int) -> DialDecision:
    """Calls to start now: by the rate, and never more than could all be answered by people."""
    under_way = len(seen.attempts_age_s) + len(seen.analysing_age_s) + len(seen.agents_talking_s)
    due = bucket.allowed(per_minute / SECONDS_PER_MINUTE, seen.now_s)
    room = {
        "records": seen.records_ready,
        "ports": min(seen.ports_free, ports - under_way),
        "start_rate": seen.starts_allowed,
        "calls_per_minute": due,
    }
    if seen.legal is not None and seen.legal.stop:
        room = {"legal_stop": 0}
    because = min(room, key=lambda name: room[name])
    launch = max(0, room[because])
    bucket.take(launch)
    inputs = {"calls_per_minute": per_minute, "under_way": float(under_way), **{k: float(v) for k, v in room.items()}}
    return DialDecision(launch, because, 0.0, inputs)
