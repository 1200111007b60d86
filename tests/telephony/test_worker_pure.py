"""The worker's pure parts: re-INVITEs and transfers under way, registrations and probes, texts of requests."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.contract import (
    DialogId,
    LegInfo,
    PlaceCall,
    Probe,
    Probed,
    Refer,
    Referred,
    Register,
    Registered,
    Reinvite,
    Reinvited,
)
from telephony.leg import Answered, HangUp, LegMachine, Released, RemoteBye
from telephony.sdp import MediaAddress
from telephony.worker.renegotiation import GLARE_TRIES, SILENCE_S, Renegotiation, glare_wait_s
from telephony.worker.requests import UnfitRequest, check_place_call, name_addr, refer_to_value
from telephony.worker.trunk_side import FIRST_RETRY_S, LONGEST_RETRY_S, MAX_REGISTRATIONS, Release, Renew, TrunkSide
from telephony.worker.under_way import REFER_SILENCE_S, ReinviteAnswered, UnderWay

MEDIA = MediaAddress("192.0.2.1", 4000, 8, 97)
RINGING = LegMachine("leg", 0.0, 20.0)
TALKING, _ = RINGING.on(Answered(1.0, MEDIA))


def wish(seq: int) -> Reinvite:
    return Reinvite("leg", seq, "192.0.2.7", 5000 + 2 * seq)


# --- renegotiation ---------------------------------------------------------------------------------------------------


@given(st.floats(0.0, 1.0))
def test_given_any_random_number_when_glare_then_the_wait_of_rfc_3261_14_1(ratio):
    wait_s = glare_wait_s(ratio)
    assert 2.1 <= wait_s <= 4.0
    assert round(wait_s * 100) == pytest.approx(wait_s * 100)


def test_given_glare_every_time_when_tried_again_then_three_times_at_most():
    one, sent = Renegotiation().ask(wish(1), 0.0)
    now_s = 0.0
    for _ in range(GLARE_TRIES - 1):
        one, told = one.answered(491, None, "pending", now_s, 3.0)
        assert told == ()
        assert one.due(now_s + 2.9) == (one, ())
        now_s += 3.0
        one, again = one.due(now_s)
        assert again == sent == (wish(1),)

    one, (told,) = one.answered(491, None, "pending", now_s, 3.0)

    assert (told.seq, told.sip_status) == (1, 491)
    assert not one.busy


def test_given_a_later_wish_when_one_waits_for_the_end_of_a_glare_then_it_takes_its_place():
    one, _ = Renegotiation().ask(wish(1), 0.0)
    one, _ = one.answered(491, None, "", 0.0, 3.0)

    one, (told,) = one.ask(wish(2), 1.0)

    assert (told.seq, told.sip_status) == (1, 491)
    one, sent = one.due(3.0)
    assert sent == (wish(2),)


def test_given_a_repeated_command_when_it_is_done_already_then_only_its_answer_is_told_again():
    one, _ = Renegotiation().ask(wish(7), 0.0)
    assert one.ask(wish(7), 0.1) == (one, ())
    one, (told,) = one.answered(200, MEDIA, "OK", 1.0, 3.0)

    assert one.ask(wish(7), 2.0) == (one, (told,))
    assert (told.remote_rtp_host, told.payload_type, told.event_payload_type) == ("192.0.2.1", 8, 97)


@given(st.lists(st.sampled_from(["ask", "ok", "glare", "refused", "gone", "time"]), max_size=40))
def test_given_any_history_when_the_leg_ends_then_each_wish_was_answered_once_and_one_at_a_time_on_the_wire(history):
    one, now_s, seq, on_wire = Renegotiation(), 0.0, 0, 0
    told: list[int] = []
    for event in history:
        now_s += 1.0
        effects = ()
        if event == "ask":
            seq += 1
            one, effects = one.ask(wish(seq), now_s)
        elif event == "time":
            one, effects = one.due(now_s)
        elif one.on_wire is not None:
            status = {"ok": 200, "glare": 491, "refused": 488, "gone": 481}[event]
            on_wire -= 1
            one, effects = one.answered(status, None, "", now_s, 2.5)
        on_wire += sum(isinstance(effect, Reinvite) for effect in effects)
        told += [effect.seq for effect in effects if isinstance(effect, Reinvited)]
        assert on_wire == (one.on_wire is not None) <= 1
        assert one.waiting is None or one.on_wire is not None or one.again_at_s < math.inf or event == "gone"
        if event == "gone" and one.on_wire is None and one.waiting is not None:
            break
    told += [effect.seq for effect in one.ended(0, now_s, "over")]

    assert sorted(told) == list(range(1, seq + 1))


# --- under way -------------------------------------------------------------------------------------------------------


def test_given_a_leg_that_cannot_when_asked_then_refused_at_once():
    under_way = UnderWay(lambda: 0.5)
    ending, _ = TALKING.on(HangUp(2.0))

    statuses = [under_way.reinvite(leg, wish(1), 2.0)[0].sip_status for leg in (None, RINGING, ending)]

    assert statuses == [0, 491, 0]
    (refused,) = under_way.refer(RINGING, Refer("leg", "sip:a@b"), 2.0)
    assert (refused.sip_status, refused.final) == (491, True)
    assert under_way.refer(None, Refer("leg", "sip:a@b"), 2.0) == ()


@pytest.mark.parametrize(("ending", "status"), [(Released(9.0, 408), 408), (RemoteBye(9.0), 0)])
def test_given_a_reinvite_on_the_wire_when_the_leg_ends_then_it_is_answered_before(ending, status):
    under_way = UnderWay(lambda: 0.5)
    under_way.reinvite(TALKING, wish(1), 2.0)
    under_way.reinvite(TALKING, wish(2), 3.0)

    told = under_way.leg_ends("leg", ending)

    assert [(one.seq, one.sip_status) for one in told] == [(1, status), (2, 0)]
    assert under_way.leg_ends("leg", ending) == ()
    assert under_way.next_due_s == math.inf


def test_given_a_transfer_when_nothing_is_heard_for_long_then_final_202_and_another_may_begin():
    under_way = UnderWay(lambda: 0.5)
    refer = Refer("leg", "sip:a@b")
    assert under_way.refer(TALKING, refer, 2.0) == (refer,)
    (busy,) = under_way.refer(TALKING, refer, 3.0)
    assert (busy.sip_status, busy.final) == (491, True)
    under_way.referred(Referred("leg", 180, False, 10.0))

    assert under_way.due(10.0 + REFER_SILENCE_S - 0.1) == ()
    (over,) = under_way.due(10.0 + REFER_SILENCE_S)

    assert (over.sip_status, over.final) == (202, True)
    assert under_way.referred(Referred("leg", 200, True, 200.0)) == ()
    assert under_way.refer(TALKING, refer, 201.0) == (refer,)


def test_given_glare_when_its_time_has_come_then_the_worker_sends_again():
    under_way = UnderWay(lambda: 0.0)
    under_way.reinvite(TALKING, wish(1), 2.0)
    assert under_way.reinvite_answered("leg", ReinviteAnswered(3.0, 491)) == ()

    assert under_way.next_due_s == pytest.approx(5.1)
    assert under_way.due(5.0) == ()
    assert under_way.due(5.2) == (wish(1),)


def test_given_info_when_the_second_is_over_then_it_is_told_again():
    under_way = UnderWay(lambda: 0.0)
    told = [under_way.info(LegInfo("leg", "t/p", "x", at_s)) for at_s in [5.0] * 30 + [6.0]]

    assert [bool(one) for one in told] == [True] * 20 + [False] * 10 + [True]


def test_given_a_far_end_that_only_says_trying_when_its_time_is_over_then_all_who_wait_are_told_and_the_way_gets_free():
    one, _ = Renegotiation().ask(wish(1), 10.0)
    one, _ = one.ask(wish(2), 11.0)
    assert one.next_due_s == 10.0 + SILENCE_S
    assert one.due(9.9 + SILENCE_S) == (one, ())

    one, told = one.due(10.0 + SILENCE_S)
    assert [(each.seq, each.sip_status) for each in told] == [(1, 504), (2, 504)]
    assert one.next_due_s == math.inf
    one, (refused,) = one.ask(wish(3), 60.0)
    assert (refused.seq, refused.sip_status) == (3, 504), "the dialog has room for one INVITE, and that is still there"
    assert one.ended(0, 61.0, "the leg has ended") == (), "everybody knows"

    one, told = one.answered(200, None, "", 70.0, 2.1)
    assert told == ()
    one, (sent,) = one.ask(wish(4), 71.0)
    assert sent == wish(4)
    _, (answer,) = one.answered(200, None, "", 72.0, 2.1)
    assert (answer.seq, answer.sip_status) == (4, 200)


# --- trunks -----------------------------------------------------------------------------------------------------------


def test_given_a_registrar_out_of_order_when_retried_then_ever_later_and_at_once_good_again():
    side = TrunkSide()
    register = Register("r", "sip:x", "sip:a@x", "a", "b")
    assert side.register(register, 0.0) == (register,)
    now_s, waits = 0.0, []
    for _ in range(8):
        said = Registered("r", 503, 0, now_s)
        assert side.registered(said) == (said,)
        waits.append(side.next_due_s - now_s)
        now_s = side.next_due_s
        assert side.due(now_s) == (Renew("r"),)
        assert side.due(now_s) == ()

    assert waits[0] == FIRST_RETRY_S
    assert waits[-1] == LONGEST_RETRY_S
    assert waits == sorted(waits)
    side.registered(Registered("r", 200, 60, now_s))
    assert side.next_due_s == math.inf
    assert side.register(register, now_s) == (Registered("r", 200, 60, now_s),)
    changed = Register("r", "sip:x", "sip:a@x", "a", "c")
    assert side.register(changed, now_s) == (Release("r"), changed)


def test_given_a_registration_that_the_stack_could_not_take_when_retried_then_it_is_asked_to_take_it_again():
    side = TrunkSide()
    register = Register("r", "sip:x", "sip:a@x", "a", "b")
    side.register(register, 0.0)

    said = Registered("r", 503, 0, 0.0, "too many accounts")
    assert side.not_made(said) == (said,)
    assert side.due(FIRST_RETRY_S) == (register,), "there is nothing to renew"

    side.registered(Registered("r", 503, 0, 10.0))
    assert side.due(side.next_due_s) == (Renew("r"),)


def test_given_more_registrations_than_accounts_when_asked_then_refused_and_said_so():
    side = TrunkSide()
    for n in range(MAX_REGISTRATIONS):
        side.register(Register(str(n), "sip:x", "sip:a@x"), 0.0)

    (refused,) = side.register(Register("one more", "sip:x", "sip:a@x"), 0.0)

    assert (refused.sip_status, refused.good, refused.no_room) == (503, False, True)
    assert [one.registration_id for one in side.registrations] == [str(n) for n in range(MAX_REGISTRATIONS)]
    assert side.unregister_all() == tuple(Release(str(n)) for n in range(MAX_REGISTRATIONS))
    assert side.registrations == ()


def test_given_probes_when_answered_late_or_never_then_each_is_told_once():
    side = TrunkSide()
    for name, limit_s in (("a", 2.0), ("b", 5.0)):
        probe = Probe(name, "sip:x", limit_s)
        assert side.probe(probe, 10.0) == (probe,)
    assert side.probe(Probe("a", "sip:x"), 10.0) == ()

    assert side.probe_answered("b", 200, 10.5) == (Probed("b", 200, 0.5),)
    assert side.due(11.9) == ()
    (late,) = side.due(12.0)
    assert (late.probe_id, late.sip_status) == ("a", 0)
    assert side.probe_answered("a", 200, 12.1) == ()
    assert side.next_due_s == math.inf


# --- texts -----------------------------------------------------------------------------------------------------------


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30),
)
def test_given_any_dialog_when_written_into_refer_to_then_only_characters_that_may_stand_there(call_id, value):
    text = refer_to_value("sip:a@b", DialogId(call_id, "ours", "theirs"), (("X-A", value),))

    assert text.startswith("<sip:a@b?Replaces=")
    inside = text[1:-1].partition("?")[2]
    assert not set(inside) & set('<>"; \r\n@,')
    assert inside.count("&") == 1
    assert inside.isascii()


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("sip:a@b>", ()),
        ("sip:a b@c", ()),
        ("sip:a@b?X=1", ()),
        ("sip:a@b", (("X A", "1"),)),
        ("sip:a@b", (("X", "\r"),)),
    ],
)
def test_given_what_would_break_out_when_written_into_refer_to_then_unfit(target, headers):
    with pytest.raises(UnfitRequest):
        refer_to_value(target, None, headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"headers": (("", "x"),)},
        {"headers": (("X:", "x"),)},
        {"headers": (("X", "a\r\nEvil: 1"),)},
        {"display_name": "a\nb"},
        {"username": "a\x00"},
        {"proxy": "x;y"},
        {"session_expires_s": 89},
    ],
)
def test_given_a_command_that_cannot_be_sip_when_checked_then_unfit(changes):
    command = {
        "leg_id": "a",
        "uri": "sip:a@b",
        "from_uri": "sip:c@d",
        "rtp_host": "",
        "rtp_port": 0,
        "no_answer_s": 1.0,
    }
    check_place_call(PlaceCall(**command))
    with pytest.raises(UnfitRequest):
        check_place_call(PlaceCall(**(command | changes)))


def test_given_a_display_name_when_written_then_quoted():
    assert name_addr('A "B" \\', "sip:a@b") == '"A \\"B\\" \\\\" <sip:a@b>'
    assert name_addr("", "sip:a@b") == "<sip:a@b>"
