"""A list whose table or filter stops working while its group dials: the group goes on with what it has."""

import trio

from ocsd.lists.memory import MemoryListStore
from ocsd.model.enums import DialMode, GroupCampStatus
from ocsd.model.errors import ConfigError
from ocsd.model.services import CampaignRequest
from ocsd.sessions.roster import AgentState
from tests.ocsd.desk_world import TALKER, number, world


async def test_given_a_filter_that_stops_working_when_dialing_then_conversations_and_the_group_go_on(
    autojump_clock, tmp_path, monkeypatch
):
    async def broken(self: MemoryListStore, *arguments: object) -> None:
        raise ConfigError(["the filter does not work"])

    async with world(tmp_path, {number(1): TALKER}) as w, w.daemon() as daemon:
        w.add(1)
        await daemon.log_in("agent1")
        await daemon.request(CampaignRequest.LOAD)
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE, auto_completion=True)
        await daemon.until_talking("agent1")
        w.add(2)
        with monkeypatch.context() as patched:
            patched.setattr(MemoryListStore, "claim_chains", broken)
            patched.setattr(MemoryListStore, "counts", broken)
            await trio.sleep(700.0)  # the conversation ends, and nobody knows whether the list does
            assert daemon.status is GroupCampStatus.RUNNING
        assert daemon.campaigns.seats["agent1"].state is not AgentState.TALKING
        await daemon.desktops["agent1"].ask(Request="RequestAgentReady")
        await daemon.until(lambda: number(2) in w.dialed())
