"""
The shell of rehearsals against the daemon's own: the same session, the same called people, the same agents.

Here the real `Session` runs with its tasks, nurseries and channels over the in-memory plane, under trio's mock clock;
there the rehearsal does. Both get every call's course from one world. Small differences in the order of events within
an instant are allowed, nothing else: who was called when, what came of it, and how agents spent their time must agree.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
import structlog
import trio

from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.memory import MemoryListStore
from ocsd.model.enums import CallResult, GroupCampStatus
from ocsd.rehearsal.run import rehearse, with_seats
from ocsd.rehearsal.session import Delays, Rhythm
from ocsd.rehearsal.world import Course, MixWorld
from ocsd.sessions import attempt_events as machine_events
from ocsd.sessions.group import Effect, Step
from ocsd.sessions.guarding import CampaignGuard
from ocsd.sessions.listener import SessionListener
from ocsd.sessions.roster import AgentState, Roster
from ocsd.sessions.session import Session
from ocsd.sessions.trunks import TrunkBoard
from telephony.fake import CallScript, open_fake_plane
from tests.ocsd.rehearsal_worlds import (
    NOON,
    PREDICTIVE,
    PROGRESSIVE,
    QUICK,
    configuration,
    lists,
    row,
    scene,
    variant,
)

AGENTS = 8
DRAIN_S = 120.0
PHONE_S = 0.25
"""Until an agent's phone is answered."""


@pytest.fixture(autouse=True)
def quiet():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


class PlaneWorld:
    """A mix in the terms of the in-memory plane: verdicts come with the end of the speech, and nobody hangs up."""

    def __init__(self, seed: int) -> None:
        self._world = MixWorld(QUICK, seed)
        self.calls: dict[int, float] = {}

    def course(self, record, zone, at_s) -> Course:
        course = self._world.course(record, zone, at_s)
        self.calls.setdefault(record.record_id, at_s - NOON.timestamp())  # the plane asks again when it is listened to
        course.rings_s, course.connect_s, course.gone_s, course.beep_s = 0.0, PHONE_S, float("inf"), float("inf")
        course.speech_end_s = course.verdict_s
        return course

    def handling(self, course: Course, agent_id: str) -> tuple[float, float]:
        return course.talk_s, course.wrap_up_s


class Real:
    """The real session; `run` is to be called under the mock clock."""

    def __init__(self, settings, minutes: float) -> None:
        self.settings, self.duration_s = settings, 60.0 * minutes
        self.world = PlaneWorld(1)
        self.courses: dict[str, Course] = {}
        self.config = configuration(agents=AGENTS)
        self.busy_ratio = 0.0

    def now_s(self) -> float:
        return trio.current_time() - self.begun_s

    def utc(self):
        return NOON + timedelta(seconds=self.now_s())

    def script(self, command) -> CallScript:
        if "agent" in command.uri:
            return CallScript(ring_s=PHONE_S)
        phone = command.uri.removeprefix("sip:").partition("@")[0]
        record = row(int(phone.removeprefix("+999")))
        course = self.courses[phone] = self.world.course(record, None, NOON.timestamp() + self.now_s())
        if course.answered_s < float("inf"):
            return CallScript(ring_s=course.answered_s, verdict=course.verdict, verdict_s=course.verdict_s)
        return CallScript(ring_s=course.ended_s, status=course.sip_status, q850_cause=course.q850_cause, verdict=None)

    async def run(self) -> Session:
        self.begun_s = trio.current_time()
        group = self.config.campaign_groups[0]
        database = lists(1500).database(self.config)
        database.now = self.utc
        store = MemoryListStore(database)
        seats = with_seats(self.config, group, AGENTS)
        gate = trio.Event()
        gate.set()
        async with open_fake_plane(self.script) as (telephony, media), trio.open_nursery() as nursery:

            def later(delay_s: float, do: Callable[[], None]) -> None:
                async def wait() -> None:
                    await trio.sleep(delay_s)
                    do()

                nursery.start_soon(wait)

            def ready(seat) -> None:
                if seat.state is AgentState.WRAP_UP:
                    session.handled(seat.talked_s, self.now_s() - seat.since_s)
                seat.ask_for(AgentState.READY, self.now_s())
                session.agent_ready(seat.agent_id)

            def established(_session, task) -> None:
                course = self.courses[task.context.record.contact_info]
                later(course.talk_s, partial(task.post, machine_events.ReleaseRequested()))

            def released(_session, task, agent_id) -> None:
                seat = session.roster.seats[agent_id]
                if seat.state is AgentState.WRAP_UP:
                    later(self.courses[task.context.record.contact_info].wrap_up_s, partial(ready, seat))

            session = Session(
                self.config, group, self.settings, store=store, dnc=MemoryDoNotCall(), telephony=telephony, media=media,
                clock=self, roster=Roster(seats), gate=gate, trunk_board=TrunkBoard(self.config.trunks, 0.0),
                listener=SessionListener(
                    lambda *_: None, lambda *_: None, established, released, lambda *_: None
                ),
                guard=CampaignGuard(self.config, self.config.campaigns[0].dbid, store, self),
            )  # fmt: skip
            for seat in seats:
                seat.log_in(0.0)
                seat.ask_for(AgentState.READY, 0.0)
            await nursery.start(session.run)
            session.obey(Step(GroupCampStatus.RUNNING, (Effect.OPEN, Effect.START)))
            await trio.sleep(self.duration_s)
            self.busy_ratio = session.score.tally.busy_ratio(session.roster, self.now_s())
            session.obey(Step(GroupCampStatus.ACTIVE, (Effect.STOP,)))
            await trio.sleep(DRAIN_S)
            nursery.cancel_scope.cancel()
        return session


@pytest.mark.parametrize(("settings", "minutes"), [(PROGRESSIVE, 10.0), (PREDICTIVE, 5.0)])
async def test_given_the_same_world_when_the_daemons_session_and_a_rehearsal_run_then_they_agree(
    settings, minutes, autojump_clock
):
    real = Real(settings, minutes)
    with trio.fail_after(3600.0):
        session = await real.run()
    world = PlaneWorld(1)
    run = rehearse(
        scene(
            real.config, 1500, minutes=minutes, world=lambda _seed: world, rhythm=Rhythm(),
            delays=Delays(launch_s=0.0, teardown_s=0.0, ready_s=0.0),
        ),
        variant(AGENTS, settings, minutes=minutes),
        1,
    )  # fmt: skip

    tally = session.score.tally
    assert tally.attempts > 60
    assert run.total.attempts == pytest.approx(tally.attempts, rel=0.03)
    assert run.total.people == pytest.approx(tally.people, rel=0.04, abs=1)
    assert run.total.busy_ratio == pytest.approx(real.busy_ratio, abs=0.015)
    assert abs(run.total.abandoned - tally.abandoned) <= 1
    assert run.total.people_wait_s == pytest.approx(tally.mean_wait_s, abs=0.02)
    for result in (CallResult.ANSWERING_MACHINE, CallResult.BUSY, CallResult.SIT_INVALID_NUM):
        assert run.results[result] == pytest.approx(tally.results[result], rel=0.1, abs=2)
    # The same people in the same order; the first minute to the tenth of a second.
    first = [record_id for record_id, at_s in real.world.calls.items() if at_s < 60.0]
    assert len(first) >= 8
    assert max(abs(world.calls[record_id] - real.world.calls[record_id]) for record_id in first) < 0.3
