"""Voice applications and IVR groups in whole sessions, over the in-memory plane, in virtual time.

Reference Manual: figure "Outbound Contact, GVP 8.1 - MCP as the CPA Provider", and "Virtual Agent Support for
Notifications".
"""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from ocsd.explain.contract import Reach
from ocsd.model.enums import CallResult, CmError, DialMode, GroupCampStatus, OptimizeBy, RecordStatus, RecordType
from ocsd.model.errors import CampaignRequestError
from ocsd.model.services import CampaignRequest
from ocsd.protocols.desktop import RequestAgentReady
from ocsd.sessions.attempt import AttemptState
from ocsd.sessions.roster import AgentState
from ocsd.sessions.trunks import StartBucket
from ocsd.sessions.voice import by_the_minute
from pacing import GroupSnapshot, LegalRoom
from telephony.contract import PlaceCall, VerdictKind
from telephony.fake import CallScript
from tests.ocsd.test_explain_gates import RUNNING, closed, explain, facts, live
from tests.ocsd.test_session import LIST, Daemon, restarted, world

PERSON = CallScript(ring_s=1.0, talk_s=120.0, prompt_s=2.0)
MACHINE = CallScript(ring_s=1.0, talk_s=120.0, prompt_s=2.0, verdict=VerdictKind.MACHINE)

STEPS = """
[[voice_applications]]
dbid = 1
name = "reminder"
language = "en"
steps = [
    { do = "play", prompts = ["hello.wav"] },
    { name = "menu", do = "menu", prompts = ["menu.wav"], choices = { 1="yes", 2="agents", 3="desk", 9="stop" } },
    { do = "hang_up" },
    { name = "yes", do = "record", result = "wrong_party", fields = { customer_name = "said yes" }, next = "bye" },
    { name = "stop", do = "record", do_not_call = true, next = "bye" },
    { name = "desk", do = "transfer", destination = "sip:desk@127.0.0.1:5070", otherwise = "bye" },
    { name = "agents", do = "queue", attach = { REASON = "asked" }, wait_s = 10.0, otherwise = "bye" },
    { name = "bye", do = "play", prompts = ["bye.wav"] },
]
"""
VXML = """
[[voice_applications]]
dbid = 1
name = "reminder"
url = "http://web.example/reminder.vxml"
media_server = "sip:127.0.0.1:5075"
parameters = { branch = "7" }
"""
OTHER_GROUP = """
[[agents]]
dbid = 900
login_id = "expert"
dn = "sip:expert@127.0.0.1:5070"

[[agent_groups]]
dbid = 901
name = "Experts"
agents = ["expert"]
"""


def gvp(application: str = STEPS, mode: int = 9, options: str = "", channels: int = 4) -> Callable[[str], str]:
    """An edit of the demo's configuration: its group without need of agents, in a GVP mode."""

    def edit(text: str) -> str:
        head, _, group = text.partition("[[campaign_groups]]")
        lines = [line for line in group.splitlines() if not line.startswith(("dial_mode", "num_of_channels"))]
        lines += [f"dial_mode = {mode}", f"num_of_channels = {channels}", "[campaign_groups.options]"]
        lines += ['voice-application = "reminder"', options]
        head = head.replace("[telephony]\n", "[telephony]\nembedded = false\n", 1)  # its prompts are elsewhere
        return head + application + "\n[[campaign_groups]]" + "\n".join(lines) + "\n"

    return edit


async def start(daemon: Daemon, mode: DialMode = DialMode.PROGRESSIVE_GVP, **parameters: object) -> None:
    await daemon.request(CampaignRequest.LOAD)
    await daemon.request(CampaignRequest.START_DIALING, dial_mode=mode, **parameters)


def finished(w, records: int) -> bool:
    return all(w.result(number)[0] is RecordStatus.UPDATED for number in range(1, records + 1))


def spoken(w) -> list[str]:
    (channel,) = [each for each in w.media.channels.values() if each.prompts]
    return channel.prompts


async def in_menu(w, daemon: Daemon):
    """The channel of the only call, when its menu waits for a key."""
    await daemon.until(lambda: AttemptState.IN_APPLICATION in daemon.states() and "menu.wav" in spoken(w))
    (channel,) = [each for each in w.media.channels.values() if each.prompts]
    return channel


async def test_given_nobody_logged_in_when_a_person_answers_then_the_application_runs_and_its_end_ends_the_call(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        assert daemon.session.statistics()["voice_ports_busy"] == 1
        await daemon.until(lambda: not daemon.session.attempts)
        assert channel.prompts == ["hello.wav", "menu.wav", "menu.wav", "menu.wav"]
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        figures = daemon.session.statistics()
        assert (figures["answered"], figures["abandoned"], figures["voice_finished"]) == (1, 0, 1)


async def test_given_a_menu_when_a_key_is_pressed_then_result_and_fields_of_its_steps_are_in_the_record(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        (await in_menu(w, daemon)).press("1")
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.WRONG_PARTY)
        assert w.row(1).record.user_fields["customer_name"] == "said yes"


async def test_given_a_key_that_says_never_again_when_pressed_then_the_number_is_on_the_list_and_hears_the_end(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        channel.press("9")
        await daemon.until(lambda: not daemon.session.attempts)
        assert channel.prompts[-1] == "bye.wav"
        assert w.row(1).record.record_type is RecordType.NO_CALL


async def test_given_a_person_who_hangs_up_in_the_menu_when_it_ends_then_the_result_is_answer(autojump_clock, tmp_path):
    async with world(tmp_path, [CallScript(ring_s=1.0, talk_s=4.0)], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER))
        assert daemon.session.statistics()["abandoned"] == 0


# --- machines ---------------------------------------------------------------------------------------------------------


async def test_given_an_answering_machine_when_nothing_says_otherwise_then_it_is_hung_up(autojump_clock, tmp_path):
    async with world(tmp_path, [MACHINE], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE))
        assert daemon.session.voice.finished == 0


async def test_given_voice_to_machines_when_a_machine_answers_then_the_application_begins_at_its_tone(
    autojump_clock, tmp_path
):
    edit = gvp(options="voice-to-machines = true")
    async with world(tmp_path, [MACHINE], edit=edit) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: AttemptState.AWAITING_BEEP in daemon.states())
        (channel,) = w.media.channels.values()
        await trio.sleep(3.0)
        assert channel.prompts == []
        channel.hear(VerdictKind.BEEP)
        await daemon.until(lambda: AttemptState.IN_APPLICATION in daemon.states())
        assert channel.prompts == ["hello.wav"]
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWERING_MACHINE)


# --- to agents and elsewhere ------------------------------------------------------------------------------------------


async def test_given_a_key_for_an_agent_when_one_is_ready_then_it_has_the_call_with_the_attached_data(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        desktop = await daemon.log_in("agent1")
        (await in_menu(w, daemon)).press("2")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        data = desktop.last("EventEstablished")["UserData"]
        assert (data["REASON"], data["GSW_CALL_RESULT"]) == ("asked", CallResult.ANSWER)
        assert daemon.session.statistics()["voice_ports_busy"] == 0
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_no_agent_when_the_queues_time_is_over_then_the_application_goes_on(autojump_clock, tmp_path):
    async with world(tmp_path, [PERSON], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        channel.press("2")
        await daemon.until(lambda: AttemptState.WAITING in daemon.states())
        assert channel.playing == "music"
        assert channel.digits is None
        assert daemon.session.voice.in_use == 0
        began_s = trio.current_time()
        await daemon.until(lambda: AttemptState.WAITING not in daemon.states())
        assert trio.current_time() - began_s == pytest.approx(10.0, abs=0.2)
        assert daemon.session.voice.in_use == 1
        await daemon.until(lambda: not daemon.session.attempts)
        assert channel.prompts[-1] == "bye.wav"
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        assert daemon.session.statistics()["abandoned"] == 0


@pytest.mark.parametrize(("key", "away"), [("2", AttemptState.WAITING), ("3", AttemptState.TRANSFERRING)])
async def test_given_a_menu_that_a_key_interrupted_when_nobody_takes_the_call_then_it_is_heard_and_answered_again(
    key, away, autojump_clock, tmp_path
):
    steps = STEPS.replace('otherwise = "bye"', 'otherwise = "menu"')
    phones = CallScript(ring_s=math.inf)
    async with world(tmp_path, [PERSON], edit=gvp(steps), phones=phones) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        assert channel.playing == "menu.wav"
        channel.press(key)
        await daemon.until(lambda: away in daemon.states())
        await daemon.until(lambda: AttemptState.IN_APPLICATION in daemon.states())
        began_s = trio.current_time()
        await daemon.until(lambda: not daemon.session.attempts)
        said = channel.prompts[2:]
        assert [prompt for prompt in said if prompt.endswith(".wav")] == ["menu.wav"] * 3, "it asks again, twice"
        assert trio.current_time() - began_s < 40.0, "and then hangs up"


async def test_given_agents_of_another_group_when_the_application_leads_there_then_one_of_them_has_the_call(
    autojump_clock, tmp_path
):
    steps = STEPS.replace('do = "queue",', 'do = "queue", agent_group = "Experts",')
    async with world(tmp_path, [PERSON], edit=gvp(OTHER_GROUP + steps)) as w, w.daemon() as daemon:
        await start(daemon)
        own = await daemon.log_in("agent1")
        expert = await daemon.log_in("expert")
        (await in_menu(w, daemon)).press("2")
        await daemon.until(lambda: AttemptState.TALKING in daemon.states())
        (attempt_id,) = daemon.session.attempts
        assert daemon.seat("expert").state is AgentState.TALKING
        assert "EventRinging" not in own.events()
        await daemon.processed("expert", attempt_id, call_result=CallResult.WRONG_PARTY)
        await daemon.until(lambda: not daemon.session.attempts)
        assert "EventReleased" in expert.events()
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.WRONG_PARTY)
        await daemon.desks.received(expert, RequestAgentReady())
        assert daemon.seat("expert").state is AgentState.READY


async def test_given_a_transfer_when_it_is_answered_then_the_record_is_closed_and_the_call_goes_on(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp()) as w, w.daemon() as daemon:
        await start(daemon)
        (await in_menu(w, daemon)).press("3")
        await daemon.until(lambda: AttemptState.TRANSFERRED in daemon.states())
        await daemon.until(lambda: w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER))
        assert [c.uri for c in w.telephony.placed if "-destination-" in c.leg_id] == ["sip:desk@127.0.0.1:5070"]


async def test_given_a_transfer_that_nobody_answers_when_it_is_given_up_then_the_application_goes_on(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp(), phones=CallScript(status=486)) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        channel.press("3")
        await daemon.until(lambda: not daemon.session.attempts)
        assert channel.prompts[-1] == "bye.wav"
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


@pytest.mark.parametrize(("name", "said"), [("A-12 07", ["1", "2", "0", "7"]), ("Ada", []), (None, [])])
async def test_given_digits_of_a_column_when_played_then_each_is_a_file_and_a_column_without_any_is_passed_over(
    autojump_clock, tmp_path, name, said
):
    edit = gvp(STEPS.replace('prompts = ["hello.wav"]', 'prompts = ["digits:customer_name"]'))
    async with world(tmp_path, [PERSON], edit=edit) as w, w.daemon() as daemon:
        w.database.update_row(w.database.table_name(LIST), 1, customer_name=name)
        await start(daemon)
        channel = await in_menu(w, daemon)
        assert channel.prompts == [*(f"digits/{digit}.wav" for digit in said), "menu.wav"]


def referring(*answers: tuple[int, float]):
    """The application's transfer by REFER, and what the called party's side answers to it."""
    return replace(PERSON, refer=answers), gvp(STEPS.replace('5070", otherwise', '5070", refer = true, otherwise'))


async def test_given_a_transfer_by_refer_when_the_far_end_takes_it_then_the_call_is_gone_and_no_second_leg_was_placed(
    autojump_clock, tmp_path
):
    person, edit = referring((202, 0.1), (200, 2.0))
    async with world(tmp_path, [person], edit=edit) as w, w.daemon() as daemon:
        await start(daemon)
        (await in_menu(w, daemon)).press("3")
        await daemon.until(lambda: w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER))
        (leg,) = [leg for leg_id, leg in w.telephony.legs.items() if "-customer" in leg_id]
        assert [refer.target for refer in leg.refers] == ["sip:desk@127.0.0.1:5070"]
        assert not [c for c in w.telephony.placed if "-customer" not in c.leg_id]
        await daemon.until(lambda: not w.telephony.machines)


@pytest.mark.parametrize("answers", [[(403, 0.1)], [(202, 0.1), (486, 2.0)], [(202, 0.1), (486, 10.5)]])
async def test_given_a_transfer_by_refer_that_is_refused_or_late_when_it_fails_then_the_application_goes_on(
    autojump_clock, tmp_path, answers
):
    person, edit = referring(*answers)
    async with world(tmp_path, [person], edit=edit) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        channel.press("3")
        await daemon.until(lambda: not daemon.session.attempts)
        assert channel.prompts[-1] == "bye.wav"
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_transfer_by_refer_that_succeeds_late_when_the_application_has_gone_on_then_the_call_is_gone(
    autojump_clock, tmp_path
):
    person, edit = referring((202, 0.1), (200, 11.0))
    async with world(tmp_path, [person], edit=edit) as w, w.daemon() as daemon:
        await start(daemon)
        channel = await in_menu(w, daemon)
        channel.press("3")
        await daemon.until(lambda: channel.prompts[-1] == "bye.wav")
        (task,) = daemon.session.attempts.values()
        await task.closed.wait()
        assert "transferred" in task.machine.marks
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


# --- VoiceXML ---------------------------------------------------------------------------------------------------------


def dialogs(w) -> list[PlaceCall]:
    return [command for command in w.telephony.placed if "-dialog-" in command.leg_id]


DIALOG = CallScript(ring_s=0.2, talk_s=20.0)


async def test_given_a_vxml_application_when_a_person_answers_then_its_dialog_has_the_call_until_it_ends(
    autojump_clock, tmp_path
):
    async with world(tmp_path, [PERSON], edit=gvp(VXML), phones=DIALOG) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: AttemptState.IN_DIALOG in daemon.states())
        (attempt_id,) = daemon.session.attempts
        (command,) = dialogs(w)
        assert command.uri.startswith(
            f"sip:dialog@127.0.0.1:5075;voicexml=http://web.example/reminder.vxml;GSW_RECORD_HANDLE={attempt_id};"
        )
        assert ";branch=7" in command.uri
        assert ("X-Genesys-GSW_RECORD_HANDLE", str(attempt_id)) in command.headers
        assert ("X-Genesys-customer_name", "Customer 1") in command.headers
        assert sum(bool(channel.bridged_to) for channel in w.media.channels.values()) == 2
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
        await daemon.until(lambda: not w.telephony.machines)


async def test_given_a_dialog_when_it_sends_record_processed_then_that_is_what_the_record_says(
    autojump_clock, tmp_path
):
    edit = gvp(VXML, options="record_processed = true")
    async with world(tmp_path, [PERSON], edit=edit, phones=DIALOG) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: AttemptState.IN_DIALOG in daemon.states())
        (attempt_id,) = daemon.session.attempts
        on_disk = await daemon.desks.records.processed(
            attempt_id, int(CallResult.WRONG_PARTY), {"customer_name": "by the dialog"}, None, None
        )
        await on_disk()
        assert daemon.states() == [AttemptState.IN_DIALOG]  # closed with the call
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.WRONG_PARTY)
        assert w.row(1).record.user_fields["customer_name"] == "by the dialog"


@pytest.mark.parametrize("finished", [True, False])
async def test_given_record_processed_demanded_when_the_dialog_is_over_then_the_record_waits_for_it(
    autojump_clock, tmp_path, finished
):
    edit = gvp(VXML, options="record_processed = true")
    async with world(tmp_path, [PERSON], edit=edit, phones=DIALOG) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: AttemptState.WRAP_UP in daemon.states())
        await daemon.until(lambda: not w.telephony.machines)
        (attempt_id,) = daemon.session.attempts
        if finished:
            on_disk = await daemon.desks.records.processed(attempt_id, int(CallResult.OK), {}, None, None)
            await on_disk()
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (
            (RecordStatus.UPDATED, CallResult.OK) if finished else (RecordStatus.STALE, CallResult.STALE)
        )


async def test_given_a_media_server_that_is_away_when_a_person_answers_then_the_announcement_is_heard(
    autojump_clock, tmp_path
):
    phones = CallScript(ring_s=0.2, status=503)
    async with world(tmp_path, [PERSON], edit=gvp(VXML), phones=phones) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        await daemon.until(lambda: not daemon.session.attempts)
        assert w.result(1) == (RecordStatus.UPDATED, CallResult.DROPPED)
        assert daemon.session.statistics()["abandoned"] == 1


async def test_given_a_dialog_when_the_daemon_is_killed_then_it_goes_on_and_is_adopted(autojump_clock, tmp_path):
    dialog = CallScript(ring_s=0.2, talk_s=60.0)
    async with world(tmp_path, [PERSON], edit=gvp(VXML), phones=dialog) as w:
        async with w.daemon() as daemon:
            await start(daemon)
            await daemon.until(lambda: AttemptState.IN_DIALOG in daemon.states())
            daemon.kill()
        assert len(w.telephony.machines) == 2
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.IN_DIALOG]
            assert daemon.session.voice.in_use == 1
            assert len(dialogs(w)) == 1
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)
            await daemon.until(lambda: not w.telephony.machines and not w.media.channels)


async def test_given_steps_under_way_when_the_daemon_is_killed_then_they_begin_anew(autojump_clock, tmp_path):
    async with world(tmp_path, [PERSON], edit=gvp()) as w:
        async with w.daemon() as daemon:
            await start(daemon)
            await in_menu(w, daemon)
            daemon.kill()
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.IN_APPLICATION]
            await daemon.until(lambda: not daemon.session.attempts)
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


# --- the pacing -------------------------------------------------------------------------------------------------------


async def test_given_progressive_gvp_when_it_dials_then_one_call_per_free_port_is_under_way(autojump_clock, tmp_path):
    people = [CallScript(ring_s=2.0, talk_s=30.0)] * 12
    async with (
        world(tmp_path, people, edit=gvp(channels=8, options="voice_channel_num = 3")) as w,
        w.daemon() as daemon,
    ):
        await start(daemon)
        seen = set()
        while not finished(w, 12):
            seen.add(len(daemon.session.attempts))
            await trio.sleep(0.1)
        assert max(seen) == 3
        assert daemon.session.voice.refused == 0
        assert daemon.session.statistics()["abandoned"] == 0


async def test_given_power_gvp_by_the_minute_when_it_dials_then_that_many_calls_are_started(autojump_clock, tmp_path):
    nobody = [CallScript(ring_s=1.0, status=486)] * 60
    edit = gvp(mode=11, channels=20, options="power-calls-per-minute = 30.0")
    async with world(tmp_path, nobody, edit=edit) as w, w.daemon() as daemon:
        await start(daemon, DialMode.POWER_GVP)
        await trio.sleep(60.0)
        assert 29 <= len(w.telephony.placed) <= 32


NOTHING = GroupSnapshot(
    now_s=100.0,
    agents_idle_s=(),
    agents_talking_s=(),
    agents_wrapping_s=(),
    attempts_age_s=(),
    analysing_age_s=(),
    people_waiting=0,
    ports_free=50,
    records_ready=50,
)


@pytest.mark.parametrize(
    ("changes", "ports", "launch", "because"),
    [
        ({}, 50, 10, "calls_per_minute"),  # one second's worth of 600 a minute
        ({"ports_free": 3}, 50, 3, "ports"),
        ({"attempts_age_s": (1.0,) * 4, "agents_talking_s": (9.0,) * 5}, 12, 3, "ports"),
        ({"records_ready": 0}, 50, 0, "records"),
        ({"starts_allowed": 2}, 50, 2, "start_rate"),
        ({"legal": LegalRoom(0.0, 0.0, stop=True)}, 50, 0, "legal_stop"),
        ({"agents_talking_s": (9.0,) * 20}, 12, 0, "ports"),
    ],
)
def test_given_calls_by_the_minute_when_decided_then_every_bound_holds(changes, ports, launch, because):
    bucket = StartBucket(90.0)

    decision = by_the_minute(bucket, 600.0, replace(NOTHING, **changes), ports)

    assert (decision.launch, decision.because) == (launch, because)
    assert bucket.allowed(10.0, 100.0) == 10 - launch


def test_given_a_gvp_group_without_agents_when_asked_why_then_that_is_no_reason():
    group = replace(RUNNING, dial_mode=DialMode.POWER_GVP, agents={})

    assert closed(explain(facts(), live(group)), Reach.GROUP) == []
    assert closed(explain(facts(), live(replace(group, dial_mode=DialMode.PROGRESSIVE))), Reach.GROUP) == ["agents"]


async def test_given_power_gvp_when_most_calls_fail_then_it_dials_ahead_of_its_ports(autojump_clock, tmp_path):
    """Progressive never has more calls under way than ports; Power keeps them busy."""
    people = [
        CallScript(ring_s=6.0, talk_s=20.0) if i % 4 == 0 else CallScript(ring_s=6.0, status=486) for i in range(160)
    ]
    options = "voice_channel_num = 6, max_overdial_rate = 10, history_length = 20".replace(", ", "\n")
    async with world(tmp_path, people, edit=gvp(mode=11, channels=40, options=options)) as w, w.daemon() as daemon:
        await start(daemon, DialMode.POWER_GVP, optimize_by=OptimizeBy.BUSY_FACTOR, optimize_goal=80)
        most = 0
        while not finished(w, 160):
            most = max(most, len(daemon.session.attempts))
            await trio.sleep(0.2)
        assert most > 6


async def test_given_more_people_than_ports_when_they_answer_then_the_rest_hears_the_announcement(
    autojump_clock, tmp_path
):
    people = [CallScript(ring_s=1.0, talk_s=60.0)] * 3
    async with world(tmp_path, people, edit=gvp(channels=3)) as w, w.daemon() as daemon:
        await start(daemon)
        await daemon.until(lambda: len(daemon.session.attempts) == 3)
        daemon.session.voice._busy |= {-1: 0.0}  # somebody else's call is on a port
        await daemon.until(lambda: AttemptState.ANNOUNCING in daemon.states())
        assert daemon.session.voice.refused == 1
        assert daemon.states().count(AttemptState.IN_APPLICATION) == 2


async def test_given_no_application_when_started_in_a_gvp_mode_then_the_request_is_refused(autojump_clock, tmp_path):
    async with world(tmp_path, [PERSON]) as w, w.daemon() as daemon:
        await daemon.request(CampaignRequest.LOAD)
        with pytest.raises(CampaignRequestError) as caught:
            await daemon.request(CampaignRequest.START_DIALING, dial_mode=DialMode.POWER_GVP)
        assert caught.value.error is CmError.INVALID_CAMPAIGN_MODE
        assert daemon.status is GroupCampStatus.ACTIVE
        assert w.telephony.placed == []


# --- IVR groups -------------------------------------------------------------------------------------------------------


def ivr(options: str = "", ports: int = 2) -> Callable[[str], str]:
    names = [f"port{number}" for number in range(1, ports + 1)]
    places = "".join(
        f'[[places]]\ndbid = {700 + n}\nname = "{name}"\ndn = "sip:{name}@127.0.0.1:5070"\n\n'
        for n, name in enumerate(names)
    )

    def edit(text: str) -> str:
        head, _, tail = text.partition("[[agent_groups]]")
        agents = next(line for line in tail.splitlines() if line.startswith("agents = "))
        tail = tail.replace(agents, f"ivr_group = true\nplaces = {names!r}".replace("'", '"'), 1)
        tail = tail.rstrip() + f"\n[campaign_groups.options]\n{options}\n"
        return head + places + "[[agent_groups]]" + tail

    return edit


async def test_given_an_ivr_group_when_people_answer_then_its_ports_have_them_and_are_free_at_once_after(
    autojump_clock, tmp_path
):
    people = [CallScript(ring_s=1.0, talk_s=300.0)] * 4
    port = CallScript(ring_s=0.1, talk_s=15.0)
    async with world(tmp_path, people, phones=port, edit=ivr("record_processed = true")) as w, w.daemon() as daemon:
        await daemon.dial()
        await daemon.until(lambda: daemon.states().count(AttemptState.TALKING) == 2)
        await daemon.until(lambda: finished(w, 4))
        assert [w.result(n) for n in range(1, 5)] == [(RecordStatus.UPDATED, CallResult.ANSWER)] * 4
        assert {seat.state for seat in daemon.session.roster.seats.values()} == {AgentState.READY}
        placed = [command.uri for command in w.telephony.placed if command.uri.startswith("sip:port")]
        assert sorted(placed) == ["sip:port1@127.0.0.1:5070"] * 2 + ["sip:port2@127.0.0.1:5070"] * 2


async def test_given_ivr_update_on_release_when_the_port_sends_user_data_then_they_are_in_the_record(
    autojump_clock, tmp_path
):
    sent = (("X-Genesys-customer_name", "told%20the%20IVR"), ("X-Genesys-GSW_CALL_RESULT", "11"))
    port = CallScript(ring_s=0.1, talk_s=5.0, headers=sent)
    async with (
        world(
            tmp_path, [CallScript(ring_s=1.0, talk_s=300.0)], phones=port, edit=ivr("ivr_update_on_release = true")
        ) as w,
        w.daemon() as daemon,
    ):
        await daemon.dial()
        await daemon.until(lambda: finished(w, 1))
        assert w.result(1) == (RecordStatus.UPDATED, CallResult(11))
        assert w.row(1).record.user_fields["customer_name"] == "told the IVR"


async def test_given_a_port_that_refused_when_the_customer_leaves_the_next_one_then_the_refusal_says_nothing(
    autojump_clock, tmp_path
):
    sent = (("X-Genesys-GSW_CALL_RESULT", "11"),)

    async with world(tmp_path, [CallScript(ring_s=1.0, talk_s=20.0)], edit=ivr("ivr_update_on_release = true")) as w:
        scripted, ports = w.telephony._script, []

        def script(command: PlaceCall) -> CallScript:
            if command.uri.startswith("sip:port"):
                ports.append(command.uri)
                refuses = len(ports) == 1
                return CallScript(ring_s=0.1, status=486 if refuses else 200, headers=sent if refuses else ())
            return scripted(command) if callable(scripted) else scripted.get(command.uri, CallScript())

        w.telephony._script = script
        async with w.daemon() as daemon:
            await daemon.dial()
            await daemon.until(lambda: finished(w, 1))
            assert len(ports) == 2
            assert w.result(1) == (RecordStatus.UPDATED, CallResult.ANSWER)


async def test_given_a_port_that_does_not_answer_when_it_has_rested_then_it_is_tried_again(autojump_clock, tmp_path):
    people = [CallScript(ring_s=1.0, talk_s=300.0)] * 3
    answers = {"at_s": math.inf}

    def phones(command: PlaceCall) -> CallScript | None:
        if not command.uri.startswith("sip:port"):
            return None
        return (
            CallScript(ring_s=0.1, talk_s=5.0)
            if trio.current_time() > answers["at_s"]
            else CallScript(ring_s=0.1, status=486)
        )

    async with world(tmp_path, people, edit=ivr(ports=1)) as w:
        scripted = w.telephony._script
        w.telephony._script = lambda command: (
            phones(command) or (scripted(command) if callable(scripted) else scripted.get(command.uri, CallScript()))
        )
        async with w.daemon() as daemon:
            await daemon.dial()
            seat = daemon.session.roster.seats["port1"]
            await daemon.until(lambda: seat.state is AgentState.NOT_READY)
            answers["at_s"] = trio.current_time()
            await daemon.until(lambda: (RecordStatus.UPDATED, CallResult.ANSWER) in [w.result(n) for n in (1, 2, 3)])


async def test_given_an_ivr_port_in_a_call_when_the_daemon_is_killed_then_it_goes_on(autojump_clock, tmp_path):
    port = CallScript(ring_s=0.1, talk_s=60.0)
    async with world(tmp_path, [CallScript(ring_s=1.0, talk_s=300.0)], phones=port, edit=ivr(ports=1)) as w:
        await restarted(w, lambda daemon: AttemptState.TALKING in daemon.states(), *())
        async with w.daemon() as daemon:
            assert daemon.states() == [AttemptState.TALKING]
            await daemon.until(lambda: finished(w, 1))
            assert daemon.session.roster.seats["port1"].state is AgentState.READY
