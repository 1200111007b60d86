"""Reports of inbound calls: how long they count, and what a running campaign makes of them."""

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.model.enums import CmError, DialMode
from ocsd.model.errors import CampaignRequestError
from ocsd.model.services import CampaignRequest
from ocsd.sessions.inbound import INBOUND_LIFETIME_S, InboundCalls
from telephony.fake import CallScript
from tests.ocsd.desk_world import number, world

AGENT_GROUP = 234
RINGS_ON = CallScript(ring_s=1000.0, talk_s=1.0)


def test_given_a_report_when_another_comes_then_it_replaces_it():
    calls = InboundCalls("Sales")
    assert calls.current(0.0) == (0, 0)

    calls.report(4, 2, 1.0)
    calls.report(1, 0, 2.0)

    assert calls.current(3.0) == (1, 0)


def test_given_a_report_when_it_is_not_repeated_then_it_is_dropped_and_the_log_says_so_once():
    calls = InboundCalls("Sales")
    calls.report(4, 2, 1.0)
    assert calls.current(1.0 + INBOUND_LIFETIME_S) == (4, 2)

    with capture_logs() as logged:
        figures = [calls.current(1.1 + INBOUND_LIFETIME_S + second) for second in range(3)]

    assert figures == [(0, 0)] * 3
    assert [(entry["event"], entry["agent_group"]) for entry in logged] == [("inbound.report_expired", "Sales")]


async def test_given_inbound_calls_when_reported_then_they_are_in_the_pacings_snapshot_and_the_figures(
    tmp_path, autojump_clock
):
    async with world(tmp_path) as place, place.daemon() as daemon:
        await daemon.start()

        daemon.campaigns.report_inbound(AGENT_GROUP, 3, 1)

        seen, shown = daemon.session.snapshot(), daemon.session.statistics()
        assert (seen.inbound_waiting, seen.inbound_ringing) == (3, 1)
        assert (shown["inbound_waiting"], shown["inbound_ringing"]) == (3, 1)
        await trio.sleep(INBOUND_LIFETIME_S + 1)
        assert daemon.session.snapshot().inbound_waiting == 0


async def test_given_an_agent_group_that_nobody_has_when_reported_then_it_is_refused(tmp_path, autojump_clock):
    async with world(tmp_path) as place, place.daemon() as daemon:
        with pytest.raises(CampaignRequestError) as refused:
            daemon.campaigns.report_inbound(9, 1, 1)

        assert refused.value.error is CmError.GROUP_NOT_FOUND


@pytest.mark.parametrize("mode", [DialMode.PROGRESSIVE, DialMode.PREDICTIVE])
async def test_given_agents_who_are_ready_when_inbound_calls_wait_then_no_call_is_started_for_those_they_need(
    tmp_path, autojump_clock, mode
):
    async with world(tmp_path, dict.fromkeys(map(number, range(1, 9)), RINGS_ON)) as place, place.daemon() as daemon:
        for record_id in range(1, 9):
            place.add(record_id)
        for agent in ("agent1", "agent2", "agent3"):
            await daemon.log_in(agent)
        daemon.campaigns.report_inbound(AGENT_GROUP, 2, 0)
        await daemon.request(CampaignRequest.LOAD)
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=mode)

        await trio.sleep(10)
        with_inbound = len(place.dialed())
        daemon.campaigns.report_inbound(AGENT_GROUP, 0, 0)
        await trio.sleep(2)

        assert (with_inbound, len(place.dialed())) == (1, 3)


async def test_given_reserved_agents_when_progressive_mode_dials_then_no_call_is_started_for_them(
    tmp_path, autojump_clock
):
    options = ["progressive_blending_reserved_agents = 2"]
    scripts = dict.fromkeys(map(number, range(1, 9)), RINGS_ON)
    async with world(tmp_path, scripts, options=options) as place, place.daemon() as daemon:
        for record_id in range(1, 9):
            place.add(record_id)
        for agent in ("agent1", "agent2", "agent3"):
            await daemon.log_in(agent)
        await daemon.start()

        await trio.sleep(10)

        assert daemon.session.snapshot().agents_kept_back == 2
        assert len(place.dialed()) == 1
