"""A site for tests of the records engine: scripted numbers behind the simulated carrier, agents driven by the test.

One daemon, one database and one table; each mechanism has a campaign group and lists of its own, so that tests share
the site and not their records: a list takes the rows whose column ``batch`` is its name.
"""

import json
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from psycopg import sql

from ocsd.demo.processes import json_file, wait_for
from ocsd.demo.world import CALLING_LIST
from ocsd.model.enums import DialMode, GroupCampStatus
from telephony.simworld.numbers import number_for
from tests.e2e.campaign import Truth, json_lines
from tests.e2e.site import GROUP, PATIENCE_S, Site, eventually, outside_world, site
from tests.e2e.wire import DesktopSocket

APPLICATION: Final = 101
ZONE: Final = "America/New_York"
"""Of every record: the list's own, as no row names another."""

AGENTS: Final = ("agent1", "agent2")
LATER_AGENT: Final = "agent3"
"""Of the one group that dials beside the others."""

TREATED, NEVER, CAPPED, CALLBACK, FILTERED, UNLOADED, LATER = GROUP, 410, 420, 430, 440, 450, 460
"""Campaign groups."""
NAMES: Final = {
    TREATED: "Demo", NEVER: "never", CAPPED: "capped", CALLBACK: "callback", FILTERED: "filtered",
    UNLOADED: "unloaded", LATER: "later",
}  # fmt: skip
"""Their campaigns, and the lists of those, but for the demo's own."""
ALSO_CAPPED: Final = "also capped"

MESSAGE_S: Final = 2.0
"""Length of the prompt that answering machines hear."""

TREATMENTS: Final = """
[[treatments]]
dbid = 1
name = "redial"
call_result = "busy"
number = 1
record_action = "redial"
cycle_attempts = 1

[[treatments]]
dbid = 2
name = "then update"
call_result = "busy"
number = 2
record_action = "update_record"

[[treatments]]
dbid = 3
name = "next number"
call_result = "no_answer"
record_action = "next_in_chain"
cycle_attempts = 1

[[treatments]]
dbid = 4
name = "message"
call_result = "answering_machine"
record_action = "update_record"
call_action = "play_message"
message = "hello.wav"

[[treatments]]
dbid = 5
name = "note it"
call_result = "sit_invalid_num"
record_action = "execute_sql"
sql = "INSERT INTO public.wrong_number VALUES (%(contact_info)s, %(record_id)s, %(call_result)s)"

[[treatments]]
dbid = 6
name = "tell it"
call_result = "remote_release"
record_action = "send_http"
url = "{url}"

[[treatments]]
dbid = 7
name = "redial in a minute"
call_result = "busy"
record_action = "redial"
cycle_attempts = 1
interval_min = 1

[[treatments]]
dbid = 8
name = "missed"
call_result = "agent_callback_error"
record_action = "mark_as_agent_error"

[[attempt_caps]]
dbid = 1
name = "once a day"
max_attempts = 1
period_h = 24
per = "phone"

[[agent_groups]]
dbid = 235
name = "Later Agents"
agents = ["agent3"]
"""


# --- what numbers do --------------------------------------------------------------------------------------------------


class Numbers:
    """Hands out numbers, and collects what the simulated carrier is to do with them."""

    def __init__(self) -> None:
        self.script: list[dict[str, Any]] = []

    def new(self, kind: str, **plan: Any) -> str:
        """A number of this class; ``plan`` as in the carrier's script."""
        number = number_for(len(self.script), ("312",))
        self.script.append({"digits": number, "class": kind, "post_dial_s": 0.1, "early": ""} | plan)
        return number

    def busy(self, ring_s: float = 0.5) -> str:
        return self.new("busy_sip", ring_s=ring_s)

    def unanswered(self, ring_s: float = 0.5) -> str:
        """Rings, and then the network gives up."""
        return self.new("no_answer", ring_s=ring_s)

    def ringing(self) -> str:
        """Rings until the caller gives up."""
        return self.new("no_answer")

    def person(self, talk_s: float) -> str:
        """Somebody who takes leave ``talk_s`` after the first word of the other side."""
        return self.new(
            "human", ring_s=0.5, answer="silence:300 clip:human_05", greeting_end_s=2.11, talk_s=talk_s, patience_s=12.0
        )

    def machine(self) -> str:
        return self.new(
            "machine", ring_s=0.5, answer="silence:300 clip:machine_02 silence:500 tone:beep", greeting_end_s=4.92,
            hang_up_s=30.0,
        )  # fmt: skip


# --- the configuration ------------------------------------------------------------------------------------------------


def configuration(text: str, prompts: Path, url: str) -> str:
    """The demo's configuration with a campaign group per mechanism."""

    def replaced(old: str, new: str) -> None:
        nonlocal text
        assert text.count(old) == 1, old
        text = text.replace(old, new)

    replaced(
        "options = { record_processed = true",
        "options = { call_wait_connected_timeout = 60, progressive_dial_factor = 10, predictive_callback = false,"
        " record_processed = true",
    )
    replaced("[telephony]\n", f'[telephony]\nprompt_dir = "{prompts}"\n')
    replaced('agents = ["agent1", "agent2", "agent3"]', 'agents = ["agent1", "agent2"]')
    replaced("fields = [{ name", 'fields = [{ name = "batch" }, { name = "segment" }, { name')
    replaced(
        f'name = "{CALLING_LIST}"\n',
        f'name = "{CALLING_LIST}"\nfilter = "Demo"\n'
        'treatments = ["redial", "then update", "next number", "message", "note it", "tell it"]\n',
    )
    text += TREATMENTS.replace("{url}", url) + filter_text(TREATED, NAMES[TREATED])
    text += _list(CAPPED + 1, ALSO_CAPPED, 'attempt_caps = ["once a day"]')
    for dbid, of_list in (
        (NEVER, ""),
        (CAPPED, 'attempt_caps = ["once a day"]'),
        (CALLBACK, 'treatments = ["missed"]'),
        (FILTERED, ""),
        (UNLOADED, ""),
        (LATER, 'treatments = ["redial in a minute"]'),
    ):
        name = NAMES[dbid]
        lists = [name, ALSO_CAPPED] if dbid == CAPPED else [name]
        text += (
            _list(dbid, name, of_list)
            + f"""
            [[campaigns]]
            dbid = {dbid}
            name = "{name}"
            tenant = "Environment"
            lists = [{", ".join(f'{{ calling_list = "{found}" }}' for found in lists)}]

            [[campaign_groups]]
            dbid = {dbid}
            name = "{name}@agents"
            campaign = "{name}"
            group = "{"Later" if dbid == LATER else "Demo"} Agents"
            trunks = ["Simulated Carrier"]
            num_of_channels = {2 if dbid == UNLOADED else 10}
            {"options = { call_wait_connected_timeout = 180 }" if dbid == CAPPED else ""}
            """
        )
    return text


def filter_text(dbid: int, batch: str, segment: str = "") -> str:
    more = f" AND segment = '{segment}'" if segment else ""
    return f'\n[[filters]]\ndbid = {dbid}\nname = "{batch}"\ncriteria = "batch = \'{batch}\'{more}"\n'


def _list(dbid: int, name: str, more: str) -> str:
    return (
        filter_text(dbid, name)
        + f"""
        [[calling_lists]]
        dbid = {dbid}
        name = "{name}"
        table_access = "Demo Table"
        filter = "{name}"
        time_zone = "EST"
        daily_from = 0
        daily_till = 86400
        {more}
        """
    )


def write_message(folder: Path) -> None:
    """The prompt ``hello.wav``: a tone, so that every frame of it is loud."""
    folder.mkdir()
    t = np.arange(round(MESSAGE_S * 8000)) / 8000
    with wave.open(str(folder / "hello.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((8000 * np.sin(2 * np.pi * 700 * t)).astype("<i2").tobytes())


# --- desktops ---------------------------------------------------------------------------------------------------------


class Desk:
    """One agent's desktop. What comes is read whenever somebody waits for anything (`World.until`)."""

    def __init__(self, world: "World", agent_id: str) -> None:
        self.agent_id = agent_id
        self.unread: list[dict[str, Any]] = []
        self.data: dict[str, Any] = {}
        """What was last said of a record on this desk."""
        self.conn_id = ""
        self.socket = DesktopSocket(world.site.desktop_port)
        self._world = world
        self._reference = 0

    def pump(self) -> None:
        while (message := self.socket.poll()) is not None:
            self.unread.append(message)

    def expect(self, **wanted: Any) -> dict[str, Any]:
        """The oldest unread message with these values; it counts as read then, others do not."""

        def found() -> dict[str, Any] | None:
            for place, message in enumerate(self.unread):
                if all(message.get(key) == value for key, value in wanted.items()):
                    return self.unread.pop(place)
                assert message.get("Event") != "EventError", message
                assert message.get("GSW_USER_EVENT") != "Error", message
            return None

        return dict(self._world.until(f"{self.agent_id} is told {wanted}", found))

    def agent(self, request: str, event: str, **pairs: Any) -> dict[str, Any]:
        """A request about the agent or a call, and its answer."""
        self._reference += 1
        self.socket.send({"Request": request, "ReferenceID": self._reference} | pairs)
        return self.expect(Event=event, ReferenceID=self._reference)

    def log_in(self) -> None:
        self.agent("RequestAgentLogin", "EventAgentLogin", AgentID=self.agent_id)

    def ready(self) -> None:
        self.agent("RequestAgentReady", "EventAgentReady")

    def not_ready(self) -> None:
        self.agent("RequestAgentNotReady", "EventAgentNotReady")

    def log_out(self) -> None:
        self.agent("RequestAgentLogout", "EventAgentLogout")

    def established(self) -> dict[str, Any]:
        """The call that has come; its attached data."""
        event = self.expect(Event="EventEstablished")
        self.data, self.conn_id = event["UserData"], event["ConnID"]
        return self.data

    def hang_up(self) -> None:
        self.socket.send({"Request": "RequestReleaseCall", "ConnID": self.conn_id})
        self.expect(Event="EventReleased", ConnID=self.conn_id)

    def scheduled(self) -> dict[str, Any]:
        """The callback that has come."""
        self.data = self.expect(GSW_USER_EVENT="ScheduledCall")
        return self.data

    def record(self, request: str, data: dict[str, Any], **pairs: Any) -> dict[str, Any]:
        """A request about the record of a call's attached data or a ScheduledCall, and its acknowledgement."""
        self._reference += 1
        named = ("GSW_APPLICATION_ID", "GSW_CAMPAIGN_NAME", "GSW_CALLING_LIST", "GSW_RECORD_HANDLE")
        self.socket.send(
            {"GSW_AGENT_REQ_TYPE": request, "GSW_REFERENCE_ID": self._reference}
            | {key: data[key] for key in named}
            | pairs
        )
        event = request.removeprefix("Request") + "Acknowledge"
        return self.expect(GSW_USER_EVENT=event, GSW_REFERENCE_ID=self._reference)


# --- the world --------------------------------------------------------------------------------------------------------


@dataclass
class World:
    """``numbers`` must be complete before `world` starts the carrier."""

    site: Site
    folder: Path
    desks: dict[str, Desk] = field(default_factory=dict)

    # --- waiting ------------------------------------------------------------------------------------------------

    def until(self, what: str, check: Callable[[], Any], limit_s: float = PATIENCE_S) -> Any:
        """Poll until ``check`` returns something true; meanwhile every desktop is read."""

        def look() -> Any:
            for desk in self.desks.values():
                desk.pump()
            return check()

        return eventually(what, look, limit_s)

    # --- records ------------------------------------------------------------------------------------------------

    def add(self, batch: str, *chains: Sequence[str], **columns: Any) -> None:
        """Rows as another system would insert them: chains of numbers, in their order."""
        names, values = ["batch", *columns], [batch, *columns.values()]
        with psycopg.connect(self.site.dsn, autocommit=True) as conn:
            for numbers in chains:
                row = conn.execute("SELECT nextval(pg_get_serial_sequence('demo_list', 'chain_id'))").fetchone()
                assert row is not None
                for chain_n, number in enumerate(numbers):
                    given = {"contact_info": number, "chain_id": row[0], "chain_n": chain_n}
                    given |= dict(zip(names, values, strict=True))
                    text = sql.SQL("INSERT INTO demo_list ({}) VALUES ({})").format(
                        sql.SQL(", ").join(map(sql.Identifier, given)),
                        sql.SQL(", ").join(sql.Placeholder() * len(given)),
                    )
                    conn.execute(text, list(given.values()))

    def execute(self, text: str, *params: Any) -> None:
        """A statement that returns nothing, as an operator would give it."""
        with psycopg.connect(self.site.dsn, autocommit=True) as conn:
            conn.execute(text, params)

    def row(self, number: str, batch: str | None = None) -> dict[str, Any]:
        """The one row with this number (in this batch)."""
        names = (
            "record_id, record_type, record_status, call_result, attempt, dial_sched_time, chain_id, agent_id,"
            " treatments"
        )
        found = self.site.query(
            f"SELECT {names} FROM {{list}} WHERE contact_info = %s AND batch = coalesce(%s, batch)", number, batch
        )
        assert len(found) == 1, (number, found)
        return dict(zip(names.split(", "), found[0], strict=True))

    def state(self, number: str, batch: str | None = None) -> tuple[int, int, int]:
        """Type, status and call result of its row."""
        row = self.row(number, batch)
        return row["record_type"], row["record_status"], row["call_result"]

    def await_state(self, number: str, *state: int, batch: str | None = None) -> None:
        self.until(f"the row of {number} is {state}", lambda: self.state(number, batch) == state)

    def statuses(self, batch: str) -> list[int]:
        """Record statuses of a batch, by record."""
        found = self.site.query("SELECT record_status FROM {list} WHERE batch = %s ORDER BY record_id", batch)
        return [status for (status,) in found]

    def journal(self, number: str) -> list[dict[str, Any]]:
        """Attempts on a number; times in UTC seconds."""
        names = ("call_result", "treatment_dbid", "chain_id", "list_dbid", "started", "finished")
        return [
            dict(zip(names, found, strict=True))
            for found in self.site.query(
                "SELECT call_result, treatment_dbid, chain_id, list_dbid, extract(epoch FROM started_at)::float8,"
                " extract(epoch FROM finished_at)::float8 FROM ocsd.attempt WHERE phone = %s ORDER BY attempt_id",
                number,
            )
        ]

    def ended(self, number: str) -> list[dict[str, Any]]:
        """Finished attempts on a number."""
        return [attempt for attempt in self.journal(number) if attempt["finished"] is not None]

    def assert_nothing_claimed(self, batch: str) -> None:
        assert 2 not in self.statuses(batch), self.statuses(batch)
        claims = self.site.query(
            "SELECT count(*) FROM ocsd.claim WHERE chain_id IN (SELECT chain_id FROM {list} WHERE batch = %s)", batch
        )
        assert claims == [(0,)]

    # --- what others have seen ------------------------------------------------------------------------------------

    def calls_to(self, number: str) -> list[Truth]:
        """Finished calls as the carrier saw them."""
        return [truth for truth in json_lines(self.folder / "carrier.jsonl") if truth["number"] == number]

    def calls_of(self, extension: str) -> list[Truth]:
        """Finished calls of an agent's phone, as it saw them."""
        return [truth for truth in json_lines(self.folder / "phones.jsonl") if truth["extension"] == extension]

    # --- agents, groups, processes --------------------------------------------------------------------------------

    def log_in(self, agent_id: str, *, ready: bool = False) -> Desk:
        self.desks[agent_id] = desk = Desk(self, agent_id)
        desk.log_in()
        if ready:
            desk.ready()
        return desk

    def log_in_again(self, lost: Desk) -> Desk:
        """A new desktop for the agent of one that has lost its daemon; it still knows what it was told."""
        desk = self.log_in(lost.agent_id)
        desk.data, desk.conn_id = lost.data, lost.conn_id
        return desk

    def leave(self, agent_id: str) -> None:
        """The desktop goes away."""
        if (desk := self.desks.pop(agent_id, None)) is not None:
            desk.socket.sock.close()

    def status(self, dbid: int) -> int:
        return int(self.site.client.status(dbid)["GSW_CM_AttrGroupCampStatus"])

    @contextmanager
    def loaded(self, dbid: int) -> Iterator[None]:
        """The group from Load to wherever the block leaves it; then unloaded, by force if need be, without agents."""
        self.site.client.load(dbid)
        try:
            yield
        finally:
            if self.status(dbid) != GroupCampStatus.NOT_LOADED:
                self.site.client.force_unload(dbid)
            self.await_unloaded(dbid)
            for agent_id in AGENTS:
                self.leave(agent_id)

    def start(self, dbid: int) -> None:
        self.site.client.start(dbid, DialMode.PROGRESSIVE)

    def complete(self, dbid: int) -> None:
        """End what is under way, and see that nothing stays behind."""
        self.site.client.complete(dbid)
        self.await_unloaded(dbid)
        self.assert_nothing_claimed(NAMES[dbid])

    def await_unloaded(self, dbid: int) -> None:
        self.until(f"{NAMES[dbid]} is unloaded", lambda: self.status(dbid) == GroupCampStatus.NOT_LOADED)

    def kill_and_restart(self) -> None:
        """SIGKILL for the daemon; desktops find their agents logged out, but for the later group's."""
        self.site.kill_daemon()
        for agent_id in list(self.desks):
            self.leave(agent_id)
        self.site.start_daemon()
        self.log_in(LATER_AGENT, ready=True)

    def reload(self) -> None:
        """SIGHUP, and the daemon's word that it has read."""
        assert self.site.daemon is not None
        before = self.site.log_text().count('"config.reloaded"')
        self.site.daemon.send_signal(signal.SIGHUP)
        self.until("it is read again", lambda: self.site.log_text().count('"config.reloaded"') > before)

    def command(self, *arguments: str) -> Any:
        """``ocsd <arguments>`` beside the running daemon; what it prints as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "ocsd.cli", *arguments, "--json", "--config", str(self.site.config_path)],
            capture_output=True, text=True, check=True, timeout=PATIENCE_S,
        )  # fmt: skip
        return json.loads(done.stdout)


@contextmanager
def world(folder: Path, numbers: Numbers, url: str, edit: Callable[[str], str] = lambda text: text) -> Iterator[World]:
    """Carrier, phones, database; the daemon is for the test to start. ``edit``: more changes of the configuration."""
    prompts, script, ready = folder / "prompts", folder / "script.json", folder / "carrier.json"
    write_message(prompts)
    script.write_text(json.dumps({"numbers": numbers.script}))
    carrier = outside_world(
        ["telephony.simworld.main", f"--script={script}", f"--truth={folder / 'carrier.jsonl'}",
         f"--ready-file={ready}", "--mix=signalling", f"--wire-log={folder / 'carrier-wire.jsonl'}"],
        folder / "carrier.log",
    )  # fmt: skip
    with carrier as process:
        ports = wait_for("the carrier", lambda: json_file(ready), process, folder / "carrier.log")
        with site(ports["carrier_port"], agents=3, edit=lambda text: edit(configuration(text, prompts, url))) as place:
            phones_ready = folder / "phones.json"
            phones = outside_world(
                ["telephony.simworld.main", "--no-carrier", "--agents=3", f"--phones-port={place.phones_port}",
                 f"--phones-truth={folder / 'phones.jsonl'}", f"--ready-file={phones_ready}",
                 f"--wire-log={folder / 'phones-wire.jsonl'}"],
                folder / "phones.log",
            )  # fmt: skip
            with phones as other:
                wait_for("the phones", lambda: json_file(phones_ready), other, folder / "phones.log")
                made = World(place, folder)
                try:
                    yield made
                finally:
                    for agent_id in list(made.desks):
                        made.leave(agent_id)
