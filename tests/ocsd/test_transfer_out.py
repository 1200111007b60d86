"""Distribution to a queue of another switch, over the in-memory plane: the Cisco scenario of the manual."""

import math
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ocsd.model.enums import CallResult, DialMode, RecordStatus
from ocsd.model.errors import CampaignRequestError, ConfigError
from ocsd.model.services import CampaignRequest
from ocsd.sessions.attempt import AttemptState, HandedOver
from ocsd.sessions.people import person_of
from ocsd.sessions.transfer_data import UUI_OCTETS, chosen, header_name, headers_for, user_to_user
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_session import world

QUEUE = "sip:7000@pbx.example"


def options(how, **more):
    given_ = {"distribution": how, "transfer_destination": QUEUE} | {k.replace("_", "-"): v for k, v in more.items()}
    return ", ".join(f'"{name}" = {value!r}'.replace("'", '"') for name, value in given_.items())


def person(**more):
    return CallScript(**({"ring_s": 4.0, "talk_s": math.inf, "verdict_s": 1.0} | more))


@asynccontextmanager
async def dialing(tmp_path, scripts, how, queue=CallScript(ring_s=0.5), **more):  # noqa: B008 - frozen
    """Nobody is logged in: the agents are the other switch's."""
    async with world(tmp_path, scripts, options=options(how, **more), phones=queue) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.PROGRESSIVE)
        yield w, daemon


def customer_leg(w):
    return next(leg for leg_id, leg in w.telephony.legs.items() if "-customer" in leg_id)


async def test_given_refer_when_a_person_is_found_then_the_customers_side_calls_the_queue_and_nothing_is_left_here(
    tmp_path, autojump_clock
):
    """Figure "Transfer Mode - Cisco UCM": after the answer the call is transferred by REFER, and no SIP or RTP of it
    goes through the dialer any more."""
    async with dialing(tmp_path, [person()], "refer", transfer_data="uui") as (w, daemon):
        await daemon.until(lambda: AttemptState.TRANSFERRING in daemon.states())
        (task,) = daemon.session.attempts.values()
        await daemon.until(lambda: customer_leg(w).refers)
        (refer,) = customer_leg(w).refers
        assert refer.target == QUEUE
        headers = dict(refer.target_headers)
        assert headers["X-Call-Attempt-GUID"] == task.context.guid
        value, _, encoding = headers["User-to-User"].partition(";")
        assert encoding == "encoding=hex"
        assert value.startswith("04")
        assert f"GSW_CALL_ATTEMPT_GUID={task.context.guid}" in bytes.fromhex(value[2:]).decode()
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.telephony.machines == {}
        assert not w.media.channels or all(c.closed for c in w.media.channels.values() if hasattr(c, "closed"))
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        figures = daemon.session.statistics()
        assert (figures["calls_handed_over"], figures["abandoned"]) == (1, 0)
        assert [c.leg_id for c in w.telephony.placed if "customer" not in c.leg_id] == [], "no second leg"


async def test_given_a_far_end_that_hangs_up_after_it_took_the_refer_then_the_call_is_at_the_queue(
    tmp_path, autojump_clock
):
    taken = person(refer=((100, 0.1), (100, 60.0)))
    async with dialing(tmp_path, [taken], "refer") as (w, daemon):
        await daemon.until(lambda: AttemptState.TRANSFERRING in daemon.states())
        (task,) = daemon.session.attempts.values()
        await daemon.until(lambda: task.machine.refer_accepted)
        task.leg.far_end_hangs_up()
        await task.closed.wait()
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_customer_who_hangs_up_before_the_refer_was_taken_then_the_call_is_abandoned(
    tmp_path, autojump_clock
):
    slow = person(refer=((200, 60.0),))
    async with dialing(tmp_path, [slow], "refer") as (w, daemon):
        await daemon.until(lambda: AttemptState.TRANSFERRING in daemon.states())
        (task,) = daemon.session.attempts.values()
        await trio.sleep(0.5)
        task.leg.far_end_hangs_up()
        await task.closed.wait()
        assert w.result(1)[1] == CallResult.ABANDONED


@pytest.mark.parametrize("answers", [((403, 0.1),), ((100, 0.1), (486, 1.0)), ((100, 0.1), (100, 60.0))])
async def test_given_a_refused_refer_or_a_busy_or_silent_queue_then_the_person_hears_the_announcement_and_is_dropped(
    tmp_path, autojump_clock, answers
):
    async with dialing(tmp_path, [person(refer=answers)], "refer") as (w, daemon):
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        (task,) = daemon.session.attempts.values()
        assert task.channel.prompts[-1] == "drop"
        await task.closed.wait()
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.DROPPED)
        assert daemon.session.statistics()["abandoned"] == 1


@pytest.mark.parametrize("after_s", [11.0, 13.5])
async def test_given_a_queue_that_answers_after_the_limit_when_the_far_end_says_so_then_the_record_is_put_right(
    tmp_path, autojump_clock, after_s
):
    """Amid the announcement, and between the hang-up after it and the far end's BYE."""
    late = person(refer=((202, 0.1), (200, after_s)))
    async with dialing(tmp_path, [late], "refer") as (w, daemon):
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        (task,) = daemon.session.attempts.values()
        if after_s > 13.0:
            task.leg.hang_up = says_nothing_of_its_end
            await daemon.until(lambda: not task.machine.refer_open)
        assert daemon.session.statistics()["abandoned"] == 1
        assert not task.closed.is_set()
        await task.closed.wait()
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        figures = daemon.session.statistics()
        assert (figures["abandoned"], figures["guard_abandoned"], figures["calls_handed_over"]) == (0, 0, 1)
        assert daemon.session.score.tally.people == 0
        assert person_of(task.machine, daemon.session.clock) is None


async def says_nothing_of_its_end(*_):
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_given_a_person_given_up_when_nobody_says_that_the_queue_has_the_call_then_dropped_it_stays(
    tmp_path, autojump_clock, hangs_up
):
    """The end of the leg says nothing of a person who has heard the announcement, whoever ends it."""
    async with dialing(tmp_path, [person(refer=((202, 0.1), (202, 11.0), (200, 60.0)))], "refer") as (w, daemon):
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        (task,) = daemon.session.attempts.values()
        task.post(HandedOver(presumed=True))
        if hangs_up:
            await trio.sleep(0.5)
            task.leg.far_end_hangs_up()
        await task.closed.wait()
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.DROPPED)
        assert daemon.session.statistics()["abandoned"] == 1


async def test_given_reinvite_when_a_person_is_found_then_the_queue_is_called_with_attached_data_and_bridged(
    tmp_path, autojump_clock
):
    async with dialing(tmp_path, [person()], "reinvite", transfer_data="headers") as (w, daemon):
        await daemon.until(lambda: AttemptState.TRANSFERRED in daemon.states())
        (task,) = daemon.session.attempts.values()
        (command,) = [c for c in w.telephony.placed if "customer" not in c.leg_id]
        assert command.uri == QUEUE
        headers = dict(command.headers)
        assert headers["X-GSW-PHONE"] == task.context.record.contact_info
        assert headers["X-GSW-CAMPAIGN-NAME"] == daemon.session.campaign.name
        assert task.channel.bridged_to == task.second.channel.channel_id
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER), "closed while they talk"


async def test_given_reinvite_with_direct_media_when_bridged_then_the_audio_flows_past_us(tmp_path, autojump_clock):
    more = {"direct_media": "yes"}
    async with dialing(tmp_path, [person()], "reinvite", **more) as (w, daemon):
        await daemon.until(lambda: AttemptState.TRANSFERRED in daemon.states())
        (task,) = daemon.session.attempts.values()
        await daemon.until(lambda: task.direct.away)
        assert len(customer_leg(w).redirects) == 1


async def test_given_a_machine_when_found_then_the_queue_is_not_called(tmp_path, autojump_clock):
    async with dialing(tmp_path, [person(verdict=VerdictKind.MACHINE)], "refer") as (w, daemon):
        await daemon.until(lambda: w.result(1)[1] == CallResult.ANSWERING_MACHINE)
        assert customer_leg(w).refers == [] if w.telephony.legs else True


async def test_given_lines_of_the_queue_when_dialing_then_there_are_never_more_calls_than_those(
    tmp_path, autojump_clock
):
    rings = [person(ring_s=20.0)] * 6
    async with dialing(tmp_path, rings, "reinvite", transfer_lines=2) as (w, daemon):
        most = 0
        for _ in range(400):
            await trio.sleep(0.1)
            most = max(most, len(daemon.session.attempts))
        assert most == 2
        assert daemon.states() == [AttemptState.TRANSFERRED] * 2, "the queue is full"
        assert len(w.dialed()) == 2
        assert daemon.session.statistics()["queue_places"] == 0


async def test_given_reported_places_when_dialing_then_each_is_good_for_one_person(tmp_path, autojump_clock):
    async with dialing(tmp_path, [person()] * 6, "refer", transfer_lines=1) as (w, daemon):
        group = w.config.agent_groups[0].dbid
        daemon.campaigns.report_inbound(group, 0, 0, 0)
        await daemon.until(lambda: True)
        before = len(w.dialed())
        await trio.sleep(10.0)
        assert len(w.dialed()) - before <= 1, "what was under way at the report"
        daemon.campaigns.report_inbound(group, 0, 0, 3)
        start = len(w.dialed())
        await trio.sleep(20.0)
        assert len(w.dialed()) - start == 3
        assert daemon.session.statistics()["queue_places"] == 0
        await trio.sleep(20.0)  # nobody reports any more: the fixed lines hold again
        assert len(w.dialed()) - start > 3


@pytest.mark.parametrize("mode", [DialMode.PROGRESSIVE_AND_SEIZE, DialMode.PREDICTIVE_AND_SEIZE])
async def test_given_a_queue_when_a_mode_with_agents_of_our_own_is_asked_for_then_it_is_refused(
    tmp_path, autojump_clock, mode
):
    async with world(tmp_path, [], options=options("refer")) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        with pytest.raises(CampaignRequestError, match=r"distribution of campaign group .* is refer"):
            await daemon.request(CampaignRequest.START_DIALING, dial_mode=mode)


async def test_given_no_queue_or_a_mode_with_agents_of_our_own_when_loaded_then_the_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must be the SIP URI of the queue for distribution refer"):
        async with world(tmp_path, [], options='"distribution" = "refer"'):
            pass


# --- attached data ---------------------------------------------------------------------------------------------------

DATA = {"GSW_PHONE": "+15550100", "GSW_CALLING_LIST": "Demo; List"}


def test_given_attached_data_when_sent_as_headers_or_uui_then_it_can_be_read_back():
    assert headers_for("headers", DATA) == (("X-GSW-PHONE", "+15550100"), ("X-GSW-CALLING-LIST", "Demo; List"))
    ((name, value),) = headers_for("uui", DATA)
    assert name == "User-to-User"
    octets = bytes.fromhex(value.removeprefix("04").partition(";")[0])
    assert octets == b"GSW_PHONE=+15550100;GSW_CALLING_LIST=Demo%3B List"
    assert headers_for("none", DATA) == ()
    assert header_name("Größe x") == "X-Gr--e-x"


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=200), st.integers())))
def test_given_any_data_when_made_headers_then_they_are_printable_and_within_their_limits(data):
    text = chosen(data, tuple(data))
    for value in text.values():
        assert value.isascii()
        assert value.isprintable()
    for name, _value in headers_for("headers", text):
        assert name.isascii()
        assert not set(name) & set(" :\r\n")
    octets = user_to_user({header_name(k): v for k, v in text.items()}).partition(";")[0]
    assert len(octets) <= 2 * UUI_OCTETS
