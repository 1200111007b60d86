"""The in-memory twin's legs after the answer, its trunks and its registrars."""

import pytest
import trio

from telephony.contract import Direction, LegAnswered, LegEnded, LegInfo, LegProgress, PlaceCall, Referred, Register
from telephony.fake import CallScript, open_fake_plane
from telephony.sdp import MediaAddress

URI = "sip:1@carrier"


def a_call(**more) -> PlaceCall:
    return PlaceCall("leg", URI, "sip:9@dialer", "127.0.0.1", 40000, 20.0, **more)


async def answered(telephony, **more):
    leg = await telephony.place_call(a_call(**more))
    async for event in leg.events:
        if isinstance(event, LegAnswered):
            return leg, event
    raise AssertionError("never answered")


async def test_given_an_answered_leg_when_redirected_then_the_far_ends_address_and_what_was_asked(autojump_clock):
    async with open_fake_plane({URI: CallScript(reinvite_s=0.5)}) as (telephony, _):
        leg, _ = await answered(telephony)
        start_s = trio.current_time()

        done = await leg.redirect("192.0.2.7", 5004, payload_type=8, direction=Direction.SENDONLY)

        assert (done.sip_status, done.remote_rtp_host, done.remote_rtp_port) == (200, "127.0.0.1", 6000)
        assert trio.current_time() - start_s == pytest.approx(0.5)
        (asked,) = leg.redirects
        assert (asked.host, asked.port, asked.payload_type, asked.direction) == (
            "192.0.2.7",
            5004,
            8,
            Direction.SENDONLY,
        )


async def test_given_refusals_when_redirected_again_then_each_has_its_status_and_481_ends_the_leg(autojump_clock):
    async with open_fake_plane({URI: CallScript(reinvite_statuses=(488, 481))}) as (telephony, _):
        leg, _ = await answered(telephony)

        assert (await leg.redirect("192.0.2.7", 5004)).sip_status == 488
        assert telephony.in_use == 1
        assert (await leg.redirect("192.0.2.7", 5004)).sip_status == 481

        *_, ended = [event async for event in leg.events]
        assert (ended.was_answered, ended.ended_by) == (True, "error")
        assert (await leg.redirect("192.0.2.7", 5004)).sip_status == 0


async def test_given_a_leg_that_ends_when_a_redirect_waits_then_status_0(autojump_clock):
    async with open_fake_plane({URI: CallScript(talk_s=3.0, reinvite_s=60.0)}) as (telephony, _):
        leg, event = await answered(telephony)

        done = await leg.redirect("192.0.2.7", 5004)

        assert (done.sip_status, trio.current_time()) == (0, pytest.approx(event.at_s + 3.0))


async def test_given_a_refer_when_played_then_its_progress_and_the_leg_stays(autojump_clock):
    async with open_fake_plane({URI: CallScript(refer=((100, 0.1), (486, 2.0)))}) as (telephony, _):
        leg, event = await answered(telephony)
        assert leg.dialog == event.dialog is not None

        await leg.refer("sip:queue@pbx", replaces=leg.dialog)

        told = [await leg.events.receive(), await leg.events.receive()]
        assert [(one.sip_status, one.final) for one in told if isinstance(one, Referred)] == [(100, False), (486, True)]
        assert leg.refers[0].target == "sip:queue@pbx"
        assert telephony.in_use == 1


async def test_given_what_the_far_end_says_of_itself_when_heard_then_info_and_a_move(autojump_clock):
    async with open_fake_plane({URI: CallScript()}) as (telephony, _):
        leg, _ = await answered(telephony)

        leg.far_end_sends_info("application/x-detect", "Type= AMD")
        leg.far_end_moves(MediaAddress("192.0.2.9", 7000))

        info, moved = await leg.events.receive(), await leg.events.receive()
        assert isinstance(info, LegInfo)
        assert info.body == "Type= AMD"
        assert isinstance(moved, LegProgress)
        assert (moved.sip_status, moved.remote_rtp_port) == (200, 7000)


async def test_given_wanted_headers_when_answered_then_only_these_come(autojump_clock):
    script = CallScript(headers=(("Server", "gw"), ("X-Detect", "Response=AMD")))
    async with open_fake_plane({URI: script}) as (telephony, _):
        _, event = await answered(telephony, wanted_headers=("x-detect",))

        assert event.headers == (("X-Detect", "Response=AMD"),)


@pytest.mark.parametrize(("responds", "status", "by"), [(True, 503, "remote"), (False, 408, "error")])
async def test_given_a_trunk_in_trouble_when_called_then_whether_it_ever_said_anything(
    autojump_clock, responds, status, by
):
    script = CallScript(ring_s=4.0, status=503, retry_after_s=30.0, ringing_status=0, responds=responds)
    async with open_fake_plane({URI: script}) as (telephony, _):
        leg = await telephony.place_call(a_call())
        (ended,) = [event async for event in leg.events]

    assert isinstance(ended, LegEnded)
    assert (ended.responded, ended.sip_status, ended.ended_by) == (responds, status, by)
    assert ended.retry_after_s == (30.0 if responds else 0.0)


async def test_given_trunks_when_probed_then_status_or_silence(autojump_clock):
    async with open_fake_plane() as (telephony, _):
        telephony.trunks |= {"sip:dead": (0, 0.0), "sip:slow": (200, 5.0), "sip:sick": (503, 0.2)}

        assert [(await telephony.probe(uri)).sip_status for uri in ("sip:up", "sip:dead", "sip:slow", "sip:sick")] == [
            200,
            0,
            0,
            503,
        ]


async def test_given_registrars_when_kept_then_what_they_say(autojump_clock):
    async with open_fake_plane() as (telephony, _):
        telephony.registrars["sip:strict"] = 403
        telephony.keep_registered(
            [Register("a", "sip:easy", "sip:me@easy"), Register("b", "sip:strict", "sip:me@strict")]
        )

        first, second = telephony.registered("a"), telephony.registered("b")
        assert first is not None
        assert second is not None
        assert (first.good, second.good, second.sip_status) == (True, False, 403)
        telephony.keep_registered([])
        assert telephony.registered("a") is None
