"""The carrier and the phones over real UDP: by our own caller (with audio), and by SIPp.

Files and media legs raise no events, so tests that wait for them look again every tick, within a generous limit.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from telephony.simworld import idtone, sound
from telephony.simworld.carrier import Carrier
from telephony.simworld.endpoint import Clockwork, bind_sip, token_source
from telephony.simworld.main import main, parser
from telephony.simworld.media import MediaEngine
from telephony.simworld.phones import Phones
from telephony.simworld.plan import MIXES, Behaviour, parse_script
from telephony.simworld.sip import Uas
from telephony.simworld.truth import TruthLog
from tests.telephony.simworld_uac import Caller, audio_port_of, header_of, offer, status_of, to_tag_of

LIMIT_S = 60
SCRIPT = {
    "numbers": [
        {"digits": "12125552000", "class": "human", "post_dial_s": 0.02, "ring_s": 0.1, "early": "", "patience_s": 30.0,
         "talk_s": 2.5, "answer": "silence:100 clip:human_00", "greeting_end_s": 0.57},
        {"digits": "12125552001", "class": "sit_vc", "post_dial_s": 0.02, "ring_s": 1.5},
        {"digits": "12125552002", "class": "no_answer", "post_dial_s": 0.02, "early": ""},
        {"digits": "12125552003", "class": "busy_sip", "post_dial_s": 0.02},
        {"digits": "12125552004", "class": "human", "post_dial_s": 0.02, "ring_s": 0.1, "early": ""},
    ]
}  # fmt: skip


class World:
    """Carrier and two phones on free ports, and a caller's socket and media engine beside them."""

    def __init__(self, tmp_path, max_calls=50):
        self.tmp_path, self.max_calls = tmp_path, max_calls

    async def __aenter__(self):
        self.logs = [TruthLog(self.tmp_path / name) for name in ("carrier.jsonl", "phones.jsonl")]
        self.engine, self.far_engine = MediaEngine("127.0.0.1", 64), MediaEngine("127.0.0.1", 64)
        carrier_socket, phone_socket = await bind_sip("127.0.0.1", 0), await bind_sip("127.0.0.1", 0)
        self.carrier = Carrier(
            Uas("127.0.0.1", carrier_socket.port, token_source()), self.engine, 1, MIXES["demo"], Behaviour(),
            self.logs[0], parse_script(SCRIPT), self.max_calls,
        )  # fmt: skip
        self.phones = Phones(
            Uas("127.0.0.1", phone_socket.port, token_source()),
            self.engine,
            frozenset({"1001", "1002"}),
            1,
            self.logs[1],
        )
        parts = [(carrier_socket, self.carrier), (phone_socket, self.phones)]
        self.clockwork = Clockwork(self.engine, parts)
        self.far_clockwork = Clockwork(self.far_engine, [])
        self.socket = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await self.socket.bind(("127.0.0.1", 0))
        self.sockets = [carrier_socket, phone_socket, self.socket]
        self.ports = {"carrier": carrier_socket.port, "phones": phone_socket.port}
        self.nursery_manager = trio.open_nursery()
        self.nursery = await self.nursery_manager.__aenter__()
        for sip_socket, application in parts:
            self.nursery.start_soon(sip_socket.serve, application)
        self.nursery.start_soon(self.clockwork.run)
        self.nursery.start_soon(self.far_clockwork.run)
        return self

    async def __aexit__(self, *exc):
        self.nursery.cancel_scope.cancel()
        await self.nursery_manager.__aexit__(*exc)
        for engine in (self.engine, self.far_engine):
            engine.close()
        for sip_socket in self.sockets:
            sip_socket.close()
        for log in self.logs:
            log.close()

    def caller(self, number, part="carrier"):
        port = self.socket.getsockname()[1]
        return Caller(number, port=port, target=f"127.0.0.1:{self.ports[part]}")

    async def send(self, data, part="carrier"):
        await self.socket.sendto(data, ("127.0.0.1", self.ports[part]))

    async def receive(self):
        data, _ = await self.socket.recvfrom(65_535)
        return data

    async def final(self):
        """The first message that is no provisional response, and the statuses before it."""
        before = []
        while True:
            data = await self.receive()
            if data.startswith(b"SIP/2.0") and status_of(data) < 200:
                before.append(status_of(data))
            else:
                return data, before

    async def connect(self, number, code, part="carrier"):
        """INVITE with our own media; the caller, its leg and the 200."""
        caller, leg = self.caller(number, part), self.far_engine.open_leg()
        await self.send(caller.invite(body=offer(leg.port)), part)
        ok, before = await self.final()
        assert status_of(ok) == 200, ok
        caller.to_tag = to_tag_of(ok)
        leg.remote, leg.code, leg.sending = ("127.0.0.1", audio_port_of(ok)), code, code is not None
        await self.send(caller.ack_2xx(), part)
        return caller, leg, before

    async def lines(self, name, count):
        """So many finished lines of a log."""
        path = self.tmp_path / name
        while len(lines := path.read_text().splitlines()) < count:  # noqa: ASYNC110 - see the top of the file
            await trio.sleep(0.02)
        return [json.loads(line) for line in lines]


async def test_given_a_person_when_an_agent_speaks_then_both_codes_are_heard_and_the_person_ends_the_talk(tmp_path):
    agent_code = idtone.agent_code("1001")
    with trio.fail_after(LIMIT_S):
        async with World(tmp_path) as world:
            _, leg, before = await world.connect("+12125552000", agent_code)
            assert before == [100, 180]
            leg.play(sound.render("|clip:agent_00 silence:500"))
            bye = await world.receive()
            assert bye.startswith(b"BYE ")
            await world.send(b"SIP/2.0 200 OK\r\n" + bye.split(b"\r\n", 1)[1])
            (line,) = await world.lines("carrier.jsonl", 1)
            world.far_engine.close_leg(leg)
    assert (line["class"], line["decided_by"], line["ended_by"], line["why"]) == ("human", "cpa", "callee", "talk_over")
    assert set(line["heard_codes"]) == {str(agent_code)}
    assert line["agent_heard"]
    assert not line["announcement_heard"]
    assert line["spoken_to_after_s"] < 1.0
    assert set(leg.heard_codes) == {idtone.customer_code("12125552000")} == {line["own_code"]}
    assert line["answered_at_s"] < line["greeting_ended_at_s"] <= line["talk_began_at_s"] < line["ended_at_s"]


async def test_given_a_person_when_only_an_announcement_is_played_then_the_truth_says_so(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with World(tmp_path) as world:
            caller, leg, _ = await world.connect("+12125552000", None)
            leg.sending = True
            leg.play(sound.render("silence:1000 clip:wait_00"))
            while leg.playing:  # noqa: ASYNC110 - see the top of the file
                await trio.sleep(0.02)
            await world.send(caller.bye())
            ok = await world.receive()
            assert (status_of(ok), header_of(ok, "CSeq")) == (200, "2 BYE")
            (line,) = await world.lines("carrier.jsonl", 1)
    assert line["announcement_heard"]
    assert not line["agent_heard"]
    assert (line["ended_by"], line["why"]) == ("caller", "bye")
    assert line["heard_sound_s"] > 1.0


async def test_given_early_media_when_it_fails_then_183_carries_sdp_and_status_and_cause_follow(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with World(tmp_path) as world:
            caller, leg = world.caller("12125552001"), world.far_engine.open_leg()
            await world.send(caller.invite(body=offer(leg.port)))
            assert status_of(await world.receive()) == 100
            progress = await world.receive()
            assert status_of(progress) == 183
            assert audio_port_of(progress) % 2 == 0
            refusal, _ = await world.final()
            await world.send(caller.ack_failure(to_tag_of(refusal)))
            assert (status_of(refusal), header_of(refusal, "Reason")) == (404, "Q.850;cause=1")
            heard = world.far_engine.heard(leg)
            assert heard.first_loud_s is not None
            assert heard.loud_s > 0.8
            (line,) = await world.lines("carrier.jsonl", 1)
    assert (line["class"], line["sip_status"], line["q850_cause"]) == ("sit_vc", 404, 1)
    assert line["packets_out"] >= 50


async def test_given_a_phone_when_called_then_it_answers_talks_and_hears_the_customer(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with World(tmp_path) as world:
            caller, leg, before = await world.connect("1001", 80, "phones")
            assert before == [100, 180]
            second = world.caller("1001", "phones")
            await world.send(second.invite(), "phones")
            busy, _ = await world.final()
            await world.send(second.ack_failure(to_tag_of(busy)), "phones")
            stranger = world.caller("2000", "phones")
            await world.send(stranger.invite(), "phones")
            unknown, _ = await world.final()
            await world.send(stranger.ack_failure(to_tag_of(unknown)), "phones")
            assert (status_of(busy), status_of(unknown)) == (486, 404)
            while not leg.heard_codes:  # noqa: ASYNC110 - see the top of the file
                await trio.sleep(0.02)
            await world.send(caller.bye(), "phones")
            assert status_of(await world.receive()) == 200
            (line,) = await world.lines("phones.jsonl", 1)
    assert (line["extension"], line["own_code"], line["customer_code"]) == ("1001", idtone.agent_code("1001"), 80)
    assert set(leg.heard_codes) == {idtone.agent_code("1001")}
    assert (line["ended_by"], line["why"]) == ("caller", "bye")


async def test_given_a_full_trunk_group_when_dialed_then_503_and_no_circuit(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with World(tmp_path, max_calls=1) as world:
            await world.connect("12125552000", None)
            caller = world.caller("12125552004")
            await world.send(caller.invite())
            refusal, _ = await world.final()
            await world.send(caller.ack_failure(to_tag_of(refusal)))
            assert (status_of(refusal), header_of(refusal, "Reason")) == (503, "Q.850;cause=34")
            (line,) = await world.lines("carrier.jsonl", 1)
    assert line["class"] == "trunk_full"


async def test_given_live_calls_when_the_world_stops_then_byes_go_out_and_the_truth_is_complete(tmp_path):
    with trio.fail_after(LIMIT_S):
        async with World(tmp_path) as world:
            await world.connect("12125552000", None)
            await world.connect("1002", None, "phones")
            ringing = world.caller("12125552002")
            await world.send(ringing.invite())
            assert status_of(await world.receive()) == 100
            assert status_of(await world.receive()) == 180
            world.nursery.start_soon(world.clockwork.wind_down)
            starts = set()
            while len(starts) < 3:
                data = await world.receive()
                starts.add(header_of(data, "Call-ID"))
                if data.startswith(b"BYE "):
                    via_port = int(header_of(data, "Via").split(":")[1].split(";")[0])
                    reply = b"SIP/2.0 200 OK\r\n" + data.split(b"\r\n", 1)[1]
                    await world.socket.sendto(reply, ("127.0.0.1", via_port))
                else:
                    assert status_of(data) == 503
            lines = await world.lines("carrier.jsonl", 2) + await world.lines("phones.jsonl", 1)
    assert {line["why"] for line in lines} == {"stop"}


# --- the command, by SIPp ----------------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path):
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    ready, truth = tmp_path / "ready.json", tmp_path / "truth.jsonl"
    command = [sys.executable, "-m", "telephony.simworld.main", "--agents", "2", "--truth", str(truth)]
    command += ["--script", str(tmp_path / "script.json"), "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        deadline_s = time.monotonic() + LIMIT_S
        while not ready.exists() and child.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)  # another process: there is nothing to wait on but the file
        child.ports = json.loads(ready.read_text())
        child.truth = truth
        yield child
        if child.poll() is None:
            child.kill()


SIPP = pytest.mark.skipif(shutil.which("sipp") is None, reason="needs SIPp (Debian package sip-tester)")


@SIPP
def test_given_the_command_when_sipp_calls_then_answer_busy_and_cancel_go_as_the_scenarios_say(process, tmp_path):
    folder = Path(__file__).parent / "sipp_uac"
    for scenario, number in (("answer_bye", "12125552004"), ("refused_486", "12125552003"), ("cancel", "12125552002")):
        command = ["sipp", f"127.0.0.1:{process.ports['carrier_port']}", "-sf", str(folder / f"{scenario}.xml")]
        command += ["-s", number, "-m", "3", "-r", "20", "-i", "127.0.0.1", "-p", "0", "-nostdin"]
        command += ["-timeout", "30s", "-timeout_error"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (0, "")
    summary = json.loads(out)
    assert summary["calls_by_class"] == {"busy_sip": 3, "human": 3, "no_answer": 3}
    lines = [json.loads(line) for line in process.truth.read_text().splitlines()]
    assert [line["sip_status"] for line in lines] == [200] * 3 + [486] * 3 + [487] * 3
    assert sorted(line["attempt"] for line in lines[:3]) == [1, 2, 3]


def test_given_wrong_options_or_files_when_started_then_the_exit_code_says_so(tmp_path, capsys):
    assert main(["--mix", "no such mix"]) == 2
    (tmp_path / "mix.toml").write_text("[mix]\nrobot = 1\n")
    assert main(["--mix", str(tmp_path / "mix.toml")]) == 2
    assert "hangup_early" in capsys.readouterr().err
    assert main(["--agents", "1", "--desktop-url", "http://x"]) == 2
    for wrong in (["--no-carrier"], ["--desktop-url", "ws://x"], ["--ring-scale", "0"], ["--agents", "-1"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
    assert parser().parse_args(["--seed", "7"]).seed == 7


def test_given_a_port_in_use_when_started_then_it_says_so(process, capsys):
    assert main(["--carrier-port", str(process.ports["carrier_port"])]) == 1
    assert "in use" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert json.loads(out)["skipped_ticks"] >= 0
