"""Reports of inbound calls: how long they count, and what a running campaign makes of them."""

import pytest
import trio
from structlog.testing import capture_logs

from ocsd.model.enums import CmError
from ocsd.model.errors import CampaignRequestError
from ocsd.sessions.inbound import INBOUND_LIFETIME_S, InboundCalls
from tests.ocsd.desk_world import world

AGENT_GROUP = 234


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
