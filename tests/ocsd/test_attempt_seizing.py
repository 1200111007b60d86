"""The attempt machine with an agent seized for the call (assured connections), and with calls that leave us."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import CallAction, CallResult, RecordStatus
from ocsd.model.errors import InvariantError
from ocsd.sessions.attempt import (
    AgentAnswered,
    AgentEnded,
    AgentGone,
    AgentReserved,
    Answered,
    AttemptMachine,
    AttemptRules,
    AttemptState,
    CallPlan,
    Cancelled,
    CustomerEnded,
    DeadlinePassed,
    Do,
    Forced,
    GivenUp,
    HandedOver,
    Heard,
    NotPlaced,
    Progress,
    PromptFinished,
    RecordProcessed,
    ReleaseRequested,
    Withdrawn,
)
from telephony.contract import VerdictKind

PERSON = Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.5)
MACHINE = Heard(VerdictKind.MACHINE, connected=True)


def seized(rules: AttemptRules | None = None) -> AttemptMachine:
    return AttemptMachine(rules or AttemptRules(), 0.0, agent_id="a", assured=True)


def after(machine: AttemptMachine, *events) -> tuple[Do, ...]:
    """What the last event asks for; the others happen a second apart."""
    done: tuple[Do, ...] = machine.start()
    for at_s, event in enumerate(events, start=1):
        done = machine.on(event, float(at_s))
    return done


def test_given_an_assured_record_when_it_begins_then_the_agent_comes_first_and_the_customer_after_the_answer():
    machine = seized()
    assert machine.state is AttemptState.RINGING_AGENT
    assert machine.start() == (Do.DIAL_AGENT,)
    assert machine.on(AgentAnswered(), 1.0) == (Do.DIAL_CUSTOMER,)
    assert machine.started_s == 1.0, "the customer's attempt begins here"


def test_given_a_seized_agent_when_a_person_is_found_then_they_talk_at_once():
    machine = seized()
    done = after(machine, AgentAnswered(), Progress(False), Answered(), PERSON)
    assert done == (Do.BRIDGE, Do.MARK_CONNECTED)
    assert (machine.state, machine.agent_id, machine.result) == (AttemptState.TALKING, "a", CallResult.ANSWER)
    assert machine.person_at_s == 2.5, "the person counts, and has waited since the end of the greeting"


@pytest.mark.parametrize("event", [AgentEnded(), DeadlinePassed()])
def test_given_a_phone_that_is_not_answered_when_it_was_to_be_seized_then_the_record_goes_back_uncounted(event):
    machine = seized()
    machine.start()
    done = machine.on(event, 100.0)
    assert done == (Do.AGENT_NOT_READY, Do.CLOSE_RECORD, Do.FINISH)
    assert (machine.record_status, machine.count_attempt, machine.agent_id) == (RecordStatus.READY, False, None)


def test_given_our_plane_fails_the_agents_phone_when_it_was_to_be_seized_then_the_agent_stays_ready():
    machine = seized()
    assert after(machine, AgentEnded(ours=True)) == (Do.AGENT_NOT_REACHED, Do.CLOSE_RECORD, Do.FINISH)
    assert (machine.record_status, machine.count_attempt) == (RecordStatus.READY, False)
    machine = seized()
    assert after(machine, AgentAnswered(), Progress(False), AgentEnded(ours=True)) == (Do.AGENT_NOT_REACHED,)
    assert machine.state is AttemptState.ALERTING, "the call goes on without an agent"


def test_given_our_plane_fails_a_designated_agents_phone_then_nobody_is_charged_and_the_record_stays_on_the_desk():
    machine = AttemptMachine(AttemptRules(), 0.0, designated_agent="a")
    assert after(machine, AgentEnded(ours=True)) == (Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
    assert (machine.state, machine.count_attempt) == (AttemptState.WRAP_UP, False)
    machine = AttemptMachine(AttemptRules(), 0.0, designated_agent="a")
    done = after(machine, AgentAnswered(), Progress(False), AgentEnded(ours=True))
    assert done == (Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
    assert (machine.result, machine.count_attempt) == (CallResult.SYSTEM_ERROR, False)


def test_given_our_plane_fails_the_phone_of_the_agent_for_a_person_then_another_agent_is_sought():
    machine = AttemptMachine(AttemptRules(), 0.0)
    assert after(machine, Answered(), PERSON, AgentReserved("a"), AgentEnded(ours=True)) == (
        Do.AGENT_NOT_REACHED,
        Do.SEEK_AGENT,
    )


@pytest.mark.parametrize(
    ("events", "result"),
    [
        ((NotPlaced(CallResult.NO_PORT_AVAILABLE),), CallResult.NO_PORT_AVAILABLE),
        ((CustomerEnded(486),), CallResult.BUSY),
        ((Progress(False), CustomerEnded(no_answer=True, sip_status=487)), CallResult.NO_ANSWER),
        ((Answered(), MACHINE), CallResult.ANSWERING_MACHINE),
        ((Answered(), CustomerEnded(200)), CallResult.REMOTE_RELEASE),
        ((Withdrawn(),), CallResult.DO_NOT_CALL),
        ((Cancelled(),), CallResult.CANCEL_RECORD),
        ((Forced(),), CallResult.STALE),
    ],
)
def test_given_a_seized_agent_when_nobody_is_found_then_the_agent_is_given_back_first(events, result):
    machine = seized()
    done = after(machine, AgentAnswered(), *events)
    assert done[:2] == (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY)
    assert done[-2:] == (Do.CLOSE_RECORD, Do.FINISH)
    assert (machine.result, machine.agent_id) == (result, None)


@pytest.mark.parametrize("action", [CallAction.DROP, CallAction.PLAY_MESSAGE, CallAction.TRANSFER])
def test_given_a_call_action_that_needs_no_agent_when_it_acts_then_the_agent_is_given_back(action):
    machine = seized()
    machine.plan_of = lambda result: CallPlan(action, destination="sip:d@x", message="m.wav")
    done = after(machine, AgentAnswered(), Answered(), PERSON)
    assert done[:2] == (Do.HANG_UP_AGENT, Do.AGENT_BACK_TO_READY)
    assert machine.agent_id is None


def test_given_a_seized_agent_who_hangs_up_when_a_person_is_found_then_another_one_is_sought():
    machine = seized()
    assert after(machine, AgentAnswered(), Progress(False), AgentEnded()) == (Do.AGENT_NOT_READY,)
    assert machine.on(Answered(), 4.0) == (Do.MARK_ANSWERED, Do.START_ANALYSIS)
    assert machine.on(PERSON, 5.0) == (Do.SEEK_AGENT,)
    assert machine.on(AgentReserved("b"), 6.0) == (Do.DIAL_AGENT,)


def test_given_an_assured_call_when_the_pacing_gives_up_calls_then_this_one_rings_on():
    machine = seized()
    assert after(machine, AgentAnswered(), Progress(False), GivenUp()) == ()
    assert machine.state is AttemptState.ALERTING


@pytest.mark.parametrize("record_processed", [False, True])
def test_given_a_conversation_when_the_customers_side_has_taken_it_over_then_the_agent_wraps_up(record_processed):
    machine = AttemptMachine(AttemptRules(record_processed=record_processed), 0.0)
    done = after(machine, Answered(), PERSON, AgentReserved("a"), AgentAnswered(), HandedOver())
    assert done[:3] == (Do.HANG_UP_CUSTOMER, Do.HANG_UP_AGENT, Do.AGENT_TO_WRAP_UP)
    assert machine.state is (AttemptState.WRAP_UP if record_processed else AttemptState.FINISHED)
    assert machine.result is CallResult.ANSWER


def test_given_a_late_answer_to_a_refer_when_the_conversation_is_over_then_nothing_follows():
    machine = AttemptMachine(AttemptRules(record_processed=True), 0.0)
    after(machine, Answered(), PERSON, AgentReserved("a"), AgentAnswered(), CustomerEnded())
    assert machine.state is AttemptState.WRAP_UP
    assert machine.on(HandedOver(), 9.0) == ()


EVENTS = st.sampled_from(
    [
        Progress(False), Progress(True), Answered(), PERSON, MACHINE, Heard(VerdictKind.BUSY, connected=False),
        Heard(VerdictKind.SILENCE, connected=True), CustomerEnded(486), CustomerEnded(lost=True), AgentAnswered(),
        AgentEnded(), AgentGone(), AgentReserved("b"), DeadlinePassed(), PromptFinished(), ReleaseRequested(),
        GivenUp(), HandedOver(), RecordProcessed(None), Forced(), Withdrawn(), Cancelled(),
    ]
)  # fmt: skip
AGENT_LEAVES = {Do.AGENT_BACK_TO_READY, Do.AGENT_NOT_READY, Do.AGENT_TO_WRAP_UP, Do.AGENT_FREED}


@given(st.lists(EVENTS, max_size=14), st.sampled_from([None, *CallAction]), st.booleans())
def test_given_any_course_of_an_assured_call_when_it_is_over_then_every_agent_was_let_go_exactly_once(
    events, action, record_processed
):
    machine = seized(AttemptRules(record_processed=record_processed))
    if action is not None:
        machine.plan_of = lambda result: CallPlan(action, destination="sip:d@x", message="m.wav")
    done = list(machine.start())
    held, at_s = 1, 0.0
    for event in (*events, Forced(), ReleaseRequested(), DeadlinePassed(), CustomerEnded()):
        at_s += 1000.0 if isinstance(event, DeadlinePassed) else 1.0
        try:
            found = machine.on(event, at_s)
        except InvariantError:
            continue  # a reservation that nobody has asked for
        for do in found:
            held += (do is Do.DIAL_AGENT) - (do in AGENT_LEAVES)
            assert 0 <= held <= 1, found
        done += found
    assert machine.state is AttemptState.FINISHED
    assert held == 0, "whoever was reserved is free of the call"
    assert machine.deadline_s == math.inf
    assert (done.count(Do.FINISH), done.count(Do.DIAL_CUSTOMER) <= 1) == (1, True)
    if Do.DIAL_CUSTOMER in done:
        assert any(isinstance(event, AgentAnswered) for event in events), "nobody is called before an agent is there"
