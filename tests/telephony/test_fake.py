import inspect

import pytest
import trio

from telephony.api import CallRefused, Channel, ChannelLost, Leg, LegLost, Media, MediaLost, NoCapacity, Telephony
from telephony.client import TelephonyClient, WorkerLeg
from telephony.contract import LegAnswered, LegEnded, LegProgress, PlaceCall, PromptFinished, Verdict, VerdictKind
from telephony.fake import CallScript, FakeChannel, FakeLeg, FakeMedia, FakeTelephony, open_fake_plane
from telephony.media_client import MediaChannel, MediaClient

URI = "sip:1@carrier"


def a_call(leg_id: str = "leg", port: int = 40000, no_answer_s: float = 20.0) -> PlaceCall:
    return PlaceCall(leg_id, URI, "sip:9@dialer", "127.0.0.1", port, no_answer_s)


@pytest.mark.parametrize(
    ("protocol", "real", "fake"),
    [
        (Telephony, TelephonyClient, FakeTelephony),
        (Leg, WorkerLeg, FakeLeg),
        (Media, MediaClient, FakeMedia),
        (Channel, MediaChannel, FakeChannel),
    ],
)
def test_given_a_protocol_when_compared_then_client_and_twin_take_the_same_arguments(protocol, real, fake):
    methods = [name for name, kind in vars(protocol).items() if not name.startswith("_") and callable(kind)]
    assert methods
    for name in methods:
        wanted = list(inspect.signature(getattr(protocol, name)).parameters)
        assert list(inspect.signature(getattr(fake, name)).parameters) == wanted, name
        assert list(inspect.signature(getattr(real, name)).parameters) == wanted, name


async def test_given_an_answering_script_when_called_then_ring_answer_and_far_end_bye_at_their_times(autojump_clock):
    async with open_fake_plane({URI: CallScript(ring_s=8.0, talk_s=30.0, q850_cause=16)}) as (telephony, _):
        start_s = trio.current_time()
        leg = await telephony.place_call(a_call())
        assert telephony.in_use == 1
        events = [(type(event), round(event.at_s - start_s, 3)) async for event in leg.events]

    assert events == [(LegProgress, 0.0), (LegAnswered, 8.0), (LegEnded, 38.0)]
    assert telephony.in_use == 0


async def test_given_a_long_ring_when_the_limit_runs_out_then_no_answer(autojump_clock):
    async with open_fake_plane({URI: CallScript(ring_s=60.0)}) as (telephony, _):
        leg = await telephony.place_call(a_call(no_answer_s=15.0))
        *_, ended = [event async for event in leg.events]

    assert (ended.no_answer, ended.ended_by, ended.sip_status) == (True, "local", 487)


@pytest.mark.parametrize(("status", "cause"), [(486, 17), (503, 34), (302, None)])
async def test_given_a_refusing_script_when_called_then_status_and_cause(autojump_clock, status, cause):
    script = CallScript(status=status, q850_cause=cause, redirect_to="sip:2@x" if status == 302 else "")
    async with open_fake_plane(lambda _: script) as (telephony, _):
        leg = await telephony.place_call(a_call())
        *_, ended = [event async for event in leg.events]

    assert (ended.sip_status, ended.q850_cause, ended.redirect_to) == (status, cause, script.redirect_to)


async def test_given_limits_when_exceeded_then_the_errors_of_the_real_client(autojump_clock):
    async with open_fake_plane({}, legs=1, channels=1) as (telephony, media):
        await telephony.place_call(a_call("a"))
        with pytest.raises(CallRefused):
            await telephony.place_call(a_call("a"))
        with pytest.raises(NoCapacity):
            await telephony.place_call(a_call("b"))
        await media.open_channel("a")
        with pytest.raises(NoCapacity):
            await media.open_channel("b")
        media.available = False
        with pytest.raises(MediaLost):
            await media.open_channel("b")
    async with open_fake_plane({URI: CallScript(refuse="bad URI")}) as (telephony, _):
        with pytest.raises(CallRefused, match="bad URI"):
            await telephony.place_call(a_call())


async def test_given_a_dying_worker_when_the_leg_is_up_then_leg_lost(autojump_clock):
    async with open_fake_plane({URI: CallScript(ring_s=1.0, worker_dies_s=5.0)}) as (telephony, _):
        leg = await telephony.place_call(a_call())
        *_, lost = [event async for event in leg.events]

    assert isinstance(lost, LegLost)
    assert lost.was_answered


async def test_given_a_scripted_verdict_when_analysed_then_heard_after_its_time_and_not_after_stopping(autojump_clock):
    script = CallScript(verdict=VerdictKind.MACHINE, verdict_s=3.0, early_verdict=VerdictKind.BUSY)
    async with open_fake_plane({URI: script}) as (telephony, media):
        channel = await media.open_channel("c")
        await telephony.place_call(a_call(port=channel.port))
        await channel.start_analysis(connected=False)
        await channel.stop_analysis()
        start_s = trio.current_time()
        await channel.start_analysis(connected=True)
        verdict = await channel.events.receive()
        await channel.play("drop")
        finished = await channel.events.receive()

    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.connected, verdict.at_s - start_s) == (VerdictKind.MACHINE, True, pytest.approx(3.0))
    assert finished == PromptFinished("c", "drop")
    assert channel.commands == ["start_analysis", "stop_analysis", "start_analysis", "play"]


async def test_given_bridged_channels_when_one_closes_then_the_other_is_free(autojump_clock):
    async with open_fake_plane() as (_, media):
        a, b = await media.open_channel("a"), await media.open_channel("b")
        await a.bridge(b)
        assert (a.bridged_to, b.bridged_to) == ("b", "a")
        await a.close()
        assert b.bridged_to == ""
        b.lose()
        assert [type(event) async for event in b.events] == [ChannelLost]


async def test_given_a_daemon_restart_when_legs_and_channels_live_then_they_can_be_adopted(autojump_clock):
    async with open_fake_plane({URI: CallScript(ring_s=1.0)}) as (telephony, media):
        a, b = await media.open_channel("a"), await media.open_channel("b")
        await a.bridge(b)
        leg, other = await telephony.place_call(a_call("leg")), await telephony.place_call(a_call("other"))
        await leg.protect()
        await trio.sleep(2.0)
        telephony.restart_daemon()
        media.restart_daemon()
        assert [type(event) async for event in leg.events] == [LegProgress, LegAnswered]

        adopted = telephony.adopt("leg")
        assert isinstance(await adopted.events.receive(), LegAnswered)
        assert await telephony.hang_up_unclaimed() == 1
        assert telephony.in_use == 1
        adopted.far_end_hangs_up()
        assert (await adopted.events.receive()).ended_by == "remote"
        assert media.adopt("a").bridged_to == "b"
        assert await media.close_unclaimed() == 1
    assert other.leg_id == "other"
