"""Voice applications and IVR ports over real SIP and RTP, with the ladders of their messages."""

import json
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import httpx
import numpy as np
import pytest

from ocsd.demo.processes import json_file, wait_for
from ocsd.model.enums import CallResult, DialMode, OptimizeBy
from telephony.simworld.numbers import number_for
from tests.e2e.far_end import FarCall, FarEnd
from tests.e2e.site import GROUP, Site, eventually, outside_world, site
from tests.ladder import Ladder

pytestmark = pytest.mark.e2e

HELLO_HZ, MENU_HZ, BYE_HZ, DIALOG_HZ = 500.0, 700.0, 900.0, 1100.0
FIGURE = 'figure "Outbound Contact, GVP 8.1 - MCP as the CPA Provider"'
VIRTUAL_AGENTS = 'section "Virtual Agent Support for Notifications"'


def tone_file(path: Path, hz: float, seconds: float) -> None:
    samples = (np.sin(np.arange(int(8000 * seconds)) * 2 * np.pi * hz / 8000) * 8000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())


def with_application(text: str, objects: str, mode: int, options: str = "", group_lines: str = "") -> str:
    head, _, group = text.partition("[[campaign_groups]]")
    lines = [line for line in group.splitlines() if not line.startswith("dial_mode")]
    lines += [f"dial_mode = {mode}", group_lines, "[campaign_groups.options]", options]
    return head + objects + "\n[[campaign_groups]]" + "\n".join(lines) + "\n"


@contextmanager
def running(place: Site, records: int, mode: DialMode) -> Iterator[list[str]]:
    """The site's daemon dials so many records; yields their numbers."""
    numbers = [number_for(index) for index in range(records)]
    place.add_records([(number, f"Customer {number}") for number in numbers])
    place.start_daemon()
    place.client.load(GROUP)
    place.client.start(GROUP, mode, OptimizeBy.BUSY_FACTOR, 80)
    yield numbers


def result(place: Site, number: str) -> tuple[int, str]:
    """Call result and customer_name of a record."""
    ((found, name),) = place.query("SELECT call_result, customer_name FROM {list} WHERE contact_info = %s", number)
    return int(found), str(name)


def all_finished(place: Site, count: int) -> Callable[[], bool]:
    query = "SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL"
    return lambda: int(place.query(query)[0][0]) >= count


# --- VoiceXML ---------------------------------------------------------------------------------------------------------


def report(far: FarEnd, call: FarCall) -> None:
    """What a VoiceXML document does: it speaks, tells the outcome over HTTP, and ends."""
    parameters = dict(part.partition("=")[::2] for part in call.uri.split(";")[1:])
    time.sleep(0.6)
    uri = unquote(parameters["GSW_RECORD_URI"])
    body = {"GSW_CALL_RESULT": int(CallResult.WRONG_PARTY), "customer_name": "told the dialog"}
    asked_s = time.monotonic()
    answer = httpx.post(f"{uri}?req=RecordProcessed", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    far.said.append((asked_s, call.call_id, f"POST {urlsplit(uri).path}?req=RecordProcessed", True))
    far.said.append((time.monotonic(), call.call_id, f"{answer.status_code} {answer.reason_phrase}", False))
    far.hang_up(call)


def test_given_power_gvp_when_a_person_answers_then_a_vxml_dialog_has_the_call_and_tells_its_outcome():
    """Figure "Outbound Contact, GVP 8.1 - MCP as the CPA Provider", with a VoiceXML media server by RFC 5552."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ocsd-e2e-voice-")))
        mix, ready = folder / "mix.json", folder / "ready.json"
        mix.write_text(json.dumps({"mix": {"human": 1.0}}))
        carrier = stack.enter_context(
            outside_world(
                [
                    "telephony.simworld.main", "--seed=5", f"--mix={mix}", "--ring-scale=0.2", "--talk-mean-s=60",
                    "--customer-ends-share=0", "--patience-s=12", f"--ready-file={ready}",
                    f"--wire-log={folder / 'carrier-wire.jsonl'}",
                ],
                folder / "carrier.log",
            )
        )  # fmt: skip
        port = wait_for("the simulated carrier", lambda: json_file(ready), carrier, folder / "carrier.log")[
            "carrier_port"
        ]
        server = stack.enter_context(FarEnd("VoiceXML media server", report, tone_hz=DIALOG_HZ))
        objects = (
            '[[voice_applications]]\ndbid = 1\nname = "reminder"\nurl = "http://127.0.0.1:1/reminder.vxml?day=monday"\n'
            f'media_server = "sip:127.0.0.1:{server.port}"\n'
        )
        place = stack.enter_context(
            site(port, edit=lambda text: with_application(text, objects, 11, 'voice-application = "reminder"'))
        )
        with running(place, 3, DialMode.POWER_GVP) as numbers:
            eventually("all records are finished", all_finished(place, 3))
        assert server.failures == []
        assert [result(place, number) for number in numbers] == [(int(CallResult.WRONG_PARTY), "told the dialog")] * 3
        call = next(iter(server.calls.values()))
        assert call.uri.lower().startswith(
            f"sip:dialog@127.0.0.1:{server.port};voicexml=http://127.0.0.1:1/reminder.vxml%3fday%3dmonday;gsw_record_handle="
        )
        assert call.invite.headers["x-genesys-gsw_record_handle"].isdigit()
        heard = [call.heard for call in server.calls.values()]
        assert all(len(each) > 10 for each in heard), "the customer's audio reached the dialog"
        number = next(n for n in numbers if n in call.invite.headers["x-genesys-gsw_phone"])
        ladder = Ladder(
            "Power GVP: a VoiceXML application",
            source=FIGURE,
            about="Call progress analysis finds a person; the dialog is asked for by RFC 5552, its audio bridged with "
            "the customer's. It reports the outcome by the record's handle over HTTP.",
        )
        ladder.simworld(
            folder / "carrier-wire.jsonl",
            {port: "Customer"},
            only=lambda message: message.called.lstrip("+") == number.lstrip("+"),
        )
        server.on(ladder, show=("X-Genesys-GSW_RECORD_HANDLE",), only=lambda m: m.headers["call-id"] == call.call_id)
        for at_s, call_id, label, sent in server.said:
            if call_id == call.call_id:
                ladder.say(*((server.name, "ocsd") if sent else ("ocsd", server.name)), label, at_s)
        ladder.assert_order(
            "INVITE", "200 OK (INVITE, SDP)", "ACK", "INVITE dialog (SDP)", "200 OK", "ACK", "BYE", "BYE"
        )
        ladder.keep("power-gvp-vxml")


# --- steps ------------------------------------------------------------------------------------------------------------

STEPS = """
[[voice_applications]]
dbid = 1
name = "reminder"
steps = [
    { do = "play", prompts = ["hello.wav"], barge_in = false },
    { name = "menu", do = "menu", prompts = ["menu.wav"], choices = { 1 = "yes", 2 = "agents" }, timeout_s = 4.0 },
    { do = "hang_up" },
    { name = "yes", do = "record", result = "wrong_party", fields = { customer_name = "pressed 1" }, next = "bye" },
    { name = "agents", do = "queue", attach = { REASON = "pressed 2" }, wait_s = 20.0, otherwise = "bye" },
    { name = "bye", do = "play", prompts = ["bye.wav"] },
]
"""


def person(choice: dict[str, str]) -> Callable[[FarEnd, FarCall], None]:
    """Somebody who listens to the menu, and then presses the key chosen for the number."""

    def listens(far: FarEnd, call: FarCall) -> None:
        eventually("hello", lambda: call.level(HELLO_HZ) > 0.8)
        eventually("menu", lambda: call.level(MENU_HZ) > 0.8)
        call.keys.append(choice[call.invite.called.lstrip("+")])

    return listens


def test_given_progressive_gvp_when_keys_are_pressed_then_the_record_and_an_agent_get_what_they_stand_for():
    """Figure "Outbound Contact, GVP 8.1 - MCP as the CPA Provider", with the application carried out by ocsd."""
    first, second = (number_for(index).lstrip("+") for index in range(2))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ocsd-e2e-voice-")))
        for name, hz, seconds in (("hello", HELLO_HZ, 1.0), ("menu", MENU_HZ, 3.0), ("bye", BYE_HZ, 0.8)):
            tone_file(folder / f"{name}.wav", hz, seconds)
        customer = stack.enter_context(FarEnd("Customer", person({first: "1", second: "2"})))

        def edit(text: str) -> str:
            assert "[telephony]\n" in text
            text = text.replace("[telephony]\n", f'[telephony]\nprompt_dir = "{folder}"\n', 1)
            options = 'voice-application = "reminder"\ncall_answer_type_recognition = "no_progress_detection"'
            return with_application(text, STEPS, 9, options)

        place = stack.enter_context(site(customer.port, edit=edit))
        place.start_agents(
            1, f"--wire-log={folder / 'agents-wire.jsonl'}", "--talk-mean-s=1.5", "--talk-cv=0.1", "--wrap-mean-s=0.5"
        )
        with running(place, 2, DialMode.PROGRESSIVE_GVP):
            eventually("all records are finished", all_finished(place, 2))
        assert customer.failures == []
        assert result(place, f"+{first}") == (int(CallResult.WRONG_PARTY), "pressed 1")
        assert result(place, f"+{second}")[0] == int(CallResult.ANSWER)
        paths = dict(place.query("SELECT phone, evidence->'application'->'path' FROM ocsd.attempt"))
        assert paths == {f"+{first}": ["1", "menu", "yes", "bye"], f"+{second}": ["1", "menu", "agents"]}
        told = [json.loads(line) for line in (folder / "agents-wire.jsonl").read_text().splitlines()]
        talks = [e["desktop"] for e in told if e.get("desktop", {}).get("Event") == "EventEstablished"]
        assert [talk["UserData"]["REASON"] for talk in talks] == ["pressed 2"]
        for number, name, about in (
            (first, "progressive-gvp-steps", "The person presses 1 in the menu (RFC 4733 events, not shown)."),
            (second, "progressive-gvp-queue", "The person presses 2, and is put through to an agent of the group."),
        ):
            ladder = Ladder("Progressive GVP: an application of steps", source=FIGURE, about=about)
            customer.on(ladder, only=lambda m, number=number: m.called.lstrip("+") == number)  # type: ignore[misc]
            if number == second:
                ladder.simworld(
                    folder / "agents-wire.jsonl", {place.phones_port: "Agent's phone"}, attributes=("REASON",)
                )
                ladder.assert_order(
                    "INVITE", "200 OK (INVITE, SDP)", "ACK", "INVITE", "200 OK", "EventEstablished", "BYE"
                )
            else:
                ladder.assert_order("INVITE", "180 Ringing", "200 OK (INVITE, SDP)", "ACK", "BYE", "200 OK (BYE)")
            ladder.keep(name)


# --- IVR groups -------------------------------------------------------------------------------------------------------


def ivr_port(far: FarEnd, call: FarCall) -> None:
    """A port of an IVR: it talks for a while, and ends with what it has been told."""
    time.sleep(1.0)
    far.hang_up(
        call, f"X-Genesys-GSW_CALL_RESULT: {int(CallResult.WRONG_NUMBER)}", "X-Genesys-customer_name: told%20the%20IVR"
    )


def test_given_an_ivr_group_when_its_port_hangs_up_then_the_record_has_its_user_data_and_the_port_is_free():
    """Section "Virtual Agent Support for Notifications": records are finished at release, from the call's user data."""
    with ExitStack() as stack:
        customer = stack.enter_context(FarEnd("Customer", tone_hz=HELLO_HZ))
        port = stack.enter_context(FarEnd("IVR port", ivr_port, tone_hz=DIALOG_HZ))

        def edit(text: str) -> str:
            agents = next(line for line in text.splitlines() if line.startswith("agents = "))
            text = text.replace(agents, 'ivr_group = true\nplaces = ["port1"]', 1)
            objects = f'[[places]]\ndbid = 700\nname = "port1"\ndn = "sip:port1@127.0.0.1:{port.port}"\n'
            options = 'ivr_update_on_release = true\ncall_answer_type_recognition = "no_progress_detection"'
            return with_application(text, objects, 2, options)

        place = stack.enter_context(site(customer.port, edit=edit))
        with running(place, 3, DialMode.PROGRESSIVE) as numbers:
            eventually("all records are finished", all_finished(place, 3))
        assert customer.failures == port.failures == []
        assert [result(place, number) for number in numbers] == [(int(CallResult.WRONG_NUMBER), "told the IVR")] * 3
        assert len(port.calls) == 3, "one after the other, at the only port"
        assert all(call.level(DIALOG_HZ) > 0.8 for call in customer.calls.values()), "the customers heard the port"
        assert all(call.level(HELLO_HZ) > 0.8 for call in port.calls.values()), "the port heard the customers"
        call = next(iter(customer.calls.values()))
        at_port = next(iter(port.calls.values()))
        ladder = Ladder(
            "An IVR port as a virtual agent",
            source=VIRTUAL_AGENTS,
            about="The port ends the call; its user data are written to the record (ivr_update_on_release).",
        )
        customer.on(ladder, only=lambda m: m.headers["call-id"] == call.call_id)
        port.on(ladder, show=("X-Genesys-GSW_CALL_RESULT",), only=lambda m: m.headers["call-id"] == at_port.call_id)
        ladder.assert_order(
            "INVITE", "200 OK (INVITE, SDP)", "INVITE port1 (SDP)", "200 OK (INVITE, SDP)", "BYE", "BYE"
        )
        ladder.keep("ivr-group-port")
