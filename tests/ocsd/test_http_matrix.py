"""Every resource x request x circumstance: status, Warning, text, and nothing changed by a request that is refused.

The table that comes out is kept in docs/http-answers.md; `python -m tests.ocsd.test_http_matrix` writes it anew.
"""

import html
import json
import re
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing

from ocsd.http.answers import HttpRequest, Services, answer
from ocsd.http.messages import Answer
from ocsd.sessions.record_control import RecordControl
from tests.ocsd.desk_world import LIST, OTHERS, RINGS, TALKER, Daemon, World, number, world

PAGE = Path(__file__).parents[2] / "docs" / "http-answers.md"
FREE = number(3)
"""Of a record that nobody holds."""
NEW = "+12125559000"
TENANT = {"GSW_TENANT_NAME": "Environment"}
OTHER_TENANT = {"GSW_TENANT_NAME": "Other Tenant"}
ADD = {"GSW_PHONE": NEW, "GSW_TZ_NAME": "EST", "GSW_CAMPAIGN_NAME": "Demo"}
LATER = {"GSW_DATE_TIME": "12/01/2031 13:00"}

RECORD_REQS = (
    "UpdateCallCompletionStats", "RecordProcessed", "RecordReject", "RequestRecordCancel", "DoNotCall",
    "RecordReschedule", "ScheduledRecordReschedule", "AddRecord",
)  # fmt: skip
WITHDRAWALS = ("DoNotCall", "RequestRecordCancel")


@dataclass(frozen=True)
class Asked:
    """One request: ``/resource/identifier?req=req`` with these pairs."""

    resource: str
    identifier: str
    req: str
    pairs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wire(self) -> HttpRequest:
        target = f"/{self.resource}/{quote(self.identifier, safe='')}?req={self.req}"
        body = json.dumps(self.pairs).encode() if self.pairs else b""
        return HttpRequest("POST", target, "application/json" if body else "", body=body)


@dataclass(frozen=True)
class Told:
    """An answer in short; ``text`` is what the page says behind the status."""

    status: int
    warning: int | None = None
    text: str = ""

    def __str__(self) -> str:
        return f"{self.status}" + (f" / {self.warning} {self.text}" if self.warning is not None else "")


def told(given: Answer) -> Told:
    warning = dict(given.headers).get("Warning")
    if given.status == 200:
        assert (given.headers, given.content_type, given.body) == ((), "", b"")
        return Told(200)
    said = re.fullmatch(rb"<HTML><body>(\d+) [A-Za-z ]+ : 0 (.*)</body></HTML>", given.body)
    assert given.content_type == "text/html"
    assert said is not None, given.body
    assert int(said[1]) == given.status
    text = html.unescape(said[2].decode("ascii"))
    return Told(given.status, int(warning) if warning is not None else None, text)


@dataclass
class Port:
    here: World
    daemon: Daemon
    services: Services

    async def ask(self, asked: Asked) -> Told:
        return told(await answer(asked.wire, self.services, 101))

    def everything(self) -> object:
        """Rows, attempts, Do-Not-Call, and what the daemon keeps in memory of the record on the desktop."""
        database, session = self.here.database, self.daemon.session
        attempts = [
            (handle, task.machine.state, dict(task.context.updates), task.context.callback, task.context.closing)
            for handle, task in session.attempts.items()
        ]
        return dict(database.rows(LIST)), attempts, list(self.here.dnc.entries), sorted(session.on_desk)

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def port(tmp_path: Path) -> AsyncIterator[tuple[Port, str]]:
    """Record 1 is talked about with agent1, record 3 waits in the list; the handle of 1."""
    async with world(tmp_path, {number(1): TALKER}, more=OTHERS, agents=1) as here, here.daemon() as daemon:
        here.add(1)
        await daemon.log_in("agent1")
        await daemon.start()
        handle = await daemon.until_talking("agent1")
        here.add(3, customer_no="C3", dial_sched_time=2_000_000_000)
        records = RecordControl(daemon.campaigns, daemon.desks.records)
        yield Port(here, daemon, Services(daemon.campaigns, records, None)), str(handle)  # type: ignore[arg-type]


def wrong_type(asked: Asked) -> Asked:
    """One attribute of the request with a value of another type."""
    wrong: dict[str, Any] = {
        "UpdateCallCompletionStats": {"GSW_CALL_RESULT": "busy"},
        "RecordProcessed": {"GSW_TREATMENT": 1},
        "RecordReject": {"GSW_CAMPAIGN_NAME": 7},
        "RequestRecordCancel": {"GSW_CHAIN_ATTR": 1},
        "DoNotCall": {"GSW_CHAIN_ATTR": "Everything"},
        "RecordReschedule": {"GSW_CALLBACK_TYPE": "Sometimes"},
        "ScheduledRecordReschedule": {"GSW_CALLBACK_TYPE": 2},
        "AddRecord": {"GSW_PHONE": 2125559000},
    }[asked.req]
    return Asked(asked.resource, asked.identifier, asked.req, {**asked.pairs, **wrong})


def missing(asked: Asked, attribute: str) -> Asked:
    return Asked(asked.resource, asked.identifier, asked.req, {k: v for k, v in asked.pairs.items() if k != attribute})


def changed(asked: Asked, **more: Any) -> Asked:
    return Asked(asked.resource, asked.identifier, asked.req, {**asked.pairs, **more})


GONE = Told(410, 112, "No call found for the record handle")
Circumstance = tuple[str, Asked, int, int | None]
"""What it is, the request, status and Warning that it must get."""


def refused(asked: Asked) -> list[Circumstance]:
    """Requests like this one that must be refused while the database answers."""
    in_list = asked.req == "AddRecord"
    cases: list[Circumstance] = [("wrong type", wrong_type(asked), 400, 103)]
    if asked.resource == "records":
        cases += [
            ("unknown", Asked("records", "999999", asked.req, asked.pairs), 410, 112),
            ("no number", Asked("records", "fifteen", asked.req, asked.pairs), 410, 112),
            ("foreign tenant", changed(asked, **OTHER_TENANT), 400, 103),
        ]
        if not in_list:  # "a higher priority on processing the GSW_RECORD_HANDLE attribute over GSW_CAMPAIGN_NAME"
            cases += [("foreign campaign", changed(asked, GSW_CAMPAIGN_NAME="Idle"), 400, 103)]
            cases += [("no handle", Asked("records", "", asked.req, asked.pairs), 400, 102)]
        if "Reschedule" in asked.req:
            cases += [("missing attribute", missing(asked, "GSW_DATE_TIME"), 400, 102)]
            cases += [("in the past", changed(asked, GSW_DATE_TIME="10/12/2009"), 400, 110)]
            cases += [("no date", changed(asked, GSW_DATE_TIME="25/45/00"), 400, 111)]
            cases += [("no date", changed(asked, GSW_DATE_TIME="soon"), 400, 111)]
    if asked.resource in ("phones", "customer_ids"):
        cases += [
            ("missing attribute", missing(asked, "GSW_TENANT_NAME"), 400, 102),
            ("foreign tenant", changed(asked, GSW_TENANT_NAME="Nobody"), 400, 103),
            ("foreign tenant", changed(asked, GSW_TENANT_DBID=77), 400, 103),
        ]
        if asked.req == "RequestRecordCancel":
            cases += [
                ("foreign tenant", changed(asked, **OTHER_TENANT), 400, 106),
                ("not loaded", changed(asked, GSW_CAMPAIGN_NAME="Idle"), 400, 106),
                ("foreign campaign", changed(asked, GSW_CAMPAIGN_NAME="Nobody"), 400, 103),
            ]
    if in_list:
        cases += [
            ("missing attribute", missing(asked, "GSW_PHONE"), 400, 102),
            ("missing attribute", missing(asked, "GSW_TZ_NAME"), 400, 102),
            ("no zone", changed(asked, GSW_TZ_NAME="Nowhere"), 400, 103),
            ("unknown attribute", changed(asked, SURPRISE=1), 400, 103),
            (
                "no such chain",
                changed(asked, GSW_CHAIN_ID=4711),
                *((400, 103) if asked.identifier.isdigit() else (409, 114)),
            ),
        ]
        if asked.resource == "lists":
            cases += [
                ("unknown", Asked("lists", "No List", asked.req, asked.pairs), 404, 103),
                ("unknown", changed(asked, GSW_CAMPAIGN_NAME="Nobody"), 404, 103),
                ("missing attribute", missing(asked, "GSW_CAMPAIGN_NAME"), 400, 102),
                ("not loaded", changed(asked, GSW_CAMPAIGN_NAME="Idle"), 409, 106),
                ("foreign tenant", changed(asked, **OTHER_TENANT), 400, 103),
            ]
    others = {"records": "Load", "phones": "AddRecord", "customer_ids": "RecordProcessed", "lists": "DoNotCall"}
    cases.append(
        ("wrong request", Asked(asked.resource, asked.identifier, others[asked.resource], asked.pairs), 400, 101)
    )
    return cases


def good(resource: str, req: str, handle: str) -> Asked:
    """The request as it is obeyed."""
    identifier = {"records": handle, "phones": FREE, "customer_ids": "C3", "lists": "Demo List"}[resource]
    pairs: dict[str, Any] = {"customer_name": "Ann"} if req in ("UpdateCallCompletionStats", "RecordProcessed") else {}
    if "Reschedule" in req:
        pairs = dict(LATER) | ({"GSW_CALLBACK_TYPE": "Campaign"} if req.startswith("Scheduled") else {})
    elif req == "AddRecord":
        pairs = dict(ADD) if resource == "lists" else missing(Asked("", "", "", ADD), "GSW_CAMPAIGN_NAME").pairs  # type: ignore[assignment]
    elif resource in ("phones", "customer_ids"):
        pairs = dict(TENANT)
    return Asked(resource, identifier, req, pairs)


CASES = [
    *(("records", req) for req in RECORD_REQS),
    *((resource, req) for resource in ("phones", "customer_ids") for req in WITHDRAWALS),
    ("lists", "AddRecord"),
]


async def explore(tmp_path: Path, resource: str, req: str) -> list[tuple[str, Told]]:
    """Every circumstance of one request, in an order in which the first ones change nothing; each as it must be."""
    found: list[tuple[str, Told]] = []
    async with port(tmp_path) as (here, handle):
        asked = good(resource, req, handle)
        before = here.everything()
        for name, request, status, warning in refused(asked):
            said = await here.ask(request)
            await here.settle()
            assert (said.status, said.warning) == (status, warning), (name, request, said)
            assert here.everything() == before, (name, request)
            found.append((name, said))
        assert await here.ask(asked) == Told(200), asked
        await here.settle()
        assert here.everything() != before
        found.insert(0, ("known", Told(200)))
        if resource == "records" and req not in ("UpdateCallCompletionStats", "AddRecord"):
            again = await here.ask(asked)
            assert (again.status, again.warning, again.text) == (410, 112, "No call found for the record handle")
            found.append(("finished", again))
        if resource in ("phones", "customer_ids"):
            nobody = NEW if resource == "phones" else "nobody"
            for name, identifier in (("unknown", nobody), ("finished", asked.identifier)):
                found.append((name, await here.ask(Asked(resource, identifier, req, TENANT))))
                assert found[-1][1] == Told(200)
    if resource in ("phones", "customer_ids") and req == "DoNotCall":
        async with port(tmp_path) as (here, handle):
            rows = dict(here.here.database.rows(LIST))
            found.append(("foreign tenant", await here.ask(changed(asked, **OTHER_TENANT))))
            assert found[-1][1] == Told(200), "it is that tenant's own Do-Not-Call"
            await here.settle()
            assert [entry.tenant_dbid for entry in here.here.dnc.entries] == [2]
            assert dict(here.here.database.rows(LIST)) == rows
    async with port(tmp_path) as (here, handle):
        found.append(("database away", await _without_database(here, good(resource, req, handle))))
    return found


async def _without_database(here: Port, asked: Asked) -> Told:
    before = here.everything()
    here.here.database.available, here.here.dnc.away = False, True
    said = await here.ask(asked)
    await here.settle()
    status = 409 if asked.req == "AddRecord" else 500
    assert (said.status, said.warning) == (status, 113), said
    if asked.req != "DoNotCall":
        assert here.everything() == before
    else:
        assert here.here.dnc.entries
    here.here.database.available = True
    here.here.dnc.come_back()
    return said


PERSONAL = {"GSW_DATE_TIME": "12/01/2031 13:00", "GSW_CALLBACK_TYPE": "Personal"}
TREAT_PERSONAL = {"GSW_TREATMENT": "RecordTreatPersonal"}
OF_NOBODY: tuple[tuple[str, Mapping[str, Any], int, int | None], ...] = (
    ("RecordReschedule", PERSONAL, 400, 102),
    ("RecordReschedule", {**PERSONAL, "GSW_AGENT_ID": "nobody"}, 400, 103),
    ("RecordReschedule", {**PERSONAL, "GSW_AGENT_ID": "agent1"}, 200, None),
    ("ScheduledRecordReschedule", PERSONAL, 400, 102),
    ("ScheduledRecordReschedule", {**PERSONAL, "GSW_AGENT_ID": "agent1"}, 200, None),
    ("RecordProcessed", TREAT_PERSONAL, 400, 102),
    ("RecordProcessed", {**TREAT_PERSONAL, "GSW_AGENT_ID": "nobody"}, 400, 103),
    ("RecordProcessed", {**TREAT_PERSONAL, "GSW_AGENT_ID": "agent1"}, 200, None),
    ("RecordReject", {}, 200, None),
)
"""Requests for a record that is being dialed, and that no agent has yet: with status and Warning."""


async def explore_ringing(tmp_path: Path, req: str, pairs: Mapping[str, Any], status: int, warning: int | None) -> str:
    """One of `OF_NOBODY`; its line in the page."""
    async with world(tmp_path, {number(1): RINGS}, agents=1) as here, here.daemon() as daemon:
        here.add(1)
        await daemon.log_in("agent1")
        await daemon.start()
        await daemon.until(lambda: daemon.session.attempts)
        (handle,) = daemon.session.attempts
        records = RecordControl(daemon.campaigns, daemon.desks.records)
        asked = Port(here, daemon, Services(daemon.campaigns, records, None))  # type: ignore[arg-type]
        before = asked.everything()
        said = await asked.ask(Asked("records", str(handle), req, pairs))
        assert (said.status, said.warning) == (status, warning), said
        assert status == 200 or asked.everything() == before
        with_them = ", ".join(f"{name} {value}" for name, value in pairs.items() if name != "GSW_DATE_TIME")
        return f"| {req}{': ' * bool(with_them)}{with_them} | {said} |"


def section_of_nobody(lines: Sequence[str]) -> str:
    return "\n".join(
        [
            "",
            "## A record that is being dialed",
            "",
            "No agent has it yet. A personal callback or treatment must then say whose it is to be; a RecordReject",
            "holds only when nobody answers. Answers to other requests are those of the tables above.",
            "",
            "| request | answer |",
            "|---|---|",
            *lines,
            "",
        ]
    )


HEADING = """# What the control port answers about records

One row for each request and circumstance: status / `Warning` and the text behind the status. A request that is refused
has changed nothing. Two exceptions, both 113: a DoNotCall that did not reach the disk is in force all the same, and of
an AddRecord whose commit was cut off nobody may know whether it is there (the text says so).
Written by `python -m tests.ocsd.test_http_matrix`, out of the same requests that the tests make.
"""


def section(resource: str, req: str, found: Sequence[tuple[str, Told]]) -> str:
    lines = ["", f"## /{resource}/...?req={req}", "", "| circumstance | answer |", "|---|---|"]
    lines += [f"| {name} | {said} |" for name, said in found]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("resource", "req"), CASES)
async def test_given_any_circumstance_when_asked_then_the_answer_is_the_manuals_and_a_refusal_changes_nothing(
    tmp_path, autojump_clock, resource, req
):
    found = await explore(tmp_path, resource, req)
    assert section(resource, req, found) in PAGE.read_text(), "python -m tests.ocsd.test_http_matrix"


async def test_given_a_record_that_no_agent_has_when_asked_then_the_answer_is_the_pages(tmp_path, autojump_clock):
    lines = []
    for place, case in enumerate(OF_NOBODY):
        (tmp_path / str(place)).mkdir()
        lines.append(await explore_ringing(tmp_path / str(place), *case))
    assert section_of_nobody(lines) in PAGE.read_text(), "python -m tests.ocsd.test_http_matrix"


def main() -> None:
    page = HEADING
    for resource, req in CASES:
        with tempfile.TemporaryDirectory() as folder:
            clock = trio.testing.MockClock(autojump_threshold=0)
            page += section(resource, req, trio.run(explore, Path(folder), resource, req, clock=clock))
    lines = []
    for case in OF_NOBODY:
        with tempfile.TemporaryDirectory() as folder:
            clock = trio.testing.MockClock(autojump_threshold=0)
            lines.append(trio.run(explore_ringing, Path(folder), *case, clock=clock))
    PAGE.write_text(page + section_of_nobody(lines))


if __name__ == "__main__":
    main()
