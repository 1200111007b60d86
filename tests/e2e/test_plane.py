"""The plane under a campaign: every service exchanged for another release, and a media server that stands still."""

import os
import signal
import time

import pytest

from ocsd.model.enums import CallResult, RecordStatus
from telephony import launcher
from telephony.media_client import RECOVERY_LIMIT_S
from tests.e2e.campaign import Campaign, Outcome, campaign
from tests.e2e.chaos import doubled
from tests.e2e.site import eventually

pytestmark = pytest.mark.e2e

ANSWERED = {"human": 0.85, "machine": 0.15}


def two_servers(text: str) -> str:
    assert "media_servers = 1\n" in text
    return text.replace("media_servers = 1\n", "media_servers = 2\nmedia_capacity = 40\n")


HEARD_OF_S = 5.0
"""After so much silence of the media server the daemon knows that it stands still."""


def first_result(outcome: Outcome, number: str) -> int | None:
    """Of the first attempt on a number: later ones came when the media server was back."""
    found = [attempt for attempt in outcome.attempts if attempt.phone.lstrip("+") == number.lstrip("+")]
    return found[0].call_result


def part(run: Campaign, name: str) -> int:
    return launcher.server_pids(run.folder / "run")[name]


def test_given_a_campaign_when_every_service_is_upgraded_in_order_then_no_call_is_lost_and_all_processes_are_new():
    with campaign(mix=ANSWERED, talk_s=10.0, lines=1.0, edit=two_servers) as run:
        run.await_conversations(3, in_middle=2)
        parts = launcher.server_pids(run.folder / "run")
        workers = set(run.all_worker_pids())

        daemon_s = time.monotonic()
        assert run.site.stop_daemon() == 0
        run.site.start_daemon()

        exchanged_s = [daemon_s]
        for name in ("media-0", "media-1"):
            run.await_conversations(2)
            exchanged_s.append(time.monotonic())
            os.kill(parts[name], signal.SIGUSR1)
            eventually(f"another {name}", lambda name=name: run.new_server(name, parts[name]))

        run.await_conversations(2)
        exchanged_s.append(time.monotonic())
        os.kill(parts["telephony"], signal.SIGUSR1)
        begun = run.attempts_begun()
        run.await_calls(begun + 3)  # fresh workers take them while the old ones finish their calls
        eventually("every worker is a new one", lambda: not workers & set(run.all_worker_pids()))
        assert part(run, "telephony") == parts["telephony"], "the parent is another program in the same process"

        run.await_calls(run.attempts_begun() + 2)
        outcome = run.finish()
        print(outcome.figures())
        outcome.assert_nothing_lost_or_doubled()
        assert run.lost_legs() == []
    for at_s in exchanged_s:
        talking = outcome.talking_at(at_s)
        assert talking, "somebody was talking then"
        assert outcome.cut(talking) == []
    assert CallResult.STALE not in outcome.results
    assert outcome.wrong(outcome.truths) == []


def test_given_calls_when_the_media_server_stands_still_then_the_daemon_replaces_it_and_people_talk_on():
    with campaign(mix=ANSWERED, talk_s=15.0) as run:
        run.await_conversations(2)
        pid = part(run, "media-0")
        stopped_s = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        eventually("another media server", lambda: run.new_server("media-0", pid))
        eventually("no channel is out of reach", lambda: run.site.log_text().count('"media.connected"') > 1)
        back_s = time.monotonic()
        assert '"telephony.hung"' in run.site.log_text()
        run.await_calls(run.attempts_begun() + 1)
        outcome = run.finish()
    print(outcome.figures(), f"away for {back_s - stopped_s:.1f} s")
    outcome.assert_nothing_lost_or_doubled()
    talked = outcome.talking_at(stopped_s)
    assert talked
    assert {outcome.result_of(truth) for truth in talked} == {CallResult.ANSWER}
    if back_s - stopped_s < RECOVERY_LIMIT_S:  # a machine too slow for it ends them instead, as the next test shows
        assert outcome.cut(talked) == []


def test_given_calls_when_the_media_server_stands_still_for_good_then_it_is_our_fault_and_nobody_is_charged():
    with campaign(mix=ANSWERED, talk_s=20.0) as run:
        run.await_conversations(2)
        run.await_calls(7)
        first = pid = part(run, "media-0")
        stopped_s = time.monotonic()
        os.kill(pid, signal.SIGSTOP)

        def given_up() -> bool:
            """No server that is started in its place gets to serve either."""
            nonlocal pid
            if run.new_server("media-0", pid):
                pid = part(run, "media-0")
                os.kill(pid, signal.SIGSTOP)
            return '"media.lost"' in run.site.log_text()

        eventually("its channels are given up", given_up)
        assert pid != first, "the daemon tried"
        eventually("no agent talks with nobody", lambda: run.figure("agents_talking") == 0)
        ours = run.count(
            "SELECT count(*) FROM ocsd.attempt WHERE treatment_dbid IS NULL"
            f" AND call_result = {int(CallResult.SYSTEM_ERROR)}"
        )
        charged = run.site.query(
            "SELECT count(*) FROM {list} WHERE attempt > 0 AND call_result = %s", int(CallResult.SYSTEM_ERROR)
        )[0][0]
        run.kill("media", pid)
        eventually("another media server", lambda: run.new_server("media-0", pid))
        back_s = time.monotonic()
        run.await_calls(run.attempts_begun() + 3)
        eventually("people talk again", lambda: run.figure("agents_talking") > 0)
        outcome = run.finish()
    print(outcome.figures(), f"ours: {ours}, away for {back_s - stopped_s:.1f} s")
    assert charged == 0
    assert doubled(outcome) == []
    assert outcome.statuses.get(int(RecordStatus.RETRIEVED), 0) == 0
    talked = outcome.talking_at(stopped_s)
    assert talked
    assert {outcome.result_of(truth) for truth in talked} == {CallResult.ANSWER}
    assert all(attempt.finished for attempt in outcome.attempts)
    # Who had answered and heard nothing was not rude.
    waited = [t for t in outcome.under_way_at(stopped_s + HEARD_OF_S) if t.get("talk_began_at_s") is None]
    first = {truth["number"]: first_result(outcome, truth["number"]) for truth in waited}
    print("without a voice:", first)
    assert not set(first.values()) & {CallResult.REMOTE_RELEASE, CallResult.ABANDONED, CallResult.NO_ANSWER}
