"""The manual's campaign-group examples and a session's whole life, byte by byte against the running daemon."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ocsd
from ocsd.demo.world import CAMPAIGN_GROUP
from ocsd.model.enums import CallResult, CmError, GroupCampStatus, GswError, RecordStatus
from telephony.simworld.numbers import number_for
from tests.e2e.sipp_carrier import fail, sipp_carrier
from tests.e2e.site import GROUP, Site, eventually, site
from tests.e2e.wire import DesktopSocket, RawHttp, Refused, Reply

pytestmark = pytest.mark.e2e

SERVER = ("Server", f"OCS/{ocsd.__version__}")
APPLICATION = 398
"""The manual's examples come from an OCS application with this DBID."""

NUMBERS = [number_for(index, ("303",)) for index in range(3)]
OTHER_GROUP = 115
CAMPAIGN_EVENTS = ("CampaignLoaded", "CampaignStarted", "CampaignModeChanged", "CampaignStopped", "CampaignUnloaded")

# The examples of the manual's HTTP chapter, header by header.
LOAD_106 = (
    "POST http://ocs.us.int.genesyslab.com:8080/campaigngroups/106?req=Load HTTP/1.1\r\n"
    "Host: ocs.us.int.genesyslab.com:8080\r\n"
    "User-Agent: Genesys Orchestration/8.0.000.15 Banking administration #3\r\n"
    "Content-length: 0\r\n"
    "\r\n"
)
SET_MODE_BODY = '{\n    "GSW_CM_AttrDialMode": 1,\n    "GSW_CM_AttrOptimizeBy": 2,\n    "GSW_CM_AttrOptimizeGoal": 5\n}'
SET_DIALING_MODE_106 = (
    "POST http://ocs.genesyslab.com:8080/campaigngroups/106?req=SetDialingMode HTTP/1.1\r\n"
    "Host: ocs.genesyslab.com:8080\r\n"
    "User-Agent: Genesys Orchestration/8.0.000.15 Banking administration #3\r\n"
    "Content-type: application/json\r\n"
    f"Content-length: {len(SET_MODE_BODY)}\r\n"
    "\r\n"
    f"{SET_MODE_BODY}"
)
GET_106 = (
    "GET http://ocs.genesyslab.com:8080/campaigngroups/106 HTTP/1.1\r\n"
    "Host: ocs.genesyslab.com\r\n"
    "User-Agent: ORS\r\n"
    "Accept: */*\r\n"
    "\r\n"
)
GET_ALL = GET_106.replace("/106", "")
MANUALS_STATUS = {
    "GSW_CM_MessageType": 24,
    "GSW_CM_AttrCampaignID": 139,
    "GSW_CM_AttrGroupID": 234,
    "GSW_CM_AttrDialMode": 1,
    "GSW_CM_AttrOptimizeBy": 1,
    "GSW_CM_AttrOptimizeGoal": 80,
    "GSW_CM_AttrGroupCampStatus": 5,
    "GSW_CM_AttrProperties": {"camp_group_data": {}},
    "GSW_SWITCH_DBID": 105,
    "GSW_CM_AttrOriginAppID": APPLICATION,
}


def as_in_the_manual(text: str) -> str:
    """The examples' application, and a second campaign group that is configured but not active."""
    assert text.count("dbid = 101\n") == 1
    return (
        text.replace("dbid = 101\n", f"dbid = {APPLICATION}\n")
        + f"""
[[campaigns]]
dbid = 138
name = "Idle"
tenant = "Environment"
lists = [{{ calling_list = "Demo List" }}]

[[campaign_groups]]
dbid = {OTHER_GROUP}
name = "Idle@Demo Agents"
campaign = "Idle"
group = "Demo Agents"
trunks = ["Simulated Carrier"]
"""
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("carrier")
    with sipp_carrier({number: fail(404, "Not Found") for number in NUMBERS}, folder) as carrier:
        with site(carrier.port, agents=1, edit=as_in_the_manual) as started:
            started.start_daemon()
            yield started
            assert started.stop_daemon() == 0


@pytest.fixture
def http(here) -> Iterator[RawHttp]:
    """One persistent connection for the whole test; the groups are unloaded before and after it."""
    with RawHttp(here.http_port) as client:
        yield client
        for dbid in (GROUP, OTHER_GROUP):
            client.ask(post("ForceUnload", dbid=dbid))
            unloaded(client, dbid)


def post(request: str, body: dict[str, Any] | None = None, dbid: int = GROUP, headers: str = "") -> str:
    content = json.dumps(body) if body is not None else ""
    kind = "Content-type: application/json\r\n" if body is not None else ""
    target = f"/campaigngroups/{dbid}?req={request}"
    return f"POST {target} HTTP/1.1\r\nHost: ocs\r\n{headers}{kind}Content-length: {len(content)}\r\n\r\n{content}"


def parameters(mode: int, by: int | None = None, goal: int | None = None, **more: int) -> dict[str, int]:
    named = {"GSW_CM_AttrDialMode": mode, "GSW_CM_AttrOptimizeBy": by, "GSW_CM_AttrOptimizeGoal": goal}
    return {name: value for name, value in named.items() if value is not None} | more


def state(client: RawHttp, dbid: int = GROUP) -> int:
    return int(client.ask(GET_106.replace("106", str(dbid))).document["GSW_CM_AttrGroupCampStatus"])


def unloaded(client: RawHttp, dbid: int = GROUP) -> None:
    eventually("the group is unloaded", lambda: state(client, dbid) == GroupCampStatus.NOT_LOADED)


def succeeded(reply: Reply) -> bool:
    """Exactly the manual's positive answer."""
    return (reply.status_line, reply.headers, reply.body) == (
        "HTTP/1.1 200 OK",
        (SERVER, ("Content-length", "0")),
        b"",
    )


def test_given_the_manuals_load_when_sent_twice_then_200_and_then_409_with_warning_5(http):
    assert succeeded(http.ask(LOAD_106))
    assert state(http) == GroupCampStatus.ACTIVE

    second = http.ask(LOAD_106)

    assert second.status_line == "HTTP/1.1 409 Conflict"
    assert second.headers == (SERVER, ("Warning", "5"), ("Content-length", "0"))
    assert state(http) == GroupCampStatus.ACTIVE


def test_given_a_dialing_group_when_the_manuals_set_dialing_mode_comes_then_the_status_shows_it(http):
    http.ask(LOAD_106)
    assert http.ask(SET_DIALING_MODE_106).warning == CmError.CAMPAIGN_NOT_STARTED
    assert succeeded(http.ask(post("StartDialing", parameters(2))))

    assert succeeded(http.ask(SET_DIALING_MODE_106))

    status = http.ask(GET_106).document
    settings = [status[f"GSW_CM_Attr{name}"] for name in ("DialMode", "OptimizeBy", "OptimizeGoal", "GroupCampStatus")]
    assert settings == [1, 2, 5, GroupCampStatus.RUNNING]


def test_given_the_manuals_settings_when_the_status_is_asked_then_it_is_the_manuals_document_to_the_byte_count(http):
    http.ask(LOAD_106)
    assert succeeded(http.ask(post("StartDialing", parameters(1, 1, 80))))

    reply = http.ask(GET_106)

    assert reply.status_line == "HTTP/1.1 200 OK"
    assert [name for name, _ in reply.headers] == ["Server", "Cache-control", "Etag", "Content-type", "Content-length"]
    assert dict(reply.headers)["Cache-control"] == "private"
    assert dict(reply.headers)["Content-type"] == "application/json"
    assert dict(reply.headers)["Content-length"] == "323"
    assert list(reply.document.items()) == list(MANUALS_STATUS.items())


def test_given_a_running_and_an_idle_group_when_all_are_asked_then_both_are_told_as_in_the_manual(http):
    http.ask(LOAD_106)
    http.ask(post("StartDialing", parameters(1, 1, 80)))

    document = http.ask(GET_ALL).document

    assert list(document) == ["GSW_CM_MessageType", "CampaignGroups", "GSW_CM_AttrOriginAppID"]
    assert (document["GSW_CM_MessageType"], document["GSW_CM_AttrOriginAppID"]) == (46, APPLICATION)
    running = dict(document["CampaignGroups"][CAMPAIGN_GROUP])
    assert running.pop("GSW_CM_AttrReferenceID") > 0
    assert running == {
        name: value
        for name, value in MANUALS_STATUS.items()
        if name not in ("GSW_CM_MessageType", "GSW_CM_AttrOriginAppID")
    }
    assert document["CampaignGroups"]["Idle@Demo Agents"] == {
        "GSW_CM_AttrCampaignID": 138,
        "GSW_CM_AttrGroupID": 234,
        "GSW_CM_AttrGroupCampStatus": 0,
    }


def test_given_an_unknown_group_when_it_is_asked_for_then_404_and_when_it_is_not_active_then_410(http):
    unknown = http.ask(post("Load", dbid=999))
    assert (unknown.status, unknown.warning) == (404, CmError.GROUP_CAMP_NOT_FOUND)
    assert http.ask(GET_106.replace("106", "999")).status == 404

    inactive = http.ask(post("StartDialing", parameters(2)))
    assert (inactive.status, inactive.warning) == (410, CmError.CAMPAIGN_NOT_LOADED)


def test_given_a_client_that_asks_to_close_when_it_goes_on_then_the_connection_is_still_there(http):
    assert succeeded(http.ask(post("Load", headers="Connection: close\r\n")))

    assert state(http) == GroupCampStatus.ACTIVE


def test_given_a_group_when_it_is_staged_launched_and_completed_then_it_goes_through_its_states(http):
    assert succeeded(http.ask(post("Stage")))
    assert state(http) == GroupCampStatus.ACTIVE
    assert http.ask(post("Stage")).warning == CmError.CAMPAIGN_ALREADY_LOADED
    assert succeeded(http.ask(post("Launch", parameters(2))))
    assert state(http) == GroupCampStatus.RUNNING
    assert http.ask(post("Launch", parameters(2))).warning == CmError.CAMPAIGN_ALREADY_STARTED
    assert http.ask(post("Unload")).warning == CmError.CAMPAIGN_ALREADY_STARTED
    assert succeeded(http.ask(post("Complete")))
    unloaded(http)
    assert http.ask(post("Complete")).warning == CmError.CAMPAIGN_NOT_LOADED


def test_given_an_unloaded_group_when_it_is_launched_then_it_dials_at_once_and_stop_and_unload_end_it(http):
    assert succeeded(http.ask(post("Launch", parameters(1, 3, 20))))
    assert state(http) == GroupCampStatus.RUNNING
    assert succeeded(http.ask(post("StopDialing")))
    assert state(http) == GroupCampStatus.ACTIVE
    assert http.ask(post("StopDialing")).warning == CmError.CAMPAIGN_NOT_STARTED
    assert succeeded(http.ask(post("Unload")))
    unloaded(http)


def test_given_two_groups_of_the_same_agents_when_the_second_is_started_then_it_is_refused(http):
    http.ask(post("Launch", parameters(2)))
    http.ask(post("Load", dbid=OTHER_GROUP))

    refused = http.ask(post("StartDialing", parameters(2), dbid=OTHER_GROUP))

    assert (refused.status, refused.warning) == (409, CmError.CAMPAIGN_ALREADY_STARTED)
    assert state(http, OTHER_GROUP) == GroupCampStatus.ACTIVE


@pytest.mark.parametrize("given", [{}, parameters(2)], ids=["active", "running"])
def test_given_a_loaded_group_when_it_is_unloaded_by_force_then_it_is_gone(http, given):
    http.ask(post("Launch", given) if given else post("Load"))

    assert succeeded(http.ask(post("ForceUnload")))

    unloaded(http)
    assert http.ask(post("ForceUnload")).warning == CmError.CAMPAIGN_NOT_LOADED


def test_given_a_desktop_when_the_campaign_lives_and_dies_then_it_is_told_each_step(here, http):
    with DesktopSocket(here.desktop_port) as desktop:
        desktop.log_in("agent1")
        for request, body in (
            ("Load", None),
            ("StartDialing", parameters(1, 2, 5)),
            ("SetDialingMode", parameters(2)),
            ("StopDialing", None),
            ("Unload", None),
        ):
            assert succeeded(http.ask(post(request, body)))
        desktop.expect(GSW_USER_EVENT="CampaignUnloaded")

        assert desktop.notifications() == list(CAMPAIGN_EVENTS)
        told = {message["GSW_USER_EVENT"]: message for message in desktop.seen if "GSW_USER_EVENT" in message}
        for event in CAMPAIGN_EVENTS:
            assert told[event]["GSW_APPLICATION_ID"] == APPLICATION
            assert told[event]["GSW_CAMPAIGN_NAME"] == "Demo"
            assert told[event]["GSW_CAMPAIGN_GROUP_NAME"] == CAMPAIGN_GROUP
            assert told[event]["GSW_CAMPAIGN_DESCRIPTION"] == "Made-up customers, real calls"
        assert told["CampaignStarted"]["GSW_CAMPAIGN_MODE"] == "Predictive"
        assert told["CampaignModeChanged"]["GSW_CAMPAIGN_MODE"] == "Progressive"


def test_given_a_dialing_campaign_when_a_desktop_logs_in_then_it_is_told_and_may_ask_again(here, http):
    http.ask(post("Launch", parameters(2)))
    with DesktopSocket(here.desktop_port) as desktop:
        desktop.log_in("agent1")
        started = desktop.expect(GSW_USER_EVENT="CampaignStarted")
        desktop.send({"GSW_AGENT_REQ_TYPE": "CampaignStatusRequest", "GSW_REFERENCE_ID": 7})

        again = desktop.receive()

    assert again == started | {"GSW_REFERENCE_ID": 7}


def test_given_a_short_list_when_auto_completion_is_asked_then_it_is_dialed_and_unloads_by_itself(here, http):
    here.add_records([(number, "nobody") for number in NUMBERS])
    with DesktopSocket(here.desktop_port) as desktop:
        desktop.log_in("agent1", ready=True)
        assert succeeded(http.ask(post("Load")))
        assert succeeded(http.ask(post("StartDialing", parameters(2, GSW_AUTO_COMPLETION=1))))
        desktop.expect(GSW_USER_EVENT="CampaignUnloaded")

    unloaded(http)
    assert desktop.notifications() == ["CampaignLoaded", "CampaignStarted", "CampaignStopped", "CampaignUnloaded"]
    rows = here.query("SELECT contact_info, record_status, call_result, attempt FROM {list} ORDER BY contact_info")
    assert rows == [(n, RecordStatus.UPDATED, CallResult.SIT_INVALID_NUM, 1) for n in NUMBERS]


def test_given_a_desktop_when_its_path_or_its_agent_is_wrong_then_it_is_told_why(here):
    with pytest.raises(Refused, match="404"):
        DesktopSocket(here.desktop_port, "/nowhere")
    with DesktopSocket(here.desktop_port) as desktop:
        answer = desktop.ask({"Request": "RequestAgentLogin", "AgentID": "nobody", "ReferenceID": 4})

    assert (answer["Event"], answer["ErrorCode"]) == ("EventError", GswError.AGENT_NOT_FOUND)
    assert answer["ReferenceID"] == 4
