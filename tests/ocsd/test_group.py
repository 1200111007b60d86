"""The campaign-group machine against the manual's error numbers, for every pair of status and request."""

import itertools

import pytest

from ocsd.model.enums import CmError, DialMode, GroupCampStatus, OptimizeBy, RecordType
from ocsd.model.errors import CampaignRequestError
from ocsd.model.records import TypePriority
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.sessions.group import (
    EVENT_TABLE,
    REQUEST_TABLE,
    DialSettings,
    Effect,
    GroupEvent,
    Step,
    apply_parameters,
    step_event,
    step_request,
)

S, R, E = GroupCampStatus, CampaignRequest, CmError
SETTINGS = DialSettings(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3)
MACHINE_STATES = [s for s in S if s is not S.INACTIVE]


@pytest.mark.parametrize(("status", "request_"), list(itertools.product(MACHINE_STATES, R)))
def test_given_any_status_when_any_request_comes_then_the_table_knows_it(status, request_):
    entry = REQUEST_TABLE[status, request_]

    assert isinstance(entry, Step | CmError)


@pytest.mark.parametrize(
    ("status", "request_", "error"),
    [
        (S.ACTIVE, R.LOAD, E.CAMPAIGN_ALREADY_LOADED),
        (S.RUNNING, R.LOAD, E.CAMPAIGN_ALREADY_LOADED),
        (S.NOT_LOADED, R.START_DIALING, E.CAMPAIGN_NOT_LOADED),
        (S.NOT_LOADED, R.UNLOAD, E.CAMPAIGN_NOT_LOADED),
        (S.ACTIVE, R.SET_DIALING_MODE, E.CAMPAIGN_NOT_STARTED),
        (S.ACTIVE, R.STOP_DIALING, E.CAMPAIGN_NOT_STARTED),
        (S.RUNNING, R.START_DIALING, E.CAMPAIGN_ALREADY_STARTED),
        (S.RUNNING, R.UNLOAD, E.CAMPAIGN_ALREADY_STARTED),
        (S.WAITING_UNLOAD, R.START_DIALING, E.CAMPAIGN_NOT_LOADED),
    ],
)
def test_given_an_illegal_request_when_it_comes_then_the_manual_number_answers(status, request_, error):
    with pytest.raises(CampaignRequestError) as refused:
        step_request(status, request_, "Campaign@Group")

    assert error is refused.value.error
    assert "Campaign@Group" in refused.value.message


def test_given_a_whole_life_when_driven_then_every_step_is_taken():
    status, seen = S.NOT_LOADED, []
    for request in (R.LOAD, R.START_DIALING, R.SET_DIALING_MODE, R.STOP_DIALING, R.UNLOAD):
        step = step_request(status, request, "g")
        status = step.status
        seen += step.effects
    for event in (GroupEvent.DRAINED, GroupEvent.FLUSHED):
        step = step_event(status, event)
        assert step is not None
        status = step.status
        seen += step.effects

    assert status is S.NOT_LOADED
    assert seen == [
        Effect.OPEN,
        Effect.START,
        Effect.SET_MODE,
        Effect.STOP,
        Effect.BEGIN_UNLOAD,
        Effect.GIVE_BACK,
        Effect.CLOSED,
    ]


def test_given_any_loaded_status_when_force_unloaded_then_it_ends_not_loaded():
    for status in (S.ACTIVE, S.RUNNING, S.WAITING_UNLOAD):
        step = step_request(status, R.FORCE_UNLOAD, "g")
        assert Effect.FORCE in step.effects
        last = step_event(step.status, GroupEvent.FLUSHED)
        assert last is not None
        assert last.status is S.NOT_LOADED


def test_given_a_running_group_when_completed_then_it_stops_before_it_unloads():
    step = step_request(S.RUNNING, R.COMPLETE, "g")

    assert step == Step(S.WAITING_UNLOAD, (Effect.STOP, Effect.BEGIN_UNLOAD))


def test_given_events_out_of_place_when_they_come_then_nothing_happens():
    for status in S:
        for event in GroupEvent:
            if (status, event) not in EVENT_TABLE:
                assert step_event(status, event) is None


def test_given_parameters_when_applied_then_only_the_given_ones_change():
    changed = apply_parameters(SETTINGS, DialParameters(optimize_goal=5, auto_completion=True))

    assert changed == DialSettings(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 5, True)


@pytest.mark.parametrize(
    ("parameters", "running", "error"),
    [
        (DialParameters(dial_mode=DialMode.PREVIEW), None, E.LICENSE_VIOLATION),
        (DialParameters(dial_mode=DialMode.PREVIEW), DialMode.PREDICTIVE, E.INVALID_CAMPAIGN_MODE),
        (DialParameters(optimize_goal=0), None, E.INVALID_PARAMETER),
        (DialParameters(optimize_goal=101), None, E.INVALID_PARAMETER),
        (DialParameters(optimize_by=OptimizeBy.WAIT_TIME, optimize_goal=0), None, E.INVALID_PARAMETER),
    ],
)
def test_given_bad_parameters_when_applied_then_they_are_refused_by_number(parameters, running, error):
    with pytest.raises(CampaignRequestError) as refused:
        apply_parameters(SETTINGS, parameters, running_mode=running)

    assert error is refused.value.error


def test_given_a_running_predictive_group_when_set_to_progressive_then_it_is_allowed():
    changed = apply_parameters(
        SETTINGS, DialParameters(dial_mode=DialMode.PROGRESSIVE), running_mode=DialMode.PREDICTIVE
    )

    assert changed.dial_mode is DialMode.PROGRESSIVE


def test_given_priorities_when_others_are_set_then_only_the_named_types_change():
    first = (TypePriority(RecordType.GENERAL, 5, 10), TypePriority(RecordType.CAMPAIGN_CALLBACK, 1))
    then = (TypePriority(RecordType.GENERAL, 7),)

    settings = apply_parameters(SETTINGS, DialParameters(priorities=first))
    settings = apply_parameters(settings, DialParameters(priorities=then))

    assert set(settings.priorities) == {then[0], first[1]}
