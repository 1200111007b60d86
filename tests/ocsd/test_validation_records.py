"""
Pre-dial validation by a real HTTP server, on a real PostgreSQL: what each record became.

The table is printed: ``pytest -s tests/ocsd/test_validation_records.py``.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from psycopg.rows import dict_row

from ocsd.config.loader import load_configuration
from ocsd.config.options import HTTP_CONNECTION_POOL_SIZE, lookup
from ocsd.daemon import prepare_database
from ocsd.demo.options import DemoOptions
from ocsd.demo.world import CAMPAIGN_GROUP_DBID, write_configuration
from ocsd.dnc.memory import MemoryDoNotCall
from ocsd.lists.postgres import open_store
from ocsd.model.enums import CallResult, DialMode, RecordStatus
from ocsd.model.services import CampaignRequest, DialParameters
from ocsd.protocols.desktop import RequestAgentLogin, RequestAgentReady
from ocsd.sessions.campaigns import Campaigns
from ocsd.sessions.clock import SystemClock
from ocsd.sessions.desks import Desks
from ocsd.validation import open_validator
from telephony.fake import CallScript, open_fake_plane
from tests.ocsd.desk_world import Desktop, Memory, number
from tests.ocsd.rules_server import NEVER, OK, Reply, RulesServer, rules_server

HANG_LIMIT_S = 60.0
PAGE = Path(__file__).parents[2] / "docs" / "validation.md"
TABLE = "demo_list"

TREATMENTS = """
[[treatments]]
dbid = 301
name = "Later"
call_result = 44
record_action = 4
interval = "0:02:00"
number = 1
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A server's answer, and what the record is to become."""

    what: str
    reply: Reply
    status: RecordStatus
    call_result: int
    dialed: bool = False
    evidence: tuple[str, ...] = ()


U, READY = RecordStatus.UPDATED, RecordStatus.READY
REDIRECT = Reply(302, headers=(("Location", "http://127.0.0.1:9/"),))
REFUSED_BY = ("GSW_BLOCKING_RULE", "GSW_BLOCKING_RULE_TYPE")
CASES = (
    Case("200", OK, U, CallResult.BUSY, dialed=True),
    Case("409, no body", Reply(409), U, CallResult.CANCEL_RECORD),
    Case("409, result 51", Reply.refusal(GSW_CALL_RESULT=51), U, CallResult.DO_NOT_CALL),
    Case(
        "409, result, rule, rule type",
        Reply.refusal(GSW_CALL_RESULT=28, GSW_BLOCKING_RULE="FL state", GSW_BLOCKING_RULE_TYPE=4),
        U,
        CallResult.UNKNOWN,
        evidence=REFUSED_BY,
    ),
    Case("409, changed fields", Reply.refusal(GSW_CALL_RESULT=52, customer_name="Changed", GSW_UNTIL=72_000), U, 52),
    Case("409, result with a treatment", Reply.refusal(GSW_CALL_RESULT=44), READY, CallResult.NO_PORT_AVAILABLE),
    Case("409, garbage", Reply(409, b"<html>no</html>"), U, CallResult.CANCEL_RECORD),
    Case("409, endless body", Reply(409, b"x" * 200_000), U, CallResult.CANCEL_RECORD),
    Case("200, garbage", Reply(200, b"\x00\xff" * 100), U, CallResult.BUSY, dialed=True),
    Case("500", Reply(500), U, CallResult.GENERAL_ERROR),
    Case("slowly, in time", Reply(delay_s=0.5), U, CallResult.BUSY, dialed=True),
    Case("slowly, too late", Reply(delay_s=1.5), U, CallResult.GENERAL_ERROR),
    Case("never", NEVER, U, CallResult.GENERAL_ERROR),
    Case("200, then the connection closes", Reply(close_after=True), U, CallResult.BUSY, dialed=True),
    Case("no HTTP", Reply(raw=b"220 mail.example.net ESMTP\r\n"), U, CallResult.GENERAL_ERROR),
    Case("the connection closes", Reply(raw=b""), U, CallResult.GENERAL_ERROR),
    Case("409 cut off in its body", Reply(raw=b"HTTP/1.1 409 C\r\nContent-Length: 9\r\n\r\n{"), U, 52),
    Case("redirect", REDIRECT, U, CallResult.GENERAL_ERROR),
    Case("200 at last", OK, U, CallResult.BUSY, dialed=True),
)


@dataclass
class Site:
    campaigns: Campaigns
    conn: psycopg.Connection[dict[str, Any]]
    server: RulesServer
    dialed: list[str]

    def rows(self) -> dict[int, dict[str, Any]]:
        found = self.conn.execute(f"SELECT * FROM {TABLE} ORDER BY record_id").fetchall()
        return {row["record_id"]: row for row in found}

    async def until(self, check: Callable[[], object]) -> None:
        while not check():  # noqa: ASYNC110
            await trio.sleep(0.02)

    async def request(self, request: CampaignRequest) -> None:
        await self.campaigns.request(CAMPAIGN_GROUP_DBID, request, DialParameters(dial_mode=DialMode.PROGRESSIVE))

    async def unload(self) -> None:
        await self.request(CampaignRequest.COMPLETE)
        await self.until(lambda: CAMPAIGN_GROUP_DBID not in self.campaigns.sessions)


@asynccontextmanager
async def site(
    tmp_path: Path,
    dsn: str,
    count: int,
    answer: Callable[[dict[str, Any]], Reply],
    *,
    agents: int,
    options: str,
    on: bool = True,
) -> AsyncIterator[Site]:
    """A daemon without its ports over a fake plane: whoever is called is busy at once."""
    async with rules_server(answer) as server:
        path = tmp_path / "ocsd.toml"
        write_configuration(
            path,
            DemoOptions(agents=agents, mode="progressive"),
            data_dir=tmp_path,
            http_port=1,
            desktop_port=2,
            carrier_port=5060,
            phones_port=5070,
        )
        text = path.read_text()
        text = text.replace(
            "stale_clean_timeout = 5",
            f"stale_clean_timeout = 5, pre-dial-validation = {str(on).lower()},"
            f' validation-uri = "{server.uri}", {options}',
        )
        text = text.replace("max_attempts = 3", 'max_attempts = 3\ntreatments = ["Later"]')
        text = text.replace("calls_per_second", "# calls_per_second").replace("max_calls", "# max_calls")
        path.write_text(f'{text}\n{TREATMENTS}\n[database]\ndsn = "{dsn}"\n')
        config = load_configuration(path)
        await trio.to_thread.run_sync(prepare_database, dsn, config)
        dialed: list[str] = []

        def script(command) -> CallScript:
            if "-customer" in command.leg_id:
                dialed.append(command.uri.removeprefix("sip:").partition("@")[0])
            return CallScript(status=486, ring_s=0.0)

        clock = SystemClock()
        with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as conn:
            for record_id in range(1, count + 1):
                conn.execute(
                    f"INSERT INTO {TABLE} (contact_info, chain_id, customer_name, daily_from, daily_till)"
                    " VALUES (%s, %s, 'As it was', 0, 86400)",
                    (number(record_id), record_id),
                )
            async with (
                open_store(config, node="test") as store,
                open_validator(lookup(config, HTTP_CONNECTION_POOL_SIZE)) as validator,
                open_fake_plane(script, legs=1000) as (telephony, media),
                trio.open_nursery() as nursery,
            ):
                campaigns = Campaigns(
                    config,
                    nursery,
                    store=store,
                    dnc=MemoryDoNotCall(),
                    memory=Memory(),
                    telephony=telephony,
                    media=media,
                    clock=clock,
                    validator=validator,
                )
                desks = Desks(config, campaigns, "localhost")
                found = Site(campaigns, conn, server, dialed)
                await found.request(CampaignRequest.LOAD)
                for agent in range(1, agents + 1):
                    desktop = Desktop(desks)
                    await desks.received(desktop, RequestAgentLogin(f"agent{agent}"))
                    await desks.received(desktop, RequestAgentReady())
                await found.request(CampaignRequest.START_DIALING)
                yield found
                nursery.cancel_scope.cancel()


async def test_given_a_server_with_every_kind_of_answer_when_records_are_dialed_then_each_becomes_what_it_should(
    tmp_path, database
):
    by_phone = {number(place): case for place, case in enumerate(CASES, start=1)}
    options = "http-response-timeout = 1, http-connection-pool-size = 1"
    with trio.fail_after(HANG_LIMIT_S):
        async with site(
            tmp_path, database, len(CASES), lambda asked: by_phone[asked["GSW_PHONE"]].reply, agents=2, options=options
        ) as found:

            def over() -> bool:
                rows = found.rows()
                waiting = {row["record_status"] for row in rows.values() if row["call_result"] != 44}
                return waiting == {int(U)} and all(
                    row["call_result"] != 28 or row["record_id"] == 4 for row in rows.values()
                )

            await found.until(over)
            await found.unload()
            rows, dialed = found.rows(), list(found.dialed)
            decisions = {row["record_id"]: row for row in found.conn.execute("SELECT * FROM ocsd.decision").fetchall()}
            attempts = found.conn.execute("SELECT record_id FROM ocsd.attempt").fetchall()
            (claims,) = found.conn.execute("SELECT count(*) AS n FROM ocsd.claim").fetchall()
            asked = found.server.requests

    print(f"\n{'the server':34} {'record':9} {'result':24} att. dialed  why")
    for place, case in enumerate(CASES, start=1):
        row, why = rows[place], decisions.get(place, {"because": ""})["because"]
        status, result = RecordStatus(row["record_status"]).name, CallResult(row["call_result"])
        called = "yes" if number(place) in dialed else "no"
        print(f"{case.what:34} {status:9} {f'{result:d} {result.title}':24} {row['attempt']:4} {called:7} {why}")

    for place, case in enumerate(CASES, start=1):
        row = rows[place]
        assert (case.what, row["record_status"], row["call_result"]) == (case.what, case.status, case.call_result)
        assert dialed.count(number(place)) == int(case.dialed), case.what
        assert row["attempt"] == int(case.dialed), case.what
        if case.dialed:
            assert place not in decisions
        else:
            assert tuple(sorted(decisions[place]["evidence"])) == tuple(sorted((*case.evidence, "validator")))
            assert "secret" not in str(decisions[place])
    assert decisions[4]["evidence"]["GSW_BLOCKING_RULE"] == "FL state"
    assert (rows[5]["customer_name"], rows[5]["daily_till"]) == ("Changed", 72_000)
    assert {row["customer_name"] for place, row in rows.items() if place != 5} == {"As it was"}
    assert rows[6]["dial_sched_time"] - time.time() > 60
    assert sorted(row["record_id"] for row in attempts) == [p for p, case in enumerate(CASES, 1) if case.dialed]
    assert claims["n"] == 0
    assert all(isinstance(body["GSW_START_PROCESSING"], int) for body in asked)
    shown = json.loads(re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0])
    assert {key: type(value) for key, value in shown.items()} == {key: type(value) for key, value in asked[0].items()}


@pytest.mark.parametrize("validated", [True, False])
async def test_given_a_validator_of_20_ms_when_dialing_as_fast_as_it_goes_then_every_dial_was_validated(
    tmp_path, database, validated
):
    count, agents, pool = 400, 40, 20
    options = f"http-connection-pool-size = {pool}"
    with trio.fail_after(HANG_LIMIT_S):
        async with site(
            tmp_path, database, count, lambda _: Reply(delay_s=0.02), agents=agents, options=options, on=validated
        ) as found:
            begun_s = trio.current_time()
            await found.until(lambda: len(found.dialed) == count)
            took_s = trio.current_time() - begun_s
            await found.until(lambda: not found.campaigns.sessions[CAMPAIGN_GROUP_DBID].attempts)
            await found.unload()
            rows = found.rows()
    print(f"\n{count / took_s:.0f} dials/s ({'20 ms, pool 20' if validated else 'not validated'}, {agents} agents)")

    assert len(set(found.dialed)) == count
    assert {row["call_result"] for row in rows.values()} == {int(CallResult.BUSY)}
    assert {body["GSW_PHONE"] for body in found.server.requests} == (set(found.dialed) if validated else set())
    assert found.server.most_at_once <= pool
