"""Conferences, keys, recordings at the media client: what is asked, what survives a server or a link that breaks."""

import time

import pytest
import trio

from telephony.contract import (
    Bridge,
    ChannelClosed,
    ChannelSnapshot,
    Comfort,
    DetectDigits,
    DigitPressed,
    DigitsSent,
    Join,
    Layout,
    OpenChannel,
    Play,
    PromptFinished,
    RecordingFinished,
    RecordingSnapshot,
    Role,
    SendDigits,
    SetRemote,
    StartAnalysis,
    StartRecording,
    StopRecording,
    Unbridge,
    Verdict,
    VerdictKind,
)
from telephony.contract_audio import continued_path
from telephony.cpa import listener
from telephony.fake import open_fake_plane
from telephony.media_channel import INFORMATION
from telephony.media_client import open_media
from tests.telephony.test_media_client import FakeServer, lost_link, open_media_after


@pytest.fixture
def path(tmp_path):
    return tmp_path / "media-0.sock"


def test_given_the_analyser_when_compared_then_client_and_server_agree_on_what_ends_an_analysis():
    assert INFORMATION == listener.INFORMATION


@pytest.mark.parametrize(
    ("path", "following"),
    [("a.wav", "a~2.wav"), ("x/y.z/a~2.wav", "x/y.z/a~3.wav"), ("a~b.wav", "a~b~2.wav"), ("a~9.wav", "a~10.wav")],
)
def test_given_a_recording_that_broke_when_it_goes_on_then_its_next_part_has_the_next_name(path, following):
    assert continued_path(path) == following


async def test_given_a_channel_when_used_then_every_command_arrives_in_order(path):
    server = FakeServer(path)
    async with server.serve(), open_media(path.parent) as media:
        a, b = await media.open_channel("a"), await media.open_channel("b")
        await a.set_remote("192.0.2.1", 4000, 8, 96)
        await a.play("drop", "de", then=("bye.wav",), loop=True, mix=True, everybody=True)
        await a.join(b, Role.WHISPER)
        await a.comfort(-60.0)
        await a.detect_digits(inband=True)
        await a.detect_digits(enabled=False)
        await a.send_digits("12#", tone_ms=80, gap_ms=50, inband=True)
        await a.start_recording("a.wav", Layout.MONO, consent_tone_s=15.0, max_s=60.0)
        await a.stop_recording("a.wav")
        await a.unbridge()
        commands = await server.heard(12)

    assert commands[2:] == [
        SetRemote("a", "192.0.2.1", 4000, 8, 96),
        Play("a", "drop", "de", ("bye.wav",), True, True, True),
        Join("a", "b", Role.WHISPER),
        Comfort("a", -60.0),
        DetectDigits("a", True, True),
        DetectDigits("a", False),
        SendDigits("a", "12#", 80, 50, True),
        StartRecording("a", "a.wav", Layout.MONO, 15.0, 60.0),
        StopRecording("a", "a.wav"),
        Unbridge("a"),
    ]


async def test_given_events_when_the_server_sends_them_then_the_channel_has_them(path):
    server = FakeServer(path)
    told = [
        DigitPressed("a", "5", 100, 7.0),
        DigitsSent("a", "12"),
        RecordingFinished("a", "a.wav", 1.0, "00", 99, 0, 5.0),
        ChannelClosed("a", 1, 2, 0, 0, jitter_ms=3.0, mos=4.3),
    ]
    async with server.serve(), open_media(path.parent) as media:
        a = await media.open_channel("a")
        for event in told:
            await server.say(event)
        assert [event async for event in a.events] == told


async def test_given_all_of_it_when_the_server_restarts_then_it_is_as_before_and_recordings_go_on_in_another_file(path):
    first, second = FakeServer(path), FakeServer(path)
    async with open_media_after(first) as (media, leave_first):
        a, b, c, d = [await media.open_channel(name) for name in "abcd"]
        await a.bridge(b)
        await c.join(a, Role.BARGE)
        await d.join(a)
        await a.play("music.wav", loop=True)
        await a.comfort(-50.0)
        await a.detect_digits()
        await a.start_recording("x/a.wav")
        await a.start_recording("x/b.wav")
        await a.stop_recording("x/b.wav")
        await first.heard(13)
        await leave_first()
        await lost_link(media)
        await a.send_digits("1")  # hours later it would be wrong
        async with second.serve():
            commands = await second.heard(11)
            events = [await a.events.receive() for _ in range(2)]
            await second.say(
                RecordingFinished("a", "x/a~2.wav", error="the recording writer died", continued_in="x/a~3.wav")
            )
            await a.events.receive()
            assert list(a.wanted.recordings) == ["x/a~3.wav"]

    assert [command for command in commands if isinstance(command, OpenChannel)] == [
        OpenChannel(name, 30000 + 2 * i) for i, name in enumerate("abcd")
    ]
    rest = [command for command in commands if not isinstance(command, OpenChannel)]
    assert rest == [
        Play("a", "music.wav", loop=True),
        Comfort("a", -50.0),
        DetectDigits("a"),
        StartRecording("a", "x/a~2.wav"),
        Bridge("a", "b"),
        Join("d", "a"),
        Join("c", "a", Role.BARGE),
    ]
    assert events[0] == DigitsSent("a", "1", "the media server is away")
    assert (events[1].path, events[1].continued_in) == ("x/a.wav", "x/a~2.wav")


async def test_given_the_same_server_when_the_link_is_back_then_only_differences_and_what_ended_meanwhile(path):
    server = FakeServer(path)
    async with open_media_after(server) as (media, leave):
        a, b, c = [await media.open_channel(name) for name in "abc"]
        await a.bridge(b)
        await c.join(a)
        for name in ("goes-on.wav", "ended.wav", "never-began.wav"):
            await a.start_recording(name)
        await a.detect_digits()
        await server.heard(9)
        await leave()
        await lost_link(media)
        goes_on = RecordingSnapshot("goes-on.wav", Layout.STEREO, 0.0, 14400.0, 5.0)
        not_ours = RecordingSnapshot("stopped-meanwhile.wav", Layout.STEREO, 0.0, 14400.0, 5.0)
        server.channels["a"] = ChannelSnapshot(
            "a", 30000, joined_to="b", recordings=(goes_on, not_ours), digits=DetectDigits("a")
        )
        server.channels["b"] = ChannelSnapshot("b", 30002, joined_to="a")
        server.channels["c"] = ChannelSnapshot("c", 30004, joined_to="b")  # any other member is as good
        server.recorded = (
            RecordingFinished("a", "ended.wav", 2.0, "ab", 99),
            RecordingFinished("gone", "other.wav", 3.0, "cd", 99),
        )
        server.commands.clear()
        async with server.serve():
            assert await a.events.receive() == server.recorded[0]
            commands = await server.heard(2)
            await b.unbridge()
            await server.heard(3)
            assert media.take_recorded() == [server.recorded[1]]
            assert media.take_recorded() == []

    assert commands == [
        StopRecording("a", "stopped-meanwhile.wav"),
        StartRecording("a", "never-began.wav"),
    ]
    assert (a.wanted.bridged_to, c.wanted.bridged_to, b.wanted.bridged_to) == ("c", "a", "")


async def test_given_prompts_when_the_link_is_back_then_ends_that_nobody_heard_of_are_told_and_new_ones_played(path):
    server = FakeServer(path)
    async with open_media_after(server) as (media, leave):
        ended, asked_late, going_on, endless = [await media.open_channel(name) for name in "abcd"]
        for channel, prompt in ((ended, "drop"), (going_on, "long.wav"), (endless, "ringback")):
            await channel.play(prompt)
        await server.heard(7)
        await leave()
        await lost_link(media)
        await asked_late.play("drop")
        server.channels |= {
            name: ChannelSnapshot(name, 30000 + 2 * i, prompt="long.wav" if name == "c" else "")
            for i, name in enumerate("abcd")
        }
        server.commands.clear()
        async with server.serve():
            assert await ended.events.receive() == PromptFinished("a", "drop")
            assert await server.heard(1) == [Play("b", "drop")]

    assert [channel.wanted.prompt for channel in (ended, going_on)] == [None, Play("c", "long.wav")]
    for channel in (asked_late, going_on, endless):
        assert channel.events.statistics().current_buffer_used == 0


async def test_given_a_conference_that_fell_apart_when_the_link_is_back_then_it_is_put_together(path):
    server = FakeServer(path)
    async with open_media_after(server) as (media, leave):
        a, b, c, d = [await media.open_channel(name) for name in "abcd"]
        await a.bridge(b)
        await c.join(b)
        await d.join(c, Role.LISTEN)
        await server.heard(7)
        await leave()
        await lost_link(media)
        await d.unbridge()
        await b.unbridge()
        await b.bridge(d)
        server.channels["a"] = ChannelSnapshot("a", 30000, joined_to="b")
        server.channels["b"] = ChannelSnapshot("b", 30002, joined_to="a")
        server.channels["c"] = ChannelSnapshot("c", 30004, joined_to="a")
        server.channels["d"] = ChannelSnapshot("d", 30006, joined_to="c", role=Role.LISTEN)
        server.commands.clear()
        async with server.serve():
            commands = await server.heard(2)

    assert commands == [Bridge("a", "c"), Bridge("b", "d")]


async def test_given_a_daemon_that_takes_over_when_it_adopts_then_it_knows_what_goes_on(path):
    recording = RecordingSnapshot("a.wav", Layout.MONO, 15.0, 60.0, 5.0)
    found = (
        ChannelSnapshot(
            "a",
            30000,
            joined_to="b",
            role=Role.LISTEN,
            recordings=(recording,),
            comfort_dbfs=-60.0,
            digits=DetectDigits("a"),
            remote_host="127.0.0.1",
            remote_port=4000,
            payload_type=8,
            event_payload_type=97,
            standing_by=True,
        ),
        ChannelSnapshot("b", 30002),
    )
    server = FakeServer(path, channels=found)
    async with server.serve(), open_media(path.parent) as media:
        a = media.adopt("a")
        assert media.adopt("b") is not None
        await a.stop_recording()
        assert await server.heard(1) == [StopRecording("a", "")]
        wanted = a.wanted

    assert wanted.remote == SetRemote("a", "127.0.0.1", 4000, 8, 97), "the law that its far end asked for"
    assert wanted.joined == Join("a", "b", Role.LISTEN)
    assert wanted.comfort == Comfort("a", -60.0)
    assert wanted.digits == DetectDigits("a")
    assert wanted.recordings == {}
    assert wanted.standing_by


async def test_given_a_conversation_under_analysis_when_the_link_is_back_then_what_was_heard_meanwhile_is_told_once(
    path,
):
    server = FakeServer(path)
    async with open_media_after(server) as (media, leave):
        a, b = await media.open_channel("a"), await media.open_channel("b")
        await a.start_analysis(connected=True)
        person = Verdict("a", VerdictKind.HUMAN, "greeting", time.monotonic(), True)
        await server.say(person)
        assert await a.events.receive() == person
        await a.bridge(b)
        await server.heard(4)
        await leave()
        for _ in range(2):
            await lost_link(media)
            machine_s, beep_s = person.at_s + 4.0, person.at_s + 9.0
            server.channels["a"] = ChannelSnapshot(
                "a", 30000, bridged_to="b", analysing=True, verdict=VerdictKind.MACHINE, verdict_at_s=machine_s,
                analysing_connected=True, beep_at_s=beep_s,
            )  # fmt: skip
            server.channels["b"] = ChannelSnapshot("b", 30002, bridged_to="a")
            server.commands.clear()
            async with server.serve():
                await media.reachable()
            assert server.commands == []

    told = [a.events.receive_nowait() for _ in range(a.events.statistics().current_buffer_used)]
    assert [(event.kind, event.at_s) for event in told] == [
        (VerdictKind.MACHINE, machine_s),
        (VerdictKind.BEEP, beep_s),
    ]


@pytest.mark.parametrize("connected", [False, True])
async def test_given_an_analysis_that_goes_on_when_its_channel_is_adopted_then_it_is_known_to_which_part_it_listens(
    path, connected
):
    found = ChannelSnapshot("a", 30000, analysing=True, analysing_connected=connected)
    talking = ChannelSnapshot("b", 30002, bridged_to="c", analysing=True, analysing_connected=True)
    server = FakeServer(path, channels=(found, talking, ChannelSnapshot("c", 30004, bridged_to="b")))
    async with server.serve(), open_media(path.parent) as media:
        a, b = media.adopt("a"), media.adopt("b")
        assert a.wanted.analysis == StartAnalysis("a", connected)
        assert b.wanted.analysis is None, "an analysis cannot be begun again in a conversation"


async def test_given_a_bridge_of_which_one_is_adopted_when_the_link_breaks_then_people_talk_on(path):
    found = (ChannelSnapshot("a", 30000, bridged_to="b"), ChannelSnapshot("b", 30002, bridged_to="a"))
    server = FakeServer(path, channels=found)
    async with open_media_after(server) as (media, leave):
        assert media.adopt("a") is not None
        await leave()
        await lost_link(media)
        async with server.serve():
            assert (await media.stats()).channels == 2
            assert [type(command).__name__ for command in server.commands] == ["GetStats"]


# --- the twin ---------------------------------------------------------------------------------------------------


async def test_given_the_twin_when_recording_then_it_reports_as_the_server_does(autojump_clock):
    async with open_fake_plane({}) as (_, media):
        a = await media.open_channel("a")
        await a.start_recording("short.wav", max_s=2.0)
        await a.start_recording("long.wav")
        await a.start_recording("long.wav")
        await trio.sleep(3.0)
        (channel,) = (media.restart_daemon(), media.live_channels())[1]
        assert [one.path for one in channel.recordings] == ["long.wav"]
        again = media.adopt("a")
        await trio.sleep(1.0)
        media.recording_error = "the disk is full"
        await again.start_recording("refused.wav")
        await again.close()
        events = [event async for event in again.events]

    assert [(e.path, e.duration_s, e.error) for e in events[:-1]] == [
        ("refused.wav", 0.0, "the disk is full"),
        ("long.wav", 4.0, ""),
    ]
    assert isinstance(events[-1], ChannelClosed)


async def test_given_the_twin_when_keys_are_pressed_and_sent_then_it_reports_as_the_server_does(autojump_clock):
    async with open_fake_plane({}) as (_, media):
        a, b = await media.open_channel("a"), await media.open_channel("b")
        a.press("1")  # nobody asked
        await a.detect_digits()
        a.press("2", 150)
        before_s = trio.current_time()
        await a.send_digits("123")
        events = [await a.events.receive() for _ in range(2)]
        assert trio.current_time() - before_s == pytest.approx(0.48)
        await a.join(b, Role.LISTEN)
        await a.comfort(-60.0)
        assert a.joined == Join("a", "b", Role.LISTEN)
        await a.unbridge()
        assert a.joined is None
        await a.play("one.wav", then=("two.wav",))
        await a.events.receive()
        assert (a.prompts, trio.current_time() - before_s) == (["one.wav", "two.wav"], pytest.approx(6.48))
        media.missing_prompts.add("two.wav")
        await a.play("one.wav", then=("two.wav",))
        failed = await a.events.receive()

    assert events == [DigitPressed("a", "2", 150, before_s), DigitsSent("a", "123")]
    assert failed == PromptFinished("a", "one.wav", "no prompt 'two.wav'")
