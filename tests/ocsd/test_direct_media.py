"""Direct media in sessions, over the in-memory plane: when the audio leaves, and what brings it back."""

from contextlib import asynccontextmanager

import trio

from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.call_talk import conn_id
from ocsd.sessions.direct_path import Path
from telephony.fake import CallScript
from tests.ocsd.desk_world import TALKER, number
from tests.ocsd.desk_world import world as desks_world
from tests.ocsd.test_session import world

ALICE, BOB = "agent1", "agent2"
ON = ("direct-media = true", 'cpa-after-connect = "no"')
TRIES = 3


@asynccontextmanager
async def conversation(tmp_path, script=TALKER, options=ON, **more):
    """agent1 talks with customer 1, and the audio has had time to leave."""
    async with desks_world(tmp_path, {number(1): script}, options=options, **more) as at, at.daemon() as daemon:
        at.add(1)
        await daemon.log_in(BOB, ready=False)
        await daemon.log_in(ALICE)
        await daemon.start()
        handle = await daemon.until_talking(ALICE)
        with trio.fail_after(600):  # virtual; only catches hangs
            await trio.sleep(2.0)
            yield at, daemon, handle


def sides(at):
    """The two legs and their channels, customer first."""
    legs = {leg_id: leg for leg_id, leg in at.telephony.legs.items() if leg_id in at.telephony.machines}
    customer = next(leg_id for leg_id in legs if leg_id.endswith("-customer"))
    agent = next(leg_id for leg_id in legs if f"-agent-{ALICE}" in leg_id)
    found = [(legs[leg_id], at.media.channels[f"{leg_id}-rtp"]) for leg_id in (customer, agent)]
    return found[0], found[1]


def task_of(daemon):
    (task,) = daemon.session.attempts.values()
    return task


def offered(leg):
    return [(command.host, command.port) for command in leg.redirects]


async def test_given_direct_media_when_two_people_talk_then_each_is_told_the_others_address_and_the_server_stands_by(
    tmp_path, autojump_clock
):
    async with conversation(tmp_path) as (at, daemon, _handle):
        (customer, one), (agent, other) = sides(at)
        assert offered(customer) == [("127.0.0.1", 6000)], "the agent's"
        assert offered(agent) == [("127.0.0.1", 6000)]
        assert customer.redirects[0].payload_type == 0, "one law only"
        assert one.standing_by
        assert other.standing_by
        assert one.bridged_to == other.channel_id, "whatever still comes is relayed"
        assert task_of(daemon).context.evidence["direct_media"] == {"times": 1}


async def test_given_a_trunk_without_it_when_two_people_talk_then_the_audio_stays(tmp_path, autojump_clock):
    async with conversation(tmp_path, options=ON[1:]) as (at, _daemon, _handle):
        (customer, one), (agent, _) = sides(at)
        assert (customer.redirects, agent.redirects, one.standing_by) == ([], [], False)


async def test_given_analysis_after_the_connect_when_it_is_over_then_the_audio_leaves_and_not_before(
    tmp_path, autojump_clock
):
    async with conversation(tmp_path, options=ON[:1]) as (at, daemon, _handle):
        task = task_of(daemon)
        listens_s = task.context.analysis.settings.after_bridge_ms / 1000
        assert listens_s > 2.0
        await daemon.until(lambda: task.direct.away)
        talked_s = trio.current_time() - task.machine.marks["agent_answered"]
        assert listens_s < talked_s < listens_s + 2.0
        assert sides(at)[0][1].standing_by


async def test_given_audio_that_is_away_when_the_agent_holds_then_it_is_back_before_the_music_and_leaves_again_after(
    tmp_path, autojump_clock
):
    async with conversation(tmp_path) as (at, daemon, handle):
        (customer, one), (agent, other) = sides(at)
        await daemon.desktops[ALICE].ask(Request="RequestHoldCall", ConnID=conn_id(handle), ReferenceID=1)
        await daemon.until(lambda: daemon.desktops[ALICE].has("EventHeld"))
        assert offered(customer)[-1] == (one.host, one.port)
        assert offered(agent)[-1] == (other.host, other.port)
        assert not one.standing_by
        assert one.playing == "music"
        assert one.commands.index("play") > max(i for i, c in enumerate(one.commands) if c == "stand_by")
        await trio.sleep(5.0)
        assert task_of(daemon).direct.here, "not while somebody is on hold"
        await daemon.desktops[ALICE].ask(Request="RequestRetrieveCall", ConnID=conn_id(handle), ReferenceID=2)
        await trio.sleep(2.0)
        assert task_of(daemon).direct.away
        assert task_of(daemon).context.evidence["direct_media"] == {"times": 2}


async def test_given_a_carrier_that_refuses_when_asked_then_the_people_talk_on_through_us_and_it_is_asked_once(
    tmp_path, autojump_clock
):
    refuses = CallScript(ring_s=4.0, talk_s=600.0, verdict_s=1.0, reinvite_statuses=(488,))
    async with conversation(tmp_path, refuses) as (at, daemon, _handle):
        (customer, one), (agent, other) = sides(at)
        assert len(customer.redirects) == 1
        assert agent.redirects == []
        assert not one.standing_by
        assert not other.standing_by
        assert one.bridged_to == other.channel_id
        await trio.sleep(60.0)
        assert len(customer.redirects) == 1
        assert task_of(daemon).context.evidence["direct_media"] == {"times": 0, "refused": "customer: 488"}


async def test_given_a_far_end_that_would_not_come_back_when_hold_is_asked_then_the_agent_is_refused(
    tmp_path, autojump_clock
):
    stays = CallScript(ring_s=4.0, talk_s=600.0, verdict_s=1.0, reinvite_statuses=(200, 500))
    async with conversation(tmp_path, stays) as (at, daemon, handle):
        await daemon.desktops[ALICE].ask(Request="RequestHoldCall", ConnID=conn_id(handle), ReferenceID=1)
        await daemon.until(lambda: daemon.desktops[ALICE].has("EventError"))
        assert "could not be brought back" in daemon.desktops[ALICE].last("EventError")["ErrorMessage"]
        (customer, one), _ = sides(at)
        assert len(customer.redirects) == 1 + TRIES
        assert one.playing == "", "who hears the agent directly is not told to wait"


async def supervised(daemon, supervisor_id):
    """The supervisor may and does ask to listen to agent1; returns that desktop."""
    config = daemon.campaigns.config
    agents = tuple(
        each.model_copy(update={"supervises": ("Demo Agents",)}) if each.login_id == supervisor_id else each
        for each in config.agents
    )
    daemon.campaigns.config = config.model_copy(update={"agents": agents})
    desktop = daemon.desktops[supervisor_id]
    await desktop.ask(Request="RequestMonitorNextCall", OtherDN=ALICE, ReferenceID=3)
    assert desktop.last("EventMonitoringNextCall")["ReferenceID"] == 3
    return desktop


async def test_given_a_far_end_that_would_not_come_back_when_a_supervisor_asks_then_the_desktop_is_told(
    tmp_path, autojump_clock
):
    stays = CallScript(ring_s=4.0, talk_s=600.0, verdict_s=1.0, reinvite_statuses=(200, 500))
    async with conversation(tmp_path, stays) as (_at, daemon, _handle):
        bob = await supervised(daemon, BOB)
        await daemon.until(lambda: bob.has("EventError"))
        assert "the next call is the first" in bob.last("EventError")["ErrorMessage"]
        assert "ReferenceID" not in bob.last("EventError"), "answered already"
        assert not task_of(daemon).control.monitors.present


async def test_given_a_far_end_that_comes_back_slowly_when_a_supervisor_asks_then_the_wish_is_kept_until_then(
    tmp_path, autojump_clock
):
    slow = CallScript(ring_s=4.0, talk_s=600.0, verdict_s=1.0, reinvite_s=8.0)
    async with conversation(tmp_path, slow) as (at, daemon, _handle):
        task = task_of(daemon)
        await daemon.until(lambda: task.direct.away)
        bob = await supervised(daemon, BOB)
        await trio.sleep(4.0)
        assert not bob.has("EventEstablished"), "two seconds were not enough"
        await daemon.until(lambda: bob.has("EventEstablished"))
        assert not bob.has("EventError")
        assert task.direct.here
        assert not sides(at)[0][1].standing_by
        await trio.sleep(30.0)
        assert task.direct.here, "the supervisor needs the audio"


async def test_given_a_supervisor_who_cancels_when_the_audio_is_back_later_then_nobody_is_called(
    tmp_path, autojump_clock
):
    slow = CallScript(ring_s=4.0, talk_s=600.0, verdict_s=1.0, reinvite_s=8.0)
    async with conversation(tmp_path, slow) as (_at, daemon, _handle):
        task = task_of(daemon)
        await daemon.until(lambda: task.direct.away)
        bob = await supervised(daemon, BOB)
        await trio.sleep(4.0)
        await bob.ask(Request="RequestCancelMonitoring", OtherDN=ALICE)
        await trio.sleep(60.0)
        assert not bob.has("EventEstablished")
        assert task.direct.away, "and nobody needs the audio any more"


async def test_given_audio_that_is_away_when_the_media_server_goes_for_good_then_the_people_talk_on(
    tmp_path, autojump_clock
):
    async with conversation(tmp_path) as (at, daemon, handle):
        (customer, one), (_, other) = sides(at)
        one.lose()
        other.lose()
        await trio.sleep(30.0)
        assert customer.hang_up_reasons == []
        assert customer.leg_id in at.telephony.machines
        await daemon.desktops[ALICE].ask(Request="RequestHoldCall", ConnID=conn_id(handle), ReferenceID=1)
        await daemon.until(lambda: daemon.desktops[ALICE].has("EventError"))
        await daemon.desktops[ALICE].ask(Request="RequestReleaseCall", ConnID=conn_id(handle), ReferenceID=2)
        await daemon.until(lambda: not at.telephony.machines)


async def test_given_audio_that_is_away_when_the_daemon_is_killed_then_the_next_one_finds_it_so_and_can_bring_it_back(
    tmp_path, autojump_clock
):
    async with world(tmp_path, [TALKER], options=", ".join(ON)) as at:
        async with at.daemon() as daemon:
            await daemon.dial(ALICE)
            await daemon.until(lambda: AttemptState.TALKING in daemon.states())
            await trio.sleep(2.0)
            assert task_of(daemon).direct.away
            daemon.kill()
        async with at.daemon() as heir:
            await heir.log_in(ALICE, ready=False)
            task = task_of(heir)
            await trio.sleep(2.0)
            (customer, one), _ = sides(at)
            assert task.direct.machine.path is Path.AWAY
            assert one.standing_by
            assert set(offered(customer)) <= {("127.0.0.1", 6000)}
            assert await task.direct.take_back()
            assert offered(customer)[-1] == (one.host, one.port)
            assert not one.standing_by
