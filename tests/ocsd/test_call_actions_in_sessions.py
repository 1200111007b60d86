"""Call actions from the configuration to the line, in whole sessions, and what a killed daemon leaves of them."""

import math

import pytest
import trio

from ocsd.config.objects import Trunk
from ocsd.model.enums import CallResult, RecordStatus, RecordType
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.call_plan import destination_uri
from telephony.contract import VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_session import PHONE, restarted, world

LIST_KEYS = "max_attempts = 3\n"
MACHINE = CallScript(verdict=VerdictKind.MACHINE, talk_s=40.0)


def treated(**fields: object):
    """An edit of the demo's configuration: one treatment on its list."""
    given = "\n".join(f"{key} = {value!r}".replace("'", '"') for key, value in fields.items())
    treatment = f'[[treatments]]\ndbid = 900\nname = "T"\n{given}\n\n'

    def edit(text: str) -> str:
        assert LIST_KEYS in text
        text = text.replace(LIST_KEYS, f'{LIST_KEYS}treatments = ["T"]\n')
        return text.replace("[[calling_lists]]", f"{treatment}[[calling_lists]]", 1)

    return edit


CONNECTED = treated(call_result=9, record_action=1, call_action=1)
TRANSFERRED = treated(call_result=33, record_action=1, call_action=4, destination="sip:queue@elsewhere")
RETRIED_AFTER_MESSAGE = treated(call_result=9, record_action=4, interval_min=60, call_action=6, message="tone")


async def test_given_a_treatment_that_connects_machines_when_one_answers_then_the_desktop_sees_what_it_is(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [MACHINE], edit=CONNECTED) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        established = daemon.desktops["agent1"].last("EventEstablished")
        assert established["UserData"]["GSW_CALL_RESULT"] == CallResult.ANSWERING_MACHINE
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)


async def test_given_a_message_and_a_retry_when_a_machine_answers_then_both_happen(autojump_clock, tmp_path):
    async with world(tmp_path, [MACHINE], edit=RETRIED_AFTER_MESSAGE) as w, w.daemon() as daemon:
        await daemon.dial("agent1")
        await daemon.until(lambda: AttemptState.PLAYING in daemon.states())
        (channel,) = w.media.channels.values()
        assert channel.prompts == ["tone"]
        await daemon.until(lambda: not daemon.session.attempts)
        record = w.row(1).record
        assert w.result(1) == (RecordStatus.READY, CallResult.ANSWERING_MACHINE)
        assert record.record_type is RecordType.CAMPAIGN_RESCHEDULED
        assert record.treatments.startswith("900@")


async def test_given_a_transfer_when_it_is_bridged_then_the_record_is_final_and_the_conversation_outlives_a_kill(
    autojump_clock, tmp_path
):
    customer = CallScript(talk_s=120.0)
    async with world(tmp_path, [customer], edit=TRANSFERRED, phones=CallScript(ring_s=0.2)) as w:
        async with w.daemon() as daemon:
            await daemon.dial("agent1")
            await daemon.until(lambda: AttemptState.TRANSFERRED in daemon.states())
            await daemon.until(lambda: w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER))
            daemon.kill()
        assert len(w.telephony.machines) == 2
        async with w.daemon() as daemon:
            assert daemon.session.attempts == {}
            await trio.sleep(20.0)
            assert len(w.telephony.machines) == 2
            assert sum(bool(channel.bridged_to) for channel in w.media.channels.values()) == 2
            await daemon.until(lambda: not w.telephony.machines and not w.media.channels)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
            assert [command.uri for command in w.telephony.placed if "-destination-" in command.leg_id] == [
                "sip:queue@elsewhere"
            ]


async def test_given_a_destination_that_still_rings_when_killed_then_the_transfer_is_begun_anew(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(talk_s=60.0)], edit=TRANSFERRED, phones=CallScript(ring_s=math.inf)) as w:
        await restarted(w, lambda d: AttemptState.TRANSFERRING in d.states())
        w.telephony._script = lambda command: PHONE  # from now on it answers
        async with w.daemon() as daemon:
            await daemon.until(lambda: AttemptState.TRANSFERRED in daemon.states())
            await daemon.until(lambda: len(w.telephony.machines) == 2)
            destinations = [c.leg_id for c in w.telephony.placed if "-destination-" in c.leg_id]
            assert len(set(destinations)) == 2
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_machine_with_an_agent_when_the_daemon_is_killed_then_it_is_still_a_machine_afterwards(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [CallScript(verdict=VerdictKind.MACHINE, talk_s=120.0)], edit=CONNECTED) as w:
        await restarted(w, lambda d: AttemptState.TALKING in d.states())
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.TALKING]
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)


@pytest.mark.parametrize(
    ("destination", "uri"),
    [
        ("sip:queue@host:5080;transport=udp", "sip:queue@host:5080;transport=udp"),
        (" 08001234 ", "sip:908001234@carrier.example:5062"),
        ("", ""),
    ],
)
def test_given_a_destination_when_it_is_digits_then_it_goes_over_the_trunk_of_the_call(destination, uri):
    trunk = Trunk(dbid=1, name="t", tenant="x", host="carrier.example", port=5062, dial_prefix="9")
    assert destination_uri(destination, trunk) == uri
