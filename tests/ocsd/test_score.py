"""Each thing that happens to an attempt is told to pacing and figures exactly once."""

from dataclasses import dataclass, field

import pytest

from ocsd.model.enums import CallAction, CallResult
from ocsd.sessions.attempt import (
    AgentAnswered,
    AgentReserved,
    Answered,
    AttemptMachine,
    AttemptRules,
    CallPlan,
    CustomerEnded,
    DeadlinePassed,
    DestinationAnswered,
    DestinationEnded,
    GivenUp,
    Heard,
    MediaFailed,
    NotPlaced,
    Progress,
    PromptFinished,
    RecordUpdated,
)
from ocsd.sessions.score import Score
from pacing import Outcome
from telephony.contract import VerdictKind

PERSON = Heard(VerdictKind.HUMAN, connected=True, speech_end_s=2.5)


@dataclass
class Recorder:
    """A pacer that only remembers what it was told."""

    told: list = field(default_factory=list)

    def answered(self, age_s):
        self.told.append("answered")

    def person(self, delay_s):
        self.told.append("person")

    def bridged(self, wait_s):
        self.told.append("bridged")

    def abandoned(self):
        self.told.append("abandoned")

    def ended(self, age_s, outcome, after_answer_s=None):
        self.told.append((outcome, after_answer_s is not None))


def play(*events, action=None, designated=None):
    plan = CallPlan(action) if action is not None else None
    machine = AttemptMachine(AttemptRules(), 0.0, designated_agent=designated, plan_of=lambda _: plan)
    score = Score(Recorder())
    score.begin(1, machine)
    now_s = 0.0
    for event in events:
        now_s = max(now_s + 1.0, machine.deadline_s if isinstance(event, DeadlinePassed) else 0.0)
        machine.on(event, now_s)
        if isinstance(event, AgentAnswered) and designated is None:
            score.bridged(0.5)
        score.change(1, machine, now_s)
    score.finish(1, machine)
    return score


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((Progress(has_media=False), CustomerEnded(486)), [(Outcome.BUSY, False)]),
        ((Progress(has_media=False), GivenUp()), [(Outcome.RELEASED, False)]),
        ((Progress(has_media=False), MediaFailed()), [(Outcome.RELEASED, False)]),
        ((NotPlaced(CallResult.NO_PORT_AVAILABLE),), [(Outcome.RELEASED, False)]),
        ((Answered(), MediaFailed()), ["answered", "person", "abandoned"]),
        ((Progress(has_media=False), Answered(), GivenUp(), CustomerEnded(200)), ["answered", (Outcome.HUNG_UP, True)]),
        ((Answered(), Heard(VerdictKind.MACHINE, connected=True)), ["answered", (Outcome.MACHINE, True)]),
        ((Answered(), CustomerEnded(200)), ["answered", (Outcome.HUNG_UP, True)]),
        (
            (Answered(), PERSON, AgentReserved("a"), AgentAnswered(), CustomerEnded(200)),
            ["answered", "person", "bridged"],
        ),
        ((Answered(), PERSON, CustomerEnded(200)), ["answered", "person", "abandoned"]),
        ((Answered(), PERSON, DeadlinePassed(), PromptFinished()), ["answered", "person", "abandoned"]),
        (
            (Answered(), PERSON, Heard(VerdictKind.MACHINE, connected=True)),
            ["answered", "person", (Outcome.MACHINE, True)],
        ),
    ],
)
def test_given_a_course_of_events_when_scored_then_pacing_hears_each_thing_once(events, told):
    assert play(*events).pacer.told == told


def test_given_a_person_who_was_a_machine_when_scored_then_nobody_was_reached():
    tally = play(Answered(), PERSON, Heard(VerdictKind.MACHINE, connected=True)).tally

    assert (tally.people, tally.abandoned, tally.results[CallResult.ANSWERING_MACHINE]) == (0, 0, 1)


def test_given_a_call_that_the_pacing_gave_up_when_scored_then_it_is_a_no_answer_of_its_own_kind():
    tally = play(Progress(has_media=False), GivenUp()).tally

    assert (tally.let_go, tally.results[CallResult.NO_ANSWER]) == (1, 1)


def test_given_an_abandoned_person_when_scored_then_the_overdial_ratio_shows_it():
    tally = play(Answered(), PERSON, CustomerEnded(200)).tally

    assert tally.overdial_ratio == 1.0


def test_given_adopted_attempts_when_they_end_then_people_and_abandoned_fit_together():
    score = Score(Recorder())
    waiting, talking = (AttemptMachine(AttemptRules(), 0.0) for _ in range(2))
    for machine in (waiting, talking):
        machine.on(Answered(), 1.0)
        machine.on(PERSON, 2.0)
    talking.on(AgentReserved("a"), 2.1)
    talking.on(AgentAnswered(), 2.5)
    for attempt_id, machine in enumerate((waiting, talking)):
        score.begin(attempt_id, machine)
        machine.on(CustomerEnded(200), 3.0)
        score.change(attempt_id, machine, 3.0)

    assert (score.tally.people, score.tally.abandoned) == (1, 1)


MACHINE = Heard(VerdictKind.MACHINE, connected=True)
CONNECTED = (AgentReserved("a"), AgentAnswered(), CustomerEnded(200))


@pytest.mark.parametrize(
    ("action", "events", "told", "people", "abandoned"),
    [
        (CallAction.PLAY_MESSAGE, (MACHINE, DeadlinePassed(), PromptFinished()), [(Outcome.MACHINE, True)], 0, 0),
        (CallAction.PLAY_MESSAGE, (PERSON, PromptFinished()), [(Outcome.FAILED, True)], 0, 0),
        (CallAction.PLAY_MESSAGE, (PERSON, PromptFinished("x")), [(Outcome.FAILED, True), "abandoned"], 1, 1),
        (CallAction.TRANSFER, (PERSON, DestinationAnswered(), CustomerEnded(200)), [(Outcome.FAILED, True)], 0, 0),
        (CallAction.TRANSFER, (PERSON, DestinationEnded(), PromptFinished()), ["person", "abandoned"], 1, 1),
        (CallAction.TRANSFER, (PERSON, CustomerEnded(200)), ["person", "abandoned"], 1, 1),
        (CallAction.TRANSFER, (MACHINE, DestinationEnded()), [(Outcome.MACHINE, True)], 0, 0),
        (CallAction.DROP, (PERSON, PromptFinished()), ["person", "abandoned"], 1, 1),
        (CallAction.CONNECT, (MACHINE, *CONNECTED), ["person", "bridged"], 1, 0),
        (CallAction.CONNECT, (MACHINE, DeadlinePassed()), ["person", (Outcome.MACHINE, True)], 0, 0),
    ],
)
def test_given_call_actions_when_scored_then_who_needs_no_agent_is_no_person_and_who_is_turned_away_is_abandoned(
    action, events, told, people, abandoned
):
    score = play(Answered(), *events, action=action)

    assert score.pacer.told == ["answered", *told]
    assert (score.tally.people, score.tally.abandoned) == (people, abandoned)


def test_given_a_designated_agents_call_when_scored_then_the_pacing_hears_nothing_and_its_result_is_counted():
    score = play(AgentAnswered(), Progress(has_media=False), CustomerEnded(486), designated="a")

    assert score.pacer.told == []
    assert score.tally.results == {CallResult.BUSY: 1}


TALKED = (Answered(), PERSON, AgentReserved("a"), AgentAnswered())


@pytest.mark.parametrize("said", [CallResult.ANSWERING_MACHINE, CallResult.ABANDONED, CallResult.FAX, CallResult.BUSY])
def test_given_a_conversation_when_its_agent_corrects_the_result_then_the_pacing_still_knows_that_it_took_an_agent(
    said,
):
    score = play(*TALKED, RecordUpdated(said), CustomerEnded(200))

    assert score.pacer.told == ["answered", "person", "bridged"]
    assert (score.tally.people, score.tally.connected, score.tally.abandoned) == (1, 1, 0)
    assert score.tally.results == {said: 1}


@pytest.mark.parametrize("said", [CallResult.ANSWER, CallResult.ABANDONED, CallResult.DO_NOT_CALL])
def test_given_an_abandoned_person_when_somebody_corrects_the_result_then_it_is_told_once_all_the_same(said):
    score = play(Answered(), PERSON, RecordUpdated(said), DeadlinePassed(), PromptFinished())

    assert score.pacer.told == ["answered", "person", "abandoned"]
    assert (score.tally.people, score.tally.abandoned) == (1, 1)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ((RecordUpdated(CallResult.ANSWER), Answered(), MACHINE), ["answered", (Outcome.MACHINE, True)]),
        ((Answered(), RecordUpdated(CallResult.ANSWER), CustomerEnded(200)), ["answered", (Outcome.HUNG_UP, True)]),
        ((Answered(), RecordUpdated(CallResult.ABANDONED), CustomerEnded(200)), ["answered", (Outcome.HUNG_UP, True)]),
        ((RecordUpdated(CallResult.ABANDONED), CustomerEnded(486)), [(Outcome.FAILED, False)]),
    ],
)
def test_given_a_result_set_over_http_while_the_call_goes_on_when_it_ends_then_the_pacing_hears_what_was_found(
    events, told
):
    score = play(*events)

    assert score.pacer.told == told
    assert score.tally.abandoned == 0
