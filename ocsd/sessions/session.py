"""One loaded campaign group: its buffer, its dialing loop, its attempts, in a nursery of its own."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from functools import partial

import structlog
import trio

from ocsd.config.objects import CampaignGroup, Configuration, Trunk
from ocsd.dnc.contract import DoNotCall
from ocsd.lists.store import ListStore
from ocsd.model.enums import CallResult, GroupCampStatus
from ocsd.model.errors import StoreUnavailable
from ocsd.model.records import CallingRecord, Chain, ChainSettlement, CpdRecording, OpenAttempt
from ocsd.rules.contract import Hours
from ocsd.sessions.assured import serve_assured
from ocsd.sessions.attempt import OUTLIVES_DAEMON, AttemptMachine, AttemptState, CallPlan, Forced
from ocsd.sessions.attempt_task import AttemptContext, AttemptTask
from ocsd.sessions.bell import Bell
from ocsd.sessions.call_parties import CallParties
from ocsd.sessions.call_plan import call_plan
from ocsd.sessions.caller_ids import CallerId
from ocsd.sessions.claims import Claims
from ocsd.sessions.clock import Clock
from ocsd.sessions.concluding import conclude
from ocsd.sessions.desk_calls import call_from_desk
from ocsd.sessions.desk_record import DeskRecord
from ocsd.sessions.dialing import dial, give_up
from ocsd.sessions.figures import snapshot, statistics
from ocsd.sessions.group import DialSettings, Effect, GroupEvent, Step, step_event
from ocsd.sessions.guarding import CampaignGuard
from ocsd.sessions.listener import SessionListener
from ocsd.sessions.pacing_keeping import PacingBook, PacingKeeping
from ocsd.sessions.patience import through_outages
from ocsd.sessions.planner import Planner
from ocsd.sessions.prevalidation import Prevalidation
from ocsd.sessions.roster import Roster
from ocsd.sessions.score import Score
from ocsd.sessions.seizing import Seizing
from ocsd.sessions.session_agents import SessionAgents
from ocsd.sessions.settling import treat
from ocsd.sessions.shared import Sharing
from ocsd.sessions.standing_legs import StandingLegs
from ocsd.sessions.supply import RecordSupply
from ocsd.sessions.transfer_out import TransferOut
from ocsd.sessions.trunk_keeper import TrunkKeeper
from ocsd.sessions.trunk_use import TrunkUse
from ocsd.sessions.trunks import StartBucket, TrunkBoard
from ocsd.sessions.verdicts import VerdictTally
from ocsd.sessions.verification import Verification
from ocsd.sessions.voice import Voice
from ocsd.treatments.contract import Decision, Situation
from ocsd.validation import Validator
from pacing import DialDecision, GroupSnapshot
from telephony.api import Media, Telephony

log = structlog.get_logger()

PACING_PERIOD_S = 0.2
"""The dialing loop decides at least this often; events that free an agent or a port wake it earlier ..."""
PACING_REST_S = 0.05
"""... but no sooner than this after the last time: at 20 calls a second there are 200 events, and a predictive decision
costs about a millisecond."""

AGENT_PHONE_S = 0.5
"""Of the two seconds, to dial the agent's phone (measured); the analysis takes `Planner.verdict_s` before."""


class Session(SessionAgents):
    """
    A campaign group from Load to Unload. Implements AttemptHost.

    `run` must be started in a nursery; it returns when the group is unloaded and its last attempt has ended.
    """

    def __init__(
        self,
        config: Configuration,
        group: CampaignGroup,
        settings: DialSettings,
        *,
        store: ListStore,
        dnc: DoNotCall,
        telephony: Telephony,
        media: Media,
        clock: Clock,
        roster: Roster,
        listener: SessionListener,
        gate: trio.Event,
        trunk_board: TrunkBoard,
        guard: CampaignGuard,
        validator: Validator | None = None,
        sharing: Sharing | None = None,
        keeping: PacingKeeping = PacingKeeping(),  # noqa: B008 - frozen
        learnt: tuple[str, float] | None = None,
        standing: StandingLegs | None = None,
    ) -> None:
        self.config = config
        self.group = group
        self.planner = Planner(config, group, settings.priorities)
        self.campaign = self.planner.campaign
        self.settings = settings
        self.store = store
        self.dnc = dnc
        self.telephony = telephony
        self.media = media
        self.clock = clock
        self.roster = roster
        self.listener = listener
        self.trunk_board = trunk_board
        self.trunk_keeper: TrunkKeeper | None = None
        self.guard = guard
        self.sharing = sharing if sharing is not None else Sharing({group.group: roster})
        self.trunk_use = TrunkUse(self)
        self._gate = gate
        self.held_back = False
        self._beginning = False
        self.status = GroupCampStatus.NOT_LOADED
        self.version = 0
        self.attempts: dict[int, AttemptTask] = {}
        self.on_desk: dict[int, DeskRecord] = {}
        """Records on desktops without a call, by handle."""
        self.agent_from_uri = self.planner.agent_from_uri
        self.parties: CallParties | None = None
        self.transfer_out = TransferOut(self)
        self.without_gateway_cpa: set[str] = set()
        """Trunks whose gateways were asked to analyse and do not, as far as the log has it."""
        self.supply = RecordSupply(self.planner, store=store, dnc=dnc, utc=clock.utc)
        self.claims = Claims(self)
        self.prevalidation = Prevalidation(self, validator)
        self._bell = Bell(PACING_REST_S, PACING_PERIOD_S)
        self._closed = trio.Event()
        self._changed = trio.Event()
        self._attempt_nursery: trio.Nursery | None = None
        self.bucket = StartBucket(clock.now_s())
        # The legal wait begins with the end of the greeting: analysis and the agent's phone have used part of it.
        patience_s = float(self.planner.option("call_wait_in_queue_timeout"))
        patience_s -= self.planner.verdict_s + AGENT_PHONE_S
        self.decided: DialDecision | None = None
        """The pacing's last decision; None: it has not been asked yet."""
        target, max_wait_s = self.planner.target(settings), min(10.0, max(0.0, patience_s))
        self.pacing = PacingBook(config, group, target, max_wait_s, clock=clock, keeping=keeping, learnt=learnt)
        self.score = Score(self.pacing.recorder)
        self.verdicts = VerdictTally()
        self.verification = Verification()
        self.seizing = Seizing(self, standing)
        self.voice = Voice(self)

    # --- life -------------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the buffer filled and dial while running; returns once unloaded and drained."""
        with structlog.contextvars.bound_contextvars(campaign_group=self.group.name):
            async with trio.open_nursery() as nursery:
                async with trio.open_nursery() as attempts:
                    self._attempt_nursery = attempts
                    nursery.start_soon(self.claims.keep_filled, self._gate)
                    nursery.start_soon(self._keep_dialing)
                    nursery.start_soon(self.prevalidation.run)
                    nursery.start_soon(self.guard.keep_read)
                    nursery.start_soon(self.pacing.run)
                    task_status.started()
                    await self._closed.wait()
                    # Leaving the block waits for conversations that outlive a forced unload.
                nursery.cancel_scope.cancel()

    def obey(self, step: Step) -> None:
        """Carry out a transition of the group machine."""
        self.status = step.status
        self.version += 1
        if self.planner.asked_priorities != self.settings.priorities:
            self._plan()
        for effect in step.effects:
            log.info("group." + effect.value, status=int(self.status))
            match effect:
                case Effect.START:
                    self.score.pacer.set_target(self.planner.target(self.settings))
                    self.score.tally.dialing_started(self.roster, self.clock.now_s())
                case Effect.SET_MODE:
                    self.score.pacer.set_target(self.planner.target(self.settings))
                case Effect.FORCE:
                    for task in list(self.attempts.values()):
                        task.post(Forced())
                case _:
                    pass
            self.listener.on_status(self, effect)
        self.wake()

    def reconfigure(self, config: Configuration, group: CampaignGroup) -> None:
        """Go on with changed options and limits (see ocsd.config.reload)."""
        self.config, self.group = config, group
        self._plan()
        self.score.pacer.set_target(self.planner.target(self.settings))
        self.wake()

    def _plan(self) -> None:
        self.planner = Planner(self.config, self.group, self.settings.priorities)
        self.campaign = self.planner.campaign
        self.claims.plan_changed()
        self.prevalidation.reconfigure()

    def wake(self) -> None:
        self._bell.ring()

    async def _keep_dialing(self) -> None:
        await self._gate.wait()
        while True:
            await self._bell.wait()
            if not self.held_back:
                self.seizing.keep()
                self.voice.keep()
            match self.status:
                case _ if self.held_back:
                    continue
                case GroupCampStatus.RUNNING:
                    await self._dial()
                    await self._complete_when_done()
                case GroupCampStatus.WAITING_UNLOAD if not self.attempts and not self.on_desk:
                    self._event(GroupEvent.DRAINED)
                case GroupCampStatus.UNLOAD_IN_PROGRESS if not self.on_desk:
                    await self.claims.give_back_all()
                    self._event(GroupEvent.FLUSHED)
                    self._closed.set()
                    return
                case _:
                    pass

    def hold(self) -> None:
        """The daemon stops: claim and dial nothing more. The group's wanted state stays, for the next start."""
        self.held_back = True

    async def drain(self) -> None:
        """Wait until only conversations and records on desktops are left. Bounded by the caller."""
        while self._beginning or any(task.machine.state not in OUTLIVES_DAEMON for task in self.attempts.values()):
            self._changed = trio.Event()
            await self._changed.wait()

    async def wind_down(self) -> None:
        """Hang up what is no conversation, wait until it is written, give the buffer back. Bounded by the caller."""
        for task in list(self.attempts.values()):
            if task.machine.state not in OUTLIVES_DAEMON:
                task.post(Forced())
        await self.drain()
        await self.claims.give_back_all()

    def _event(self, event: GroupEvent) -> None:
        step = step_event(self.status, event)
        if step is not None:
            self.obey(step)

    async def give_back(self, chains: list[Chain]) -> None:
        """Undialed chains back to their lists, through outages of the database."""
        await self.claims.give_back(chains)

    async def _complete_when_done(self) -> None:
        """GSW_AUTO_COMPLETION: stop and unload once every chain has been dialed."""
        if not self.settings.auto_completion or self.attempts or not await self.claims.none_left():
            return
        log.info("group.completed")
        self.obey(Step(GroupCampStatus.WAITING_UNLOAD, (Effect.STOP, Effect.BEGIN_UNLOAD)))

    # --- dialing ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> GroupSnapshot:
        """The group as the pacing sees it now."""
        return snapshot(self)

    async def _dial(self) -> None:
        # Another group may have come to spare an agent merely because its calls have ended.
        self.match_agents()
        await self._begin_assured()
        seen = self.snapshot()
        decision = self.decided = self.voice.decide(seen) or self.score.pacer.decide(seen)
        self.sharing.decided(self, seen, decision)
        if decision.release:
            give_up(self, decision.release)
        if decision.launch <= 0:
            return
        log.info(
            "pacing.decided",
            launch=decision.launch,
            because=decision.because,
            predicted_overdial_ratio=round(decision.predicted_overdial_ratio, 5),
            inputs=decision.inputs,
        )
        self.prevalidation.wants(decision.launch)
        self._beginning = True
        try:
            await dial(self, decision.launch)
        finally:
            self._beginning = False
            self._changed.set()

    async def _begin_assured(self) -> None:
        if not self.seizing.due:
            return
        self._beginning = True
        try:
            await serve_assured(self)
        finally:
            self._beginning = False
            self._changed.set()

    def context_for(self, attempt_id: int, chain: Chain, *, later: bool = False) -> AttemptContext:
        """The context of a new attempt; ``later``: its call starts when an agent has answered (`TrunkUse`)."""
        trunk = self.trunk_use.take(attempt_id, later=later)
        pools, now_s = self.trunk_board.caller_ids, self.clock.now_s()
        return self._context(
            attempt_id, chain, trunk, self.planner.caller_id(pools, chain.record, str(attempt_id), now_s)
        )

    def _context(self, attempt_id: int, chain: Chain, trunk: Trunk, caller_id: CallerId) -> AttemptContext:
        context = self.planner.context(attempt_id, chain, trunk, caller_id)
        context.processing_at = self.prevalidation.asked_at(chain) or self.clock.utc()
        context.seizing = self.seizing.plan()
        return context

    def new_attempt(self, context: AttemptContext, machine: AttemptMachine) -> AttemptTask:
        """What carries out an attempt; a rehearsal has another one."""
        return AttemptTask(self, context, machine)

    def launch(self, task: AttemptTask) -> None:
        assert self._attempt_nursery is not None
        self.attempts[task.context.attempt_id] = task
        self.score.begin(task.context.attempt_id, task.machine)
        self._attempt_nursery.start_soon(self._run_attempt, task)

    async def _run_attempt(self, task: AttemptTask) -> None:
        try:
            await task.run()
        except Exception:
            # A bug ends the smallest thing: this attempt, whose result was written as Stale on the way out.
            log.exception("attempt.failed", attempt_id=task.context.attempt_id)

    async def call_from_desk(self, desk: DeskRecord, agent_id: str) -> None:
        """RequestMakeCall: see `desk_calls.call_from_desk`."""
        await call_from_desk(self, desk, agent_id)

    # --- recovery ---------------------------------------------------------------------------------------------------

    def adopt(self, task: AttemptTask) -> None:
        """Take over an attempt whose legs outlived the daemon."""
        machine = task.machine
        if machine.state is AttemptState.TALKING and machine.agent_id is not None:
            self.roster.adopt(machine.agent_id, task.context.attempt_id, machine.marks["agent_answered"])
        if machine.state is AttemptState.WRAP_UP:
            self.trunk_use.leave(task.context.attempt_id)
        if machine.state is AttemptState.IN_DIALOG:
            self.voice.adopt(task.context.attempt_id, machine.marks["applied"])
        if machine.state in OUTLIVES_DAEMON:
            self.verification.adopt(task.context, machine.verdict, self.clock.now_s())
        self.launch(task)

    def context_of(self, attempt: OpenAttempt, chain: Chain, leg_ids: Collection[str]) -> AttemptContext:
        """The context of an attempt found open at start-up, with its identity, trunk and caller ID."""
        trunk, tries = self.trunk_use.adopt(attempt, leg_ids)
        caller_id = self.planner.caller_id_shown(chain.record, attempt.caller_id)
        context = self._context(attempt.attempt_id, chain, trunk, caller_id)
        return replace(context, guid=attempt.guid, processing_at=attempt.started_at, tries=tries)

    # --- AttemptHost ------------------------------------------------------------------------------------------------

    @property
    def starts_per_s(self) -> float:
        return self.score.tally.starts_per_s(self.clock.now_s())

    @property
    def wants_records(self) -> bool:
        """Loaded, and not about to be unloaded or stopped."""
        return not self.held_back and self.status in (GroupCampStatus.ACTIVE, GroupCampStatus.RUNNING)

    @property
    def dials(self) -> bool:
        return self.status is GroupCampStatus.RUNNING and not self.held_back

    @property
    def session(self) -> "Session":
        return self

    def keeps_from_dialing(self, task: AttemptTask) -> str | None:
        """The last gate before the INVITE: writing the attempt may have taken as long as the database was away."""
        if not self.dials:
            return "dialing has stopped"
        return self.why_not(task.context.chain, self.clock.utc())

    def why_not(self, chain: Chain, now: datetime) -> str | None:
        """The gates that can be asked at once, right before a dial; None: dial."""
        return self.why_closed(chain, now) or self.prevalidation.why_not(chain)

    def why_closed(self, chain: Chain, now: datetime) -> str | None:
        """The same without pre-dial validation, which is asked next."""
        record = chain.record
        if (live := self.supply.live(chain)) is None or live.record.record_id != record.record_id:
            return "withdrawn meanwhile"
        if (refusal := self.planner.refusal(record, now)) is not None:
            return refusal.why
        if self.planner.checks_dnc_at_dial(record) and self.supply.forbids(record, now):
            return "Do-Not-Call"
        return None

    def call_action(self, task: AttemptTask, call_result: CallResult) -> CallPlan | None:
        """What the list's treatments, as they are configured now, do to a call on which this was found."""
        chain = self.supply.live(task.context.chain) or task.context.chain
        plan = call_plan(self.planner, chain, task.context, call_result, self.clock.utc())
        plan = self.voice.plan(call_result, self.seizing.machine_plan(task, call_result, plan))
        plan = self.transfer_out.plan(task, call_result, plan)
        now_s = self.clock.now_s()
        return self.verification.plan(task.context, call_result, plan, self.roster, now_s, self.group.dbid)

    async def note_recording(self, recording: CpdRecording) -> None:
        """A recording that cannot be noted is deleted with the others of its day; the call is worth more."""
        try:
            await self.store.note_recording(recording)
        except StoreUnavailable as error:
            log.warning("recording.not_noted", path=recording.path, error=str(error))

    async def settle(self, task: AttemptTask) -> None:
        """Write what the attempt came to and what becomes of its chain; go on with the chain when that is soon."""
        await conclude(self, task)

    def treat(
        self,
        chain: Chain,
        record: CallingRecord,
        call_result: int,
        *,
        disposition: str = "",
        agent_id: str | None = None,
        by_agent: bool = False,
    ) -> Decision:
        """The treatment of a result that was reached without a call (a missed callback, a refused validation)."""
        live = self.supply.live(chain) or chain
        situation = Situation(
            call_result=call_result,
            record=record,
            chain=live.records,
            now=self.clock.utc(),
            disposition=disposition,
            agent_id=agent_id,
            by_agent=by_agent,
            facts={"campaign_id": self.campaign.dbid},
        )
        return treat(self.planner, situation, result_for_all=self.planner.result_for_all(chain.list_dbid))

    def hours(self, list_dbid: int) -> Hours:
        return self.planner.hours(list_dbid)

    async def next_handle(self) -> int:
        """A handle for a record on a desktop, from the id space of attempts."""
        return (await self.store.next_attempt_ids(1))[0]

    async def settle_chain(self, settlement: ChainSettlement) -> bool:
        """A decision without a call, through outages of the database."""
        return await through_outages(
            "record.settlement_waits", partial(self.store.settle_chain, settlement), record_id=settlement.record_id
        )

    def attempt_changed(self, task: AttemptTask) -> None:
        attempt_id, machine = task.context.attempt_id, task.machine
        if not self.score.change(attempt_id, machine, self.clock.now_s()):
            return
        self.voice.changed(attempt_id, machine)
        self.transfer_out.changed(task)
        self.guard.changed(attempt_id, machine)
        self._changed.set()
        if machine.state is AttemptState.WRAP_UP:
            self.trunk_use.leave(attempt_id)
        self.wake()

    def attempt_finished(self, task: AttemptTask) -> None:
        attempt_id = task.context.attempt_id
        self.trunk_use.leave(attempt_id)
        self.attempts.pop(attempt_id, None)
        self.score.finish(attempt_id, task.machine)
        self.verdicts.ended(task.machine, task.context.heard)
        self.verification.ended(attempt_id)
        self.voice.ended(attempt_id, task.machine)
        self.transfer_out.ended(task)
        if task.closed.is_set():
            self.guard.written(attempt_id)
        self._changed.set()
        self.wake()

    # --- figures ----------------------------------------------------------------------------------------------------

    def statistics(self) -> dict[str, float | int | None]:
        return statistics(self)
