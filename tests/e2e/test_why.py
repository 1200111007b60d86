"""`ocsd why`, `list preflight`, `history` and `ctl` as a user types them, beside a running daemon and without one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ocsd.model.enums import CallResult, RecordStatus, RecordType
from tests.e2e.records_world import CAPPED, NAMES, ZONE, Numbers, World, world
from tests.e2e.site import PATIENCE_S

pytestmark = pytest.mark.e2e

R, S, T = CallResult, RecordStatus, RecordType
GROUP, LIST = CAPPED, NAMES[CAPPED]
REFUSED, USAGE, AWAY = 1, 2, 3

numbers = Numbers()
BUFFERED, CLOSED, FORBIDDEN, CAPPED_NUMBER, FINISHED, RINGING = (numbers.ringing() for _ in range(6))
TALKS = numbers.person(600.0)
ADDED = "+13125550911"


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def summary(self) -> str:
        return str(self.document["summary"])

    @property
    def closed(self) -> set[str]:
        return {gate["gate"] for gate in self.document["gates"] if gate["passed"] is False}

    @property
    def unknown(self) -> set[str]:
        return {gate["gate"] for gate in self.document["gates"] if gate["passed"] is None}


@dataclass
class Shell:
    world: World

    def ocsd(self, *arguments: str) -> Said:
        """A command as it is typed; COLUMNS, so that nothing is wrapped. Meanwhile the desktops answer pings."""
        with ThreadPoolExecutor(1) as beside:
            run = beside.submit(
                subprocess.run, [sys.executable, "-m", "ocsd.cli", *arguments],
                capture_output=True, text=True, check=False, timeout=PATIENCE_S, env={**os.environ, "COLUMNS": "300"},
            )  # fmt: skip
            self.world.until(f"{arguments} has ended", run.done)
        done = run.result()
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    @property
    def config(self) -> tuple[str, str]:
        return "--config", str(self.world.site.config_path)

    @property
    def url(self) -> tuple[str, str]:
        return "--url", self.world.site.url

    def why(self, number: str, *more: str) -> Said:
        record_id = str(self.world.row(number, LIST)["record_id"])
        return self.ocsd("why", "--list", LIST, "--record", record_id, "--json", *more)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with world(tmp_path_factory.mktemp("world"), numbers, "http://127.0.0.1:9/") as made:
        local = datetime.now(ZoneInfo(ZONE))
        opens = (local.hour * 3600 + 2 * 3600) % 86400
        made.add(LIST, [CLOSED], daily_from=opens, daily_till=(opens + 3600) % 86400)
        made.add(LIST, [FINISHED], record_status=int(S.UPDATED), call_result=int(R.ANSWER))
        made.add(LIST, [FORBIDDEN])
        made.execute("INSERT INTO public.gsw_donotcall_list (phone, dnc_message) VALUES (%s, 'by letter')", FORBIDDEN)
        made.site.start_daemon()
        yield Shell(made)


def test_given_records_in_all_stages_when_a_user_asks_why_then_each_is_told_with_its_exit_code(shell):
    here = shell.world
    here.add(LIST, [TALKS], [RINGING])
    forbidden_before = shell.why(FORBIDDEN, *shell.config)
    with here.loaded(GROUP):
        desk = here.log_in("agent1", ready=True)
        here.start(GROUP)
        desk.established()
        here.until("the other one rings", lambda: here.journal(RINGING))
        here.site.client.stop(GROUP)
        # The number that has been called once today, in the same list again.
        here.add(NAMES[CAPPED], [BUFFERED])
        here.until("it is in the buffer", lambda: here.row(BUFFERED)["record_status"] == S.RETRIEVED)

        told = {
            number: shell.why(number, *shell.url) for number in (TALKS, RINGING, BUFFERED, CLOSED, FINISHED, FORBIDDEN)
        }
        group = shell.ocsd("why", "--group", "capped@agents", "--json", *shell.url)
        assert {said.code for said in (*told.values(), group)} == {REFUSED}
        assert "open_attempt" in told[TALKS].closed | told[RINGING].closed
        assert told[BUFFERED].closed == {"running"} == group.closed
        assert "window" in told[CLOSED].closed
        assert "status" in told[FINISHED].closed
        # With --config the same daemon is found; the text is for people.
        assert shell.why(BUFFERED, *shell.config).closed == {"running"}
        plain = shell.ocsd("why", "--list", LIST, "--record", str(here.row(BUFFERED)["record_id"]), *shell.url)
        assert plain.code == REFUSED
        assert plain.out.splitlines()[0].startswith(f"{LIST}, record ")
        assert plain.out.splitlines()[1] == told[BUFFERED].summary
        ((handle,),) = here.site.query("SELECT attempt_id FROM ocsd.attempt WHERE phone = %s", RINGING)
        assert shell.ocsd("ctl", "record", str(handle), "cancel", *shell.url).code == 0
        assert here.state(RINGING)[1:] == (S.CANCELED, R.CANCEL_RECORD)
        desk.hang_up()
        uri = f"{here.site.url}/records/{desk.data['GSW_RECORD_HANDLE']}"
        assert shell.ocsd("ctl", "record", uri, "processed", "--call-result", "wrong-party").code == 0
        assert here.state(TALKS)[1:] == (S.UPDATED, R.WRONG_PARTY)
        here.complete(GROUP)
    assert "do_not_call" in forbidden_before.closed
    # Once a day: it has been called.
    here.add(NAMES[CAPPED], [TALKS], customer_name="again")
    again = str(here.site.query("SELECT max(record_id) FROM {list} WHERE contact_info = %s", TALKS)[0][0])
    capped = shell.ocsd("why", "--list", LIST, "--record", again, "--json", *shell.url)
    assert (capped.code, "attempt_cap" in capped.closed) == (REFUSED, True), capped.summary
    here.execute("UPDATE demo_list SET record_status = 3 WHERE record_id = %s", again)


def test_given_wrong_and_unanswered_questions_when_they_are_typed_then_each_has_its_exit_code(shell):
    here = shell.world
    assert shell.ocsd("why", "--list", LIST, *shell.url).code == USAGE
    assert shell.ocsd("why", "--list", LIST, "--record", "1", "--url", "nonsense").code == USAGE
    assert shell.ocsd("why", "--list", LIST, "--record", "999999", *shell.url).code == REFUSED
    assert shell.ocsd("why", "--list", "No List", "--record", "1", *shell.url).code == REFUSED
    assert shell.ocsd("why", "--list", LIST, "--record", "1", "--url", "http://127.0.0.1:9").code == AWAY
    assert shell.ocsd("ctl", "record", "99", "processed", "--url", "http://127.0.0.1:9").code == AWAY
    # A record that nothing holds back is no refusal; only a daemon knows more.
    here.add(LIST, [CAPPED_NUMBER])
    with_daemon = shell.why(CAPPED_NUMBER, *shell.url)
    assert (with_daemon.code, "loaded" in with_daemon.closed) == (REFUSED, True)
    assert here.site.stop_daemon() == 0
    without = shell.why(CAPPED_NUMBER, *shell.config)
    assert (without.code, without.closed) == (0, set())
    assert {"loaded", "running", "agents", "lines", "pacing"} <= without.unknown
    assert "the database is asked" in without.err
    assert shell.why(FORBIDDEN, *shell.config).code == REFUSED
    here.site.start_daemon()


def test_given_a_list_when_its_preflight_is_asked_for_then_it_says_what_could_be_dialed_and_what_holds_back(shell):
    said = shell.ocsd("list", "preflight", LIST, "--json", *shell.config)
    over_http = shell.ocsd("ctl", "list", LIST, "preflight", *shell.url)
    text = shell.ocsd("list", "preflight", LIST, *shell.config)
    assert (said.code, over_http.code, text.code) == (0, 0, 0), said.err + over_http.err + text.err
    assert LIST in text.out
    assert said.document["held_back"] == over_http.document["held_back"]
    assert {"daily window closed", "finished (updated)"} <= set(said.document["held_back"])
    assert (said.document["calling_list"], said.document["rows"]) == (LIST, over_http.document["rows"])
    assert shell.ocsd("list", "preflight", "No List", *shell.config).code == REFUSED


def test_given_a_running_group_when_records_are_ordered_about_by_command_then_the_rows_follow(shell):
    here = shell.world
    with here.loaded(GROUP):
        added = shell.ocsd(
            "ctl", "list", LIST, "add", "--phone", ADDED, "--zone", "EST", "--campaign", LIST, *shell.url, "--json"
        )
        assert added.code == 0, added.err
        assert added.document
        ((record_id, status),) = here.site.query(
            "SELECT record_id, record_status FROM {list} WHERE contact_info = %s", ADDED
        )
        assert status in (S.READY, S.RETRIEVED)
        cancelled = shell.ocsd("ctl", "phone", ADDED, "cancel", "--tenant", "Environment", *shell.url)
        assert cancelled.code == 0, cancelled.err
        never = shell.ocsd("ctl", "phone", ADDED, "do-not-call", "--tenant", "Environment", *shell.url)
        assert never.code == 0, never.err
        assert here.site.query("SELECT count(*) FROM public.gsw_donotcall_list WHERE phone = %s", ADDED) == [(1,)]
        nobody = shell.ocsd("ctl", "phone", ADDED, "cancel", "--tenant", "Nobody", *shell.url)
        assert nobody.code == REFUSED
        assert "103" in nobody.err
        gone = shell.ocsd("ctl", "record", "4711", "processed", "--json", *shell.url)
        assert gone.code == REFUSED
        assert "112" in gone.out + gone.err
        here.complete(GROUP)
    found = here.site.query("SELECT record_status, call_result FROM {list} WHERE record_id = %s", record_id)
    assert found == [(S.CANCELED, R.CANCEL_RECORD)]


def test_given_what_has_happened_when_the_history_is_asked_for_then_attempts_and_orders_are_in_it(shell):
    said = shell.ocsd("history", "--phone", TALKS, "--json", *shell.config)
    assert said.code == 0, said.err
    assert TALKS in said.out
    ordered = shell.ocsd("history", "--phone", ADDED, *shell.config)
    assert ordered.code == 0
    assert f"{datetime.now(UTC):%Y-%m-%d}" in ordered.out
    assert shell.ocsd("history", *shell.config).code == USAGE
