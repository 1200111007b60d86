import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import CmError, DialMode, OptimizeBy, RecordType
from ocsd.model.errors import CampaignRequestError
from ocsd.model.records import TypePriority
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.commdn import NEED_PARAMETERS, all_statuses_body, group_status_body, parse_dial_parameters
from tests.ocsd.http_fakes import LOADED, FakeCampaigns, not_loaded

MODE, BY, GOAL, AUTO = (
    "GSW_CM_AttrDialMode",
    "GSW_CM_AttrOptimizeBy",
    "GSW_CM_AttrOptimizeGoal",
    "GSW_AUTO_COMPLETION",
)
START = CampaignRequest.START_DIALING


@pytest.mark.parametrize(
    ("request_", "body", "expected"),
    [
        (CampaignRequest.LOAD, {}, DialParameters()),
        (CampaignRequest.STOP_DIALING, {}, DialParameters()),
        (START, {MODE: 1, BY: 1, GOAL: 80}, DialParameters(DialMode.PREDICTIVE, OptimizeBy.BUSY_FACTOR, 80)),
        (
            CampaignRequest.SET_DIALING_MODE,
            {MODE: 1, BY: 2, GOAL: 5},
            DialParameters(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 5),
        ),
        (
            START,
            {MODE: 5, "GSW_CM_AttrOptimizedBy": 3, GOAL: 600},
            DialParameters(DialMode.PREDICTIVE_AND_SEIZE, OptimizeBy.WAIT_TIME, 600),
        ),
        (CampaignRequest.LAUNCH, {MODE: 2}, DialParameters(DialMode.PROGRESSIVE)),
        (START, {MODE: 2, BY: 1, GOAL: 0}, DialParameters(DialMode.PROGRESSIVE)),
        (START, {MODE: 2, BY: 1, GOAL: 70}, DialParameters(DialMode.PROGRESSIVE, OptimizeBy.BUSY_FACTOR, 70)),
        (START, {MODE: 2, AUTO: 1, "note": [True]}, DialParameters(DialMode.PROGRESSIVE, auto_completion=True)),
        (CampaignRequest.LOAD, {AUTO: 0}, DialParameters(auto_completion=False)),
    ],
)
def test_given_a_valid_body_when_parsed_then_its_parameters_come_out(request_, body, expected):
    assert parse_dial_parameters(request_, body) == expected


@pytest.mark.parametrize(
    ("request_", "body", "named"),
    [
        *((request, {}, MODE) for request in sorted(NEED_PARAMETERS, key=lambda r: r.value)),
        (START, {MODE: 1}, BY),
        (START, {MODE: 1, BY: 1}, GOAL),
        (START, {MODE: 1, GOAL: 5}, BY),
        (CampaignRequest.LOAD, {BY: 1}, GOAL),
        (CampaignRequest.LOAD, {GOAL: 5}, BY),
        (START, {MODE: 6, BY: 1, GOAL: 5}, MODE),
        (START, {MODE: True, BY: 1, GOAL: 5}, MODE),
        (START, {MODE: "1", BY: 1, GOAL: 5}, MODE),
        (START, {MODE: 1.0, BY: 1, GOAL: 5}, MODE),
        (START, {MODE: None}, MODE),
        (START, {MODE: 2**40}, MODE),
        (START, {MODE: 1, BY: 4, GOAL: 5}, BY),
        (START, {MODE: 1, BY: 1, GOAL: 0}, GOAL),
        (START, {MODE: 1, BY: 1, GOAL: 101}, GOAL),
        (START, {MODE: 1, BY: 2, GOAL: 101}, GOAL),
        (START, {MODE: 1, BY: 3, GOAL: 0}, GOAL),
        (START, {MODE: 2, GOAL: -1}, GOAL),
        (START, {MODE: 2, BY: 2, GOAL: 101}, GOAL),
        (START, {MODE: 2, AUTO: 2}, AUTO),
        (START, {MODE: 2, AUTO: True}, AUTO),
        (START, {MODE: 2, "GSW_CM_AttrDialmode": 2}, "GSW_CM_AttrDialmode"),
        (START, {MODE: 2, "GSW_AUTO_COMPLETE": 1}, "GSW_AUTO_COMPLETE"),
        (START, {MODE: 1, BY: 1, "GSW_CM_AttrOptimizedBy": 2, GOAL: 5}, BY),
        (CampaignRequest.STOP_DIALING, {MODE: 1}, MODE),
        (CampaignRequest.UNLOAD, {AUTO: 1}, AUTO),
    ],
)
def test_given_an_invalid_body_when_parsed_then_error_10_names_the_attribute(request_, body, named):
    with pytest.raises(CampaignRequestError) as caught:
        parse_dial_parameters(request_, body)

    assert caught.value.error is CmError.INVALID_PARAMETER
    assert named in caught.value.message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(CampaignRequest),
    st.dictionaries(
        st.sampled_from([MODE, BY, GOAL, AUTO, "GSW_X", "x"]) | st.text(), st.integers(0, 12) | json_values
    ),
)
def test_given_any_object_when_parsed_then_parameters_or_error_10(request_, body):
    refused, parameters = None, DialParameters()
    try:
        parameters = parse_dial_parameters(request_, body)
    except CampaignRequestError as error:
        refused = error
    if refused is not None:
        assert refused.error is CmError.INVALID_PARAMETER
        return
    assert (parameters.optimize_by is None) == (parameters.optimize_goal is None)
    assert request_ not in NEED_PARAMETERS or parameters.dial_mode is not None


def test_given_a_running_group_when_shown_then_keys_order_and_size_are_those_of_the_manual():
    body = group_status_body(LOADED, 398)

    assert list(body.items()) == [
        ("GSW_CM_MessageType", 24),
        ("GSW_CM_AttrCampaignID", 139),
        ("GSW_CM_AttrGroupID", 234),
        ("GSW_CM_AttrDialMode", 1),
        ("GSW_CM_AttrOptimizeBy", 1),
        ("GSW_CM_AttrOptimizeGoal", 80),
        ("GSW_CM_AttrGroupCampStatus", 5),
        ("GSW_CM_AttrProperties", {"camp_group_data": {}}),
        ("GSW_SWITCH_DBID", 105),
        ("GSW_CM_AttrOriginAppID", 398),
    ]
    assert len(json.dumps(body, indent="\t")) == 323


def test_given_a_group_that_is_not_loaded_when_shown_then_only_its_identity_and_status_stand_there():
    assert group_status_body(not_loaded(1, "C@G", 7, 8), 398) == {
        "GSW_CM_MessageType": 24,
        "GSW_CM_AttrCampaignID": 7,
        "GSW_CM_AttrGroupID": 8,
        "GSW_CM_AttrGroupCampStatus": 0,
        "GSW_CM_AttrOriginAppID": 398,
    }


MANUALS_ALL_GROUPS = """{
  "GSW_CM_MessageType": 46,
  "CampaignGroups": {
    "Campaign_Group_1@Agent_Group_1": {
      "GSW_CM_AttrCampaignID": 146,
      "GSW_CM_AttrGroupID": 234,
      "GSW_CM_AttrGroupCampStatus": 0
    },
    "Campaign_Group_2@Agent_Group_2": {
      "GSW_CM_AttrReferenceID": 6,
      "GSW_CM_AttrCampaignID": 139,
      "GSW_CM_AttrGroupID": 234,
      "GSW_CM_AttrDialMode": 1,
      "GSW_CM_AttrOptimizeBy": 1,
      "GSW_CM_AttrOptimizeGoal": 80,
      "GSW_CM_AttrGroupCampStatus": 5,
      "GSW_CM_AttrProperties": {
        "camp_group_data": {}
      },
      "GSW_SWITCH_DBID": 105
    },
    "Campaign_Group_3@Agent_Group_3": {
      "GSW_CM_AttrCampaignID": 138,
      "GSW_CM_AttrGroupID": 162,
      "GSW_CM_AttrGroupCampStatus": 0
    }
  },
  "GSW_CM_AttrOriginAppID": 398
}"""


def test_given_three_groups_when_all_are_shown_then_the_body_is_the_manuals():
    assert json.dumps(all_statuses_body(FakeCampaigns().statuses(), 398), indent=2) == MANUALS_ALL_GROUPS


def properties(value):
    return {"GSW_CM_AttrDialMode": 2, "GSW_CM_AttrProperties": value}


def test_given_a_dialing_priority_when_parsed_then_each_named_type_has_its_figures():
    wanted = {"General": {"priority": 9, "n_records": 20}, "CampaignCallBack": {"priority": 0}}
    given = parse_dial_parameters(CampaignRequest.START_DIALING, properties({"dialing_priority": wanted}))
    assert given.priorities == (
        TypePriority(RecordType.GENERAL, 9, 20),
        TypePriority(RecordType.CAMPAIGN_CALLBACK, 0, 0),
    )


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (3, "must be an object"),
        ({"camp_group_data": {}}, '"camp_group_data" is not supported'),
        ({"dialing_priority": []}, "dialing_priority must be an object"),
        ({"dialing_priority": {"Personal": {"priority": 1}}}, "is not one of General, CampaignRescheduled"),
        ({"dialing_priority": {"General": {"n_records": 1}}}, "needs priority"),
        ({"dialing_priority": {"General": {"priority": 101}}}, "from 0 to 100"),
        ({"dialing_priority": {"General": {"priority": True}}}, "from 0 to 100"),
        ({"dialing_priority": {"General": {"priority": 1, "n_records": -1}}}, "n_records must be"),
        ({"dialing_priority": {"General": {"priority": 1, "weight": 2}}}, '"weight" is not one of'),
    ],
)
def test_given_a_wrong_dialing_priority_when_parsed_then_error_10_names_what_is_wrong(value, named):
    with pytest.raises(CampaignRequestError, match=named) as caught:
        parse_dial_parameters(CampaignRequest.SET_DIALING_MODE, properties(value))
    assert caught.value.error is CmError.INVALID_PARAMETER


def test_given_a_request_without_parameters_when_it_brings_properties_then_they_are_refused():
    with pytest.raises(CampaignRequestError, match="GSW_CM_AttrProperties"):
        parse_dial_parameters(CampaignRequest.UNLOAD, {"GSW_CM_AttrProperties": {"dialing_priority": {}}})
