"""Ladder diagrams of what really went over the wire, for the pages of ``docs/flows``.

A test gathers messages from what its far ends wrote down, says which parties there are, and asserts on the ladder::

    ladder = Ladder("Progressive and Seize: merge by bridging", source="Figure 52")
    ladder.simworld(folder / "wire.jsonl", {carrier_port: "Trunk", phones_port: "Phone {user}"})
    ladder.assert_order("INVITE", "200 OK (INVITE)", "ACK")
    ladder.keep("progressive-seize-bridging")  # writes docs/flows/NAME.md when OCSD_WRITE_FLOWS=1, else nothing

Sources: the simulated world (``--wire-log``; SIP and desktops), SIPp (its message file), a desktop socket of
`tests.e2e.wire`, and `say` for the rest (HTTP). Ports, tags and times differ from run to run, so they are not shown,
and repeated datagrams are shown once.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

FLOWS = Path(__file__).parents[1] / "docs" / "flows"
US = "ocsd"
WRITE = "OCSD_WRITE_FLOWS"

_SIPP_MESSAGE = re.compile(
    r"^-{20,} (?P<at>\S+[ \t]\S+)\n\w+ message (?P<way>sent|received) [(\[]\d+[)\]]? bytes\)? ?:\s*\n", re.MULTILINE
)
_USER = re.compile(r"sips?:([^@;>:]*)@", re.IGNORECASE)
_COMPACT = {"i": "call-id", "v": "via", "f": "from", "t": "to", "m": "contact", "c": "content-type"}


@dataclass(frozen=True, slots=True)
class SipText:
    """A SIP message as far as a ladder needs it: first line, first value of each header (names in lower case), body."""

    start: str
    headers: Mapping[str, str]
    body: str

    @classmethod
    def parse(cls, text: str) -> "SipText":
        head, _, body = text.replace("\r\n", "\n").lstrip("\n").partition("\n\n")
        start, *lines = re.sub(r"\n[ \t]+", " ", head).split("\n")
        headers: dict[str, str] = {}
        for name, colon, value in (line.partition(":") for line in lines):
            if colon:
                key = name.strip().lower()
                headers.setdefault(_COMPACT.get(key, key), value.strip())
        return cls(start.strip(), headers, body)

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """Of a response: that of its request."""
        return self.headers.get("cseq", "").split()[-1] if self.status else self.start.split()[0]

    @property
    def called(self) -> str:
        """User part of To."""
        found = _USER.search(self.headers.get("to", ""))
        return found[1] if found else ""

    def label(self, show: Sequence[str] = ()) -> str:
        """``INVITE +12125550100 (SDP)``, ``200 OK (INVITE, SDP sendonly)``, with the headers in ``show`` behind it."""
        notes = [self.method] if self.status else []
        if self.headers.get("content-type", "").startswith("application/sdp") and self.body.strip():
            direction = re.search(r"^a=(sendonly|recvonly|inactive)\s*$", self.body, re.MULTILINE)
            held = re.search(r"^c=IN IP4 0\.0\.0\.0\s*$", self.body, re.MULTILINE)
            notes.append("SDP" + (f" {direction[1]}" if direction else " held" if held else ""))
        elif self.body.strip():
            notes.append(self.headers.get("content-type", "body").partition(";")[0])
        if self.status:
            text = self.start.removeprefix("SIP/2.0 ")
        else:
            user = _USER.search(self.start)
            text = self.method + (f" {user[1]}" if user and self.method in ("INVITE", "REFER", "MESSAGE") else "")
        text += f" ({', '.join(notes)})" if notes else ""
        for name in show:
            if value := self.headers.get(name.lower()):
                text += f"<br/>{name}: {_without_ports(value)}"
        return text


@dataclass(frozen=True, slots=True)
class Step:
    """One arrow, or a note when ``target`` is empty. ``sip`` is None for anything else than SIP."""

    at_s: float
    source: str
    target: str
    label: str
    sip: SipText | None = field(default=None, compare=False)


class Ladder:
    """Messages of one flow, in the order of time. ``source`` names the figure or section of the manual it is of."""

    def __init__(self, title: str, *, source: str, about: str = "") -> None:
        self.title, self.source, self.about = title, source, about
        self._steps: list[Step] = []
        self._seen: set[tuple[str, ...]] = set()

    # --- where messages come from -------------------------------------------------------------------------------

    def simworld(
        self,
        log: Path,
        names: Mapping[int, str],
        *,
        show: Sequence[str] = (),
        attributes: Sequence[str] = (),
        only: Callable[[SipText], bool] = lambda message: True,
        agents: Iterable[str] | None = None,
    ) -> "Ladder":
        """
        Add what a simulated world wrote with ``--wire-log``.

        Args:
            names: party at each SIP port; ``{user}`` in it becomes the user part of To (an extension).
            show: SIP headers to be shown.
            attributes: keys of desktop messages to be shown, also of their attached data.
            only: which SIP messages, for instance those of one called number.
            agents: whose desktop messages; None: all. A desktop is the party "Desktop NAME".
        """
        wanted = None if agents is None else set(agents)
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "sip" in entry:
                message = SipText.parse(entry["sip"])
                if only(message):
                    party = names.get(entry["port"], f"port {entry['port']}").format(user=message.called)
                    peer = names.get(entry["peer_port"], US).format(user=message.called)
                    ends = (peer, party) if entry["at"] == "in" else (party, peer)
                    self.sip(entry["at_s"], *ends, message, show)
            elif wanted is None or entry["agent"] in wanted:
                self.desktop(entry["at_s"], entry["agent"], entry["desktop"], entry["at"] == "out", attributes)
        return self

    def sipp(
        self,
        trace: Path,
        party: str,
        *,
        peer: str = US,
        show: Sequence[str] = (),
        only: Callable[[SipText], bool] = lambda message: True,
    ) -> "Ladder":
        """Add what SIPp wrote with ``-trace_msg``; ``{user}`` in a name becomes the user part of To."""
        text = trace.read_text(errors="replace").replace("\r\n", "\n")
        found = list(_SIPP_MESSAGE.finditer(text))
        # SIPp notes the time of day; everything else here is on the monotonic clock.
        offset_s = time.monotonic() - time.time()
        for one, after in zip(found, [*found[1:], None], strict=True):
            message = SipText.parse(text[one.end() : after.start() if after else len(text)])
            if not message.start or not only(message):
                continue
            at = datetime.fromisoformat(one["at"].replace("\t", " ")).astimezone()
            ends = party.format(user=message.called), peer.format(user=message.called)
            self.sip(at.timestamp() + offset_s, *(ends if one["way"] == "sent" else ends[::-1]), message, show)
        return self

    def desktop_socket(
        self, agent: str, heard: Iterable[tuple[float, bool, Mapping[str, Any]]], attributes: Sequence[str] = ()
    ) -> "Ladder":
        """Add (monotonic seconds, sent by the desktop?, message), as `tests.e2e.wire.DesktopSocket.stamped` holds."""
        for at_s, sent, message in heard:
            self.desktop(at_s, agent, message, sent, attributes)
        return self

    def sip(self, at_s: float, source: str, target: str, message: SipText, show: Sequence[str] = ()) -> None:
        """Add one SIP message, unless it is one repeated by a timer; 100 Trying says nothing and is left out."""
        if message.status == 100:
            return
        kept = message.headers
        # A proxy passes a message on with another Via; a repetition has all of these the same.
        key = (source, target, message.start, *(kept.get(name, "") for name in ("call-id", "cseq", "via", "to")))
        if key not in self._seen:
            self._seen.add(key)
            self._steps.append(Step(at_s, source, target, message.label(show), message))

    def desktop(
        self, at_s: float, agent: str, message: Mapping[str, Any], sent: bool, attributes: Sequence[str] = ()
    ) -> None:
        """Add a request or event of the desktop protocol."""
        names = ("Request", "Event", "GSW_AGENT_REQ_TYPE", "GSW_USER_EVENT")
        attached = [value for value in message.values() if isinstance(value, dict)]
        where = [message, *attached]
        label = next((str(part[name]) for name in names for part in where if name in part), "message")
        for key in attributes:
            value = next((part[key] for part in where if key in part), None)
            if value is not None:
                label += f"<br/>{key} = {value}"
        ends = (f"Desktop {agent}", US)
        source, target = ends if sent else ends[::-1]
        self.say(source, target, label, at_s)

    def say(self, source: str, target: str, label: str, at_s: float | None = None) -> None:
        """Add anything else: an HTTP request, an order. ``at_s``: monotonic, now by default."""
        self._steps.append(Step(time.monotonic() if at_s is None else at_s, source, target, label))

    def note(self, party: str, text: str, at_s: float | None = None) -> None:
        """A remark at one party: the record's result, say."""
        self._steps.append(Step(time.monotonic() if at_s is None else at_s, party, "", text))

    # --- what is in it ------------------------------------------------------------------------------------------

    @property
    def steps(self) -> list[Step]:
        return sorted(self._steps, key=lambda step: step.at_s)

    def labels(self, source: str | None = None, target: str | None = None) -> list[str]:
        """Labels in order of time; of messages from or to these parties only."""
        return [
            step.label
            for step in self.steps
            if step.target and source in (None, step.source) and target in (None, step.target)
        ]

    def assert_order(self, *wanted: str, source: str | None = None, target: str | None = None) -> None:
        """Each wanted text begins a label, one after the other; there may be more between them."""
        labels = self.labels(source, target)
        rest = iter(labels)
        for text in wanted:
            assert any(label.startswith(text) for label in rest), f"no {text!r} in its place among {labels}"

    # --- the page -----------------------------------------------------------------------------------------------

    def parties(self) -> list[str]:
        """In order of appearance, with us between those who call and those who are called, where we are there."""
        found = list(dict.fromkeys(name for step in self.steps for name in (step.source, step.target) if name))
        if US in found:
            desks = [name for name in found if name.startswith("Desktop ")]
            found = [*desks, US, *(name for name in found if name != US and name not in desks)]
        return found

    def render(self) -> str:
        """The page: Markdown with a Mermaid sequence diagram."""
        parties = self.parties()
        short = {name: f"p{index}" for index, name in enumerate(parties)}
        lines = [f"# {self.title}", "", f"Manual: {self.source}. Messages of a run of the test that made this page."]
        lines += ["", self.about] if self.about else []
        lines += ["", "```mermaid", "sequenceDiagram"]
        lines += [f"    participant {short[name]} as {_plain(name)}" for name in parties]
        for step in self.steps:
            if step.target:
                answer = step.sip is not None and step.sip.status
                arrow = "-->>" if answer else "->>"
                lines.append(f"    {short[step.source]}{arrow}{short[step.target]}: {_plain(step.label)}")
            else:
                lines.append(f"    Note over {short[step.source]}: {_plain(step.label)}")
        return "\n".join([*lines, "```", ""])

    def keep(self, name: str) -> None:
        """Write ``docs/flows/<name>.md`` when the environment asks for it; compares nothing."""
        assert self._steps, "a ladder without messages"
        if os.environ.get(WRITE) == "1":
            FLOWS.mkdir(exist_ok=True)
            (FLOWS / f"{name}.md").write_text(self.render(), encoding="utf-8")


def _plain(text: str) -> str:
    """Characters that end a Mermaid statement or begin an entity, written as entities."""
    return text.replace("#", "#35;").replace(";", "#59;").replace("#35#59;", "#35;").replace("\n", "<br/>")


def _without_ports(value: str) -> str:
    """Ports and tags are of one run; they would make a page differ each time."""
    value = re.sub(r"(127\.0\.0\.1):\d+", r"\1", value)
    return re.sub(r"(?i)(?:;|%3B)(?:to-tag|from-tag|tag)(?:=|%3D)[^;&>?%]*", "", value)
