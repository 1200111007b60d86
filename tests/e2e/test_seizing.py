"""Progressive and Seize over real SIP and RTP: agents on the line before anybody is found, and after a restart."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ocsd.demo.processes import json_file, wait_for
from ocsd.model.enums import CallResult, DialMode, GroupCampStatus, OptimizeBy
from telephony.simworld.numbers import number_for
from tests.e2e.site import GROUP, Site, eventually, outside_world, site
from tests.ladder import Ladder, SipText

pytestmark = pytest.mark.e2e

AGENTS = 3
NAILED_UP = "agent3"
TALK_S = 2.5
BRIDGE_LIMIT_S = 0.25
"""Median from the verdict to the bridge; the same with a phone to be called takes longer than the phone rings."""


@dataclass
class World:
    site: Site
    folder: Path
    carrier_port: int
    added: int = 0

    def add(self, count: int) -> list[str]:
        """So many more people to call."""
        numbers = [number_for(index) for index in range(self.added, self.added + count)]
        self.site.add_records([(number, f"Customer {number}") for number in numbers])
        self.added += count
        return numbers

    def figure(self, name: str) -> float:
        return float(self.site.statistics().get(name) or 0)

    def ids(self, condition: str, *values: object) -> set[int]:
        """Attempts that meet the condition."""
        rows = self.site.query(f"SELECT attempt_id FROM ocsd.attempt WHERE {condition}", *values)
        return {row[0] for row in rows}

    def times_called(self) -> Counter[str]:
        """Calls that have reached the carrier, by number; an INVITE that is sent again is the same call."""
        calls = set()
        for line in (self.folder / "carrier-wire.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if "sip" in entry and entry["at"] == "in":
                message = SipText.parse(entry["sip"])
                if not message.status and message.method == "INVITE":
                    calls.add((message.called, message.headers["call-id"]))
        return Counter(number for number, _ in calls)

    def events(self) -> list[dict[str, Any]]:
        """What the desktops were told, in order, with the agent's name."""
        found = []
        for line in (self.folder / "agents-wire.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if "desktop" in entry and entry["at"] == "in":
                found.append(entry["desktop"] | {"agent": entry["agent"], "at_s": entry["at_s"]})
        return found

    def agents_heard(self) -> int:
        """Customers who have heard an agent, as they tell when their calls are over."""
        told = map(json.loads, (self.folder / "truth.jsonl").read_text().splitlines())
        return sum(bool(truth.get("agent_heard")) for truth in told)

    def phone_messages(self, method: str) -> list[SipText]:
        """Requests that the phones have received."""
        found = []
        for line in (self.folder / "agents-wire.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if "sip" in entry and entry["at"] == "in":
                message = SipText.parse(entry["sip"])
                if not message.status and message.method == method:
                    found.append(message)
        return found


def seizing(text: str) -> str:
    options = "record_processed = true, stale_clean_timeout = 5"
    assert options in text
    text = text.replace(options, f"{options}, call_wait_connected_timeout = 15, max_overdial_rate = 50")
    assert "media_servers = 1" in text
    text = text.replace("media_servers = 1", "media_servers = 2")  # some of those who are merged are not at one server
    name = f'login_id = "{NAILED_UP}"'
    assert name in text
    return text.replace(name, f'{name}\nphone = {{ nailed_up = true, auto_answer = "answer-mode" }}')


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="ocsd-e2e-seizing-")))
        mix, ready = folder / "mix.json", folder / "ready.json"
        mix.write_text(json.dumps({"mix": {"human": 1.0}}))
        carrier = stack.enter_context(
            outside_world(
                [
                    "telephony.simworld.main", "--seed=11", f"--mix={mix}", "--ring-scale=0.2", "--talk-mean-s=60",
                    "--customer-ends-share=0", "--patience-s=12", f"--ready-file={ready}",
                    f"--wire-log={folder / 'carrier-wire.jsonl'}",
                    f"--truth={folder / 'truth.jsonl'}",
                ],
                folder / "carrier.log",
            )
        )  # fmt: skip
        port = wait_for("the simulated carrier", lambda: json_file(ready), carrier, folder / "carrier.log")[
            "carrier_port"
        ]
        place = stack.enter_context(site(port, agents=AGENTS, edit=seizing))
        world = World(place, folder, port)
        world.add(12)
        place.start_daemon()
        place.start_agents(
            AGENTS,
            f"--wire-log={folder / 'agents-wire.jsonl'}",
            f"--talk-mean-s={TALK_S}",
            "--talk-cv=0.1",
            "--wrap-mean-s=0.5",
        )
        place.client.load(GROUP)
        eventually("all agents are ready", lambda: world.figure("agents_ready") == AGENTS)
        place.client.start(GROUP, DialMode.PROGRESSIVE_AND_SEIZE)
        yield world


def test_given_asm_mode_when_people_answer_then_their_agents_are_on_the_line_before_they_are_found(here):
    """Figure "ASM-Mode Call Flow (MCP as the CPA Provider) with a SIP Agent Endpoint"."""
    finished = "SELECT count(*) FROM ocsd.attempt WHERE connected_at IS NOT NULL AND finished_at IS NOT NULL"
    eventually("three conversations are over", lambda: here.site.query(finished)[0][0] >= 3)
    waits = [
        float(row[0])
        for row in here.site.query(
            "SELECT EXTRACT(EPOCH FROM connected_at - cpd_completed_at) FROM ocsd.attempt"
            " WHERE connected_at IS NOT NULL AND cpd_completed_at IS NOT NULL"
        )
    ]
    print(
        f"verdict to bridge: median {median(waits) * 1000:.1f} ms, longest {max(waits) * 1000:.1f} ms of {len(waits)}"
    )
    assert median(waits) < BRIDGE_LIMIT_S
    told = here.events()
    regular = [
        m for m in told if m.get("Event") == "EventEstablished" and m["UserData"].get("GSW_CALL_TYPE") == "REGULAR"
    ]
    engaged = {m["ConnID"] for m in told if m.get("Event") == "EventEstablished"} - {m["ConnID"] for m in regular}
    assert len(regular) >= 3
    assert {m["PreviousConnID"] for m in regular} <= engaged, "each was merged with an engaging call that was up"
    assert all("GSW_ASM_OVERDIAL" not in m["UserData"] for m in regular)
    nailed = [m for m in here.phone_messages("INVITE") if m.called == "1003" and "s=" in m.body]
    assert len({m.headers["call-id"] for m in nailed}) == 1, "the nailed-up phone was called once"
    assert nailed[0].headers["answer-mode"] == "Auto"
    assert not any(m.called == "1003" for m in here.phone_messages("BYE"))
    moved = {m.headers["call-id"] for m in here.phone_messages("INVITE") if "tag=" in m.headers["to"]}
    print(f"{len(moved)} engaged legs were moved to the customer's media server")
    first = next(m for m in sorted(regular, key=lambda m: m["at_s"]) if m["agent"] != NAILED_UP)
    number, extension = first["OtherDN"], first["ThisDN"].partition(":")[2].partition("@")[0]
    ladder = Ladder(
        "Progressive and Seize: merge by bridging",
        source='figure "ASM-Mode Call Flow (MCP as the CPA Provider) with a SIP Agent Endpoint"',
        about="The agent is engaged first and held in quiet; the customer is dialed then, and merged with the engaging "
        "call by a bridge in the media server. No phone rings after the answer. A re-INVITE to the phone, if there is "
        "one, moves its audio to the customer's media server.",
    )
    ladder.simworld(
        here.folder / "carrier-wire.jsonl",
        {here.carrier_port: "Customer"},
        only=lambda message: message.called.lstrip("+") == number.lstrip("+"),
        agents=(),
    )
    before_s = min((step.at_s for step in ladder.steps), default=0.0)
    assert before_s > 0.0
    ladder.simworld(
        here.folder / "agents-wire.jsonl",
        {here.site.phones_port: "Agent's phone"},
        only=_first_calls(extension, 1),
        agents=(),
    )
    mine = (first["ConnID"], first["PreviousConnID"])
    for message in told:
        if message["agent"] == first["agent"] and message.get("ConnID") in mine:
            ladder.desktop(message["at_s"], first["agent"], message, False, ("GSW_CALL_TYPE",))
    ladder.assert_order("INVITE 10", "200 OK (INVITE, SDP)", "EventEstablished<br/>GSW_CALL_TYPE = ENGAGING")
    ladder.assert_order(
        "EventEstablished<br/>GSW_CALL_TYPE = ENGAGING",
        "INVITE",
        "200 OK",
        "EventEstablished<br/>GSW_CALL_TYPE = REGULAR",
    )
    ladder.keep("progressive-seize-bridging")


def _first_calls(extension: str, count: int) -> Any:
    """Messages of the first calls to a phone."""
    known: list[str] = []

    def chosen(message: SipText) -> bool:
        call_id = message.headers.get("call-id", "")
        if message.called == extension and call_id not in known and len(known) < count:
            known.append(call_id)
        return call_id in known

    return chosen


def test_given_engaged_and_talking_agents_when_the_daemon_is_killed_then_their_phones_stay_up(here):
    here.add(20)
    here.site.client.set_mode(GROUP, DialMode.PREDICTIVE_AND_SEIZE, OptimizeBy.OVERDIAL_RATE, 3)
    eventually("a conversation", lambda: here.figure("agents_talking") >= 1)
    eventually("the nailed-up phone is up", lambda: here.figure("agents_engaged") >= 2)
    engaged = here.figure("agents_engaged")
    byes = len(here.phone_messages("BYE"))
    here.site.kill_daemon()
    with_agents = here.ids("connected_at IS NOT NULL AND finished_at IS NULL")
    begun = here.ids("true")
    killed_s = time.monotonic()
    here.site.start_daemon()
    print(f"the daemon was back after {time.monotonic() - killed_s:.1f} s")
    assert len(here.phone_messages("BYE")) == byes, "nobody was hung up on"
    assert (
        here.site.log_text().count('"standing_leg.adopted"') + here.site.log_text().count('"attempt.adopted"')
        >= engaged
    )
    finished = "SELECT count(*) FROM ocsd.attempt WHERE finished_at IS NOT NULL AND connected_at IS NOT NULL"
    before = here.site.query(finished)[0][0]
    eventually("conversations after the restart", lambda: here.site.query(finished)[0][0] >= before + 2)
    here.site.client.complete(GROUP)
    eventually(
        "the group is unloaded",
        lambda: here.site.client.status(GROUP)["GSW_CM_AttrGroupCampStatus"] == GroupCampStatus.NOT_LOADED,
    )
    print(dict(here.site.query("SELECT call_result, count(*) FROM ocsd.attempt GROUP BY call_result")))
    connected = here.ids("connected_at IS NOT NULL")
    assert len(connected) >= 5
    assert with_agents <= connected
    assert connected <= here.ids("call_result = %s", CallResult.ANSWER), "whoever had an agent has had a conversation"
    # How many people find nobody depends on how long the daemon was away, and on how many were overdialed. Unknown is
    # only who was about to be dialed when the group was told to stop; Stale only who was when the daemon was killed.
    lost = {CallResult.DROPPED, CallResult.ABANDONED, CallResult.REMOTE_RELEASE, CallResult.UNKNOWN, CallResult.STALE}
    others = here.site.query("SELECT DISTINCT call_result FROM ocsd.attempt WHERE connected_at IS NULL")
    assert {row[0] for row in others} <= set(map(int, lost))
    not_dialed = here.ids("evidence ->> 'not_dialed' IS NOT NULL AND sip_status IS NULL AND answered_at IS NULL")
    assert here.ids("call_result = %s", CallResult.UNKNOWN) <= not_dialed
    assert here.ids("call_result = %s", CallResult.STALE) <= begun
    eventually("whoever was merged has heard the agent", lambda: here.agents_heard() >= len(connected))
    twice = [number for number, calls in here.times_called().items() if calls > 1]
    assert twice == [], "nobody was dialed twice"
