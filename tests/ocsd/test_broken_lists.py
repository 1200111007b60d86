"""A list whose table or filter stops working while its group dials: the group goes on with what it has."""

import trio

from ocsd.demo.world import CAMPAIGN_GROUP_DBID
from ocsd.lists.memory import MemoryListStore
from ocsd.model.enums import DialMode, GroupCampStatus
from ocsd.model.enums import RecordStatus as R
from ocsd.model.errors import ConfigError
from ocsd.model.records import FinishedAttempt
from ocsd.model.services import CampaignRequest
from ocsd.sessions.roster import AgentState
from tests.ocsd.desk_world import LIST, NOON, TALKER, number, world
from tests.ocsd.list_worlds import attempt_for


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


async def test_given_a_row_that_cannot_be_written_when_a_daemon_starts_then_it_starts_and_leaves_only_that_one_open(
    autojump_clock, tmp_path, monkeypatch
):
    finish = MemoryListStore.finish_attempt

    async def refuses(self: MemoryListStore, finished: FinishedAttempt) -> bool:
        if finished.record_id == 1:
            raise ValueError("a trigger of the table")
        return await finish(self, finished)

    async with world(tmp_path) as w:
        w.add(1)
        w.add(2)
        died = MemoryListStore(w.database, node="localhost")
        chains = await died.claim_chains(LIST, CAMPAIGN_GROUP_DBID, 2, NOON)
        await died.begin_attempts([attempt_for(chain, place) for place, chain in enumerate(chains, 1)])
        monkeypatch.setattr(MemoryListStore, "finish_attempt", refuses)
        async with w.daemon() as daemon:
            assert daemon.status is GroupCampStatus.NOT_LOADED
            await daemon.log_in("agent1")
            await daemon.start()
            await trio.sleep(60.0)
            assert w.dialed() == []
            assert [w.row(record_id).record_status for record_id in (1, 2)] == [R.RETRIEVED, R.STALE]
