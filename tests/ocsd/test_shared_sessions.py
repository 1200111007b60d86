"""Two campaign groups whose agent groups have the same members, in one daemon and in virtual time."""

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import trio

from ocsd.lists.pool import Database
from ocsd.model.enums import CallResult, DialMode
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.desktop import RequestAgentNotReady, RequestAgentReady
from ocsd.sessions.attempt import CustomerEnded
from ocsd.sessions.dialing import dial
from ocsd.sessions.explaining import Explaining
from ocsd.sessions.roster import AgentSeat, AgentState, Roster, WaitingLine
from ocsd.sessions.shared import UNDER_WAY, Sharing
from telephony.fake import CallScript
from tests.ocsd.desk_world import CAMPAIGN_GROUP_DBID, TALKER, Daemon, number, world
from tests.ocsd.shared_world import simulate

SECOND = 161
ANSWERS = CallScript(ring_s=6.0, talk_s=40.0, verdict_s=1.0)
RINGS_ON = CallScript(ring_s=15.0, talk_s=40.0, verdict_s=1.0)


def second_group(agents: int, options: str = "") -> str:
    members = ", ".join(f'"agent{n}"' for n in range(1, agents + 1))
    return f"""
[[agent_groups]]
dbid = 235
name = "Second Agents"
agents = [{members}]

[[table_accesses]]
dbid = 171
name = "Second Table"
table = "second_list"
format = "Demo Format"

[[calling_lists]]
dbid = 172
name = "Second List"
table_access = "Second Table"
time_zone = "EST"
daily_from = 0
daily_till = 86400

[[campaigns]]
dbid = 160
name = "Second"
tenant = "Environment"
lists = [{{ calling_list = "Second List" }}]

[[campaign_groups]]
dbid = {SECOND}
name = "Second@Second Agents"
campaign = "Second"
group = "Second Agents"
trunks = ["Simulated Carrier"]
num_of_channels = 50
{options}
"""


def fill(place, first: int, second: int) -> None:
    """Records of both lists, with numbers from 1 and from 501."""
    for record_id in range(1, first + 1):
        place.add(record_id)
    for record_id in range(501, 501 + second):
        place.database.add_record(172, contact_info=number(record_id), record_id=record_id)


async def start_both(daemon: Daemon, mode: DialMode = DialMode.PROGRESSIVE) -> None:
    for dbid in (CAMPAIGN_GROUP_DBID, SECOND):
        await daemon.campaigns.request(dbid, CampaignRequest.LAUNCH, DialParameters(dial_mode=mode))


async def work(daemon: Daemon) -> None:
    """Agents who finish each record and are ready again five seconds after their call."""
    since: dict[str, float] = {}
    while True:
        for agent_id, desktop in daemon.desktops.items():
            seat = daemon.campaigns.seats[agent_id]
            if seat.state is not AgentState.WRAP_UP or trio.current_time() - seat.since_s < 5.0:
                continue
            last = desktop.last("EventReleased")["UserData"]
            if since.get(agent_id) != seat.since_s:
                since[agent_id] = seat.since_s
                await desktop.gsw(
                    "RecordProcessed",
                    GSW_APPLICATION_ID=101,
                    GSW_RECORD_HANDLE=last["GSW_RECORD_HANDLE"],
                    GSW_CAMPAIGN_NAME=last["GSW_CAMPAIGN_NAME"],
                    GSW_CALLING_LIST=last["GSW_CALLING_LIST"],
                )
                await daemon.desks.received(desktop, RequestAgentReady())
        await trio.sleep(0.5)


def under_way(daemon: Daemon, dbid: int) -> int:
    return sum(task.machine.state in UNDER_WAY for task in daemon.campaigns.sessions[dbid].attempts.values())


def numbers(first: int, last: int) -> list[str]:
    return [number(record_id) for record_id in range(first, last + 1)]


async def test_given_groups_with_the_same_agents_when_both_dial_one_to_one_then_each_agent_is_dialed_for_once(
    tmp_path, autojump_clock
):
    scripts = dict.fromkeys([*numbers(1, 200), *numbers(501, 700)], ANSWERS)
    async with world(tmp_path, scripts, more=second_group(6), agents=6) as place, place.daemon() as daemon:
        fill(place, 200, 200)
        for n in range(1, 7):
            await daemon.log_in(f"agent{n}")
        daemon.nursery.start_soon(work, daemon)
        await start_both(daemon)
        worst = 0
        for _ in range(1200):
            await trio.sleep(0.5)
            ready = sum(seat.state is AgentState.READY for seat in daemon.campaigns.seats.values())
            calls = under_way(daemon, CAMPAIGN_GROUP_DBID) + under_way(daemon, SECOND)
            reserved = sum(seat.state is AgentState.RESERVED for seat in daemon.campaigns.seats.values())
            worst = max(worst, calls - ready - reserved)

        tallies = [daemon.campaigns.sessions[dbid].score.tally for dbid in (CAMPAIGN_GROUP_DBID, SECOND)]

        assert worst <= 0
        assert [tally.abandoned for tally in tallies] == [0, 0]
        connected = [tally.connected for tally in tallies]
        # 600 s of 6 agents, some 53 s for each call: all are used, and both groups alike.
        assert sum(connected) >= 55
        assert min(connected) >= 0.4 * sum(connected)


async def test_given_a_group_without_records_when_the_other_dials_then_it_has_all_agents(tmp_path, autojump_clock):
    scripts = dict.fromkeys(numbers(1, 50), RINGS_ON)
    async with world(tmp_path, scripts, more=second_group(6), agents=6) as place, place.daemon() as daemon:
        fill(place, 50, 0)
        for n in range(1, 7):
            await daemon.log_in(f"agent{n}")
        await start_both(daemon)

        await daemon.until(lambda: under_way(daemon, CAMPAIGN_GROUP_DBID) == 6)


async def test_given_shared_agents_when_asked_why_then_those_who_count_for_another_group_are_told_apart(
    tmp_path, autojump_clock
):
    scripts = dict.fromkeys([*numbers(1, 50), *numbers(501, 550)], RINGS_ON)
    async with world(tmp_path, scripts, more=second_group(4), agents=4) as place, place.daemon() as daemon:
        fill(place, 50, 50)
        await start_both(daemon)
        await trio.sleep(3)  # both have records by now
        for n in range(1, 5):
            await daemon.log_in(f"agent{n}", ready=False)
        for desktop in daemon.desktops.values():
            await daemon.desks.received(desktop, RequestAgentReady())
        await daemon.until(lambda: under_way(daemon, SECOND) == 2)
        explaining = Explaining(daemon.campaigns, cast(Database, None), place.dnc, "owner")

        states = [explaining._groups()[dbid].agents for dbid in (CAMPAIGN_GROUP_DBID, SECOND)]

        assert [list(agents.values()).count("for_another_group") for agents in states] == [2, 2]
        assert all("for_another_group" in {agents[agent_id] for agents in states} for agent_id in states[0])


async def test_given_weights_when_both_groups_could_use_all_agents_then_the_parts_are_as_the_weights(
    tmp_path, autojump_clock
):
    scripts = dict.fromkeys([*numbers(1, 50), *numbers(501, 550)], RINGS_ON)
    more = second_group(9, "options = { sharing-weight = 2 }")
    async with world(tmp_path, scripts, more=more, agents=9) as place, place.daemon() as daemon:
        fill(place, 50, 50)
        await start_both(daemon)
        await trio.sleep(3)  # both have records by now
        for n in range(1, 10):
            await daemon.log_in(f"agent{n}", ready=False)
        for desktop in daemon.desktops.values():
            await daemon.desks.received(desktop, RequestAgentReady())

        await daemon.until(lambda: under_way(daemon, SECOND) + under_way(daemon, CAMPAIGN_GROUP_DBID) == 9)

        assert under_way(daemon, SECOND) == 6


async def test_given_a_person_of_one_group_when_an_agent_comes_free_in_a_call_of_another_then_it_gets_the_person(
    tmp_path, autojump_clock
):
    scripts = {
        number(1): CallScript(ring_s=2.0, talk_s=4.0, verdict_s=0.5),
        number(501): CallScript(ring_s=5.0, talk_s=30.0, verdict_s=0.5),
    }
    options = "options = { call_wait_in_queue_timeout = 30 }"
    async with world(tmp_path, scripts, more=second_group(1, options), agents=1) as place, place.daemon() as daemon:
        fill(place, 1, 1)
        desktop = await daemon.log_in("agent1")
        await daemon.campaigns.request(
            CAMPAIGN_GROUP_DBID, CampaignRequest.LAUNCH, DialParameters(dial_mode=DialMode.PROGRESSIVE)
        )
        await daemon.until_talking("agent1")
        await daemon.campaigns.request(SECOND, CampaignRequest.LAUNCH, DialParameters(dial_mode=DialMode.PREDICTIVE))
        second = daemon.campaigns.sessions[SECOND]
        await daemon.until(lambda: second.supply.buffered)
        await dial(second, 1)
        await daemon.until(lambda: second.roster.people_waiting == 1)
        assert daemon.session.roster.people_waiting == 0

        # The first group's call ends: nothing but its own events happens, and the second group's person is served.
        await daemon.until(lambda: daemon.campaigns.seats["agent1"].state is AgentState.WRAP_UP)
        await daemon.desks.received(desktop, RequestAgentReady())
        await daemon.until_talking("agent1")

        assert desktop.last("EventEstablished")["UserData"]["GSW_CAMPAIGN_NAME"] == "Second"


async def test_given_an_agent_who_has_left_one_group_when_it_is_ready_after_a_call_of_another_then_it_has_still_left(
    tmp_path, autojump_clock
):
    scripts = dict.fromkeys(numbers(501, 510), TALKER)
    async with world(tmp_path, scripts, more=second_group(1), agents=1) as place, place.daemon() as daemon:
        desktop = await daemon.log_in("agent1")
        await start_both(daemon)
        await desktop.gsw("LogOut", GSW_APPLICATION_ID=101, GSW_CAMPAIGN_NAME="Demo")
        left = daemon.session.roster.left
        assert left == {"agent1"}
        fill(place, 0, 10)
        daemon.nursery.start_soon(work, daemon)
        second = daemon.campaigns.sessions[SECOND].score.tally

        await daemon.until(lambda: second.connected == 2)

        assert left == {"agent1"}
        await daemon.desks.received(desktop, RequestAgentNotReady())
        await daemon.until(lambda: daemon.campaigns.seats["agent1"].state is AgentState.NOT_READY)
        await daemon.desks.received(desktop, RequestAgentReady())
        assert not left


async def test_given_a_stopped_group_with_calls_under_way_when_another_starts_then_its_people_are_served_first(
    tmp_path, autojump_clock
):
    scripts = dict.fromkeys(numbers(1, 3), RINGS_ON) | dict.fromkeys(numbers(501, 520), TALKER)
    async with world(tmp_path, scripts, more=second_group(3), agents=3) as place, place.daemon() as daemon:
        fill(place, 3, 20)
        for n in range(1, 4):
            await daemon.log_in(f"agent{n}")
        await daemon.campaigns.request(
            CAMPAIGN_GROUP_DBID, CampaignRequest.LAUNCH, DialParameters(dial_mode=DialMode.PROGRESSIVE)
        )
        await daemon.until(lambda: under_way(daemon, CAMPAIGN_GROUP_DBID) == 3)
        first = daemon.session
        await daemon.request(CampaignRequest.STOP_DIALING)

        await daemon.campaigns.request(SECOND, CampaignRequest.LAUNCH, DialParameters(dial_mode=DialMode.PROGRESSIVE))
        second = daemon.campaigns.sessions[SECOND]
        await daemon.until(lambda: first.score.tally.people == 3)
        assert second.score.tally.attempts == 0
        daemon.nursery.start_soon(work, daemon)
        await daemon.until(lambda: second.score.tally.connected == 3)

        assert (first.score.tally.connected, first.score.tally.abandoned) == (3, 0)
        assert second.score.tally.abandoned == 0


def test_given_groups_without_common_agents_when_one_has_the_line_matched_then_a_person_of_the_other_is_found():
    line = WaitingLine()
    rosters = {name: Roster([AgentSeat(f"agent-{name}", "sip:a")], line, name) for name in ("A", "B")}
    sharing = Sharing(rosters)
    first, second = (
        SimpleNamespace(group=SimpleNamespace(group=name, dbid=dbid), attempts={}, roster=rosters[name])
        for dbid, name in ((1, "A"), (2, "B"))
    )
    for session in (first, second):
        sharing.enter(session)
    second.attempts[7] = task = object()
    rosters["B"].seek(7, 2)
    rosters["B"].seats["agent-B"].enter(AgentState.READY, 1.0)

    ((attempt_id, seat),) = rosters["A"].match(2.0)

    assert seat.agent_id == "agent-B"
    assert sharing.task_of(first, attempt_id) is task


@asynccontextmanager
async def one_who_waits(tmp_path):
    """A daemon, a session with a person who waits, and whom it may be given: "agent1" is ready, but not spared yet."""
    scripts = {number(501): CallScript(ring_s=2.0, talk_s=30.0, verdict_s=0.5)}
    options = "options = { call_wait_in_queue_timeout = 30 }"
    async with world(tmp_path, scripts, more=second_group(1, options), agents=1) as place, place.daemon() as daemon:
        fill(place, 0, 1)
        spared: list[str] = []
        await daemon.campaigns.request(SECOND, CampaignRequest.LAUNCH, DialParameters(dial_mode=DialMode.PREDICTIVE))
        second = daemon.campaigns.sessions[SECOND]
        second.roster.line.ranks = lambda _group: lambda agent_id: 0 if agent_id in spared else None
        await daemon.until(lambda: second.supply.buffered)
        await daemon.log_in("agent1")
        await dial(second, 1)
        await daemon.until(lambda: second.roster.people_waiting == 1)
        yield daemon, second, spared


async def test_given_a_person_who_waits_when_an_agent_can_be_spared_without_any_event_then_it_gets_the_person(
    tmp_path, autojump_clock
):
    async with one_who_waits(tmp_path) as (daemon, _second, spared):
        spared.append("agent1")

        await daemon.until_talking("agent1")


async def test_given_a_person_who_leaves_when_an_agent_is_found_in_that_instant_then_the_agent_is_there_for_the_next(
    tmp_path, autojump_clock
):
    async with one_who_waits(tmp_path) as (daemon, second, spared):
        (task,) = second.attempts.values()
        spared.append("agent1")

        task.post(CustomerEnded(200))
        second.match_agents()
        assert second.roster.seats["agent1"].state is AgentState.RESERVED

        await daemon.until(lambda: not second.attempts)
        assert second.roster.seats["agent1"].state is AgentState.READY
        assert task.machine.result == CallResult.ABANDONED


def test_given_two_predictive_groups_when_they_share_agents_then_together_they_keep_the_limit_and_serve_alike():
    run = simulate(0.5, 24, (0.3, 0.15), parts=True, seed=1)

    assert run.abandoned <= 0.03 * run.people + 2  # each group may just have lost its first person too many
    assert run.busy_ratio >= 0.7
    assert min(run.connected.values()) >= 0.42 * run.connected.total()
