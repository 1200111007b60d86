import socket

import pytest
import trio

from ocsd.client import ERROR_MEANINGS, ControlClient, ControlError, ControlUnavailable
from ocsd.model.enums import CmError, DialMode, OptimizeBy
from ocsd.model.services import CampaignRequest, DialParameters
from tests.ocsd.http_fakes import FakeCampaigns, http_server


async def in_thread(port, use):
    """Run ``use(client)`` with a ControlClient in a thread, as `ocsd ctl` is a program of its own."""

    def run():
        with ControlClient(f"http://127.0.0.1:{port}") as client:
            return use(client)

    return await trio.to_thread.run_sync(run)


async def test_given_a_group_when_driven_through_its_life_then_every_request_arrives():
    def drive(client):
        client.load(106)
        client.start(106, DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3, auto_completion=True)
        client.set_mode(106, DialMode.PROGRESSIVE)
        shown = client.status(106)
        client.stop(106)
        client.unload(106)
        client.report_inbound(234, queued=3, ringing=1)
        return shown, client.statuses(), client.statistics(115), client.health()

    async with http_server() as (service, connect):
        shown, statuses, statistics, health = await in_thread(connect.port, drive)

    assert (shown["GSW_CM_AttrDialMode"], shown["GSW_CM_AttrGroupCampStatus"]) == (2, 5)
    assert list(statuses) == [group.name for group in service.groups.values()]
    assert statistics["busy_factor"] == 0.81
    assert service.inbound == [(234, 3, 1)]
    assert health == {"status": "ok", "campaign_groups": {g.name: g.dbid for g in service.groups.values()}}
    assert service.requests == [
        (106, CampaignRequest.LOAD, DialParameters()),
        (
            106,
            CampaignRequest.START_DIALING,
            DialParameters(DialMode.PREDICTIVE, OptimizeBy.OVERDIAL_RATE, 3, auto_completion=True),
        ),
        (106, CampaignRequest.SET_DIALING_MODE, DialParameters(DialMode.PROGRESSIVE)),
        (106, CampaignRequest.STOP_DIALING, DialParameters()),
        (106, CampaignRequest.UNLOAD, DialParameters()),
    ]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("force_unload", CampaignRequest.FORCE_UNLOAD),
        ("stage", CampaignRequest.STAGE),
        ("complete", CampaignRequest.COMPLETE),
    ],
)
async def test_given_the_other_requests_when_sent_then_they_arrive(method, request_):
    async with http_server() as (service, connect):
        await in_thread(connect.port, lambda client: getattr(client, method)(115))

    assert [request for _, request, _ in service.requests] == [request_]


@pytest.mark.parametrize(
    ("use", "status", "warning", "said"),
    [
        (lambda c: c.load(115), 409, 5, "already loaded"),
        (lambda c: c.stop(106), 410, 4, "not loaded"),
        (lambda c: c.status(999), 404, 9, "999"),
        (lambda c: c.launch(106, DialMode.PREDICTIVE), 400, 10, "GSW_CM_AttrOptimizeBy"),
    ],
)
async def test_given_a_refusal_when_received_then_it_is_raised_with_number_and_meaning(use, status, warning, said):
    async with http_server() as (_, connect):
        with pytest.raises(ControlError, match=said) as caught:
            await in_thread(connect.port, use)

    assert (caught.value.status, caught.value.warning) == (status, warning)
    assert f"(error {warning})" in str(caught.value)


async def test_given_a_failing_server_when_asked_then_the_error_has_no_number():
    async with http_server(FakeCampaigns(fail=KeyError())) as (_, connect):
        with pytest.raises(ControlError, match="its log says why") as caught:
            await in_thread(connect.port, lambda client: client.load(106))

    assert (caught.value.status, caught.value.warning) == (500, None)


def test_given_nobody_at_the_address_when_asked_then_the_error_says_where():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with ControlClient(url) as client, pytest.raises(ControlUnavailable, match=url):
        client.health()


def test_given_a_silent_server_when_the_limit_passes_then_the_error_says_so():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with ControlClient(url, limit_s=0.1) as client, pytest.raises(ControlUnavailable, match="in time"):
            client.load(106)


def test_given_the_manuals_errors_when_explained_then_each_applicable_one_has_words():
    assert set(ERROR_MEANINGS) == set(CmError) - {CmError.NO, CmError.SERVER_CONNECTED, CmError.REGISTER_CLIENT}
