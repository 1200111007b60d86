"""Kill tests: whatever process dies in the middle of a campaign, nothing is lost and nobody is called twice."""

import os
import random
import time

import pytest

from ocsd.model.enums import CallResult
from telephony.simworld.idtone import AGENT_CODES
from tests.e2e.campaign import Campaign, Outcome, Truth, campaign
from tests.e2e.site import eventually

pytestmark = pytest.mark.e2e

EVERYTHING = {"human": 0.6, "machine": 0.15, "no_answer": 0.05, "busy_sip": 0.1, "busy_inband": 0.1}
ANSWERED = {"human": 0.8, "machine": 0.1, "busy_sip": 0.1}
BOTH_LEGS = {"agent", "customer"}
PACKETS_PER_S = 50


def run_on(run: Campaign, calls: int = 4) -> Outcome:
    """Some more calls, then everything to its end."""
    run.await_calls(run.attempts_begun() + calls)
    outcome = run.finish()
    print(outcome.figures())
    outcome.assert_nothing_lost_or_doubled()
    return outcome


def seconds_heard(truth: Truth, *, agents: bool) -> float:
    """Longest time that one identifying tone of the other side was heard."""
    codes = {int(code): float(seconds) for code, seconds in truth["heard_codes"].items()}
    return max((seconds for code, seconds in codes.items() if (code < AGENT_CODES) is agents), default=0.0)


def packets_on_record(run: Campaign, attempt_id: int) -> dict[str, int]:
    """Of each leg of a call whose sound is on record: packets that came from there."""
    return dict(run.site.query("SELECT leg, packets_in FROM ocsd.stream WHERE attempt_id = %s AND mos > 1", attempt_id))


def test_given_calls_of_all_kinds_when_the_daemon_is_killed_then_conversations_go_on_and_dialing_resumes():
    with campaign(mix=EVERYTHING, talk_s=8.0) as run:
        run.await_calls(9)
        run.await_conversations(3, in_middle=2)
        killed_s = run.kill_daemon()
        run.site.start_daemon()
        restarted_s = time.monotonic()
        assert run.is_running, "the group dials on without being asked"
        outcome = run_on(run)
        talking = outcome.talking_at(killed_s)
        assert len(talking) >= 2
        for truth in talking:
            attempt = outcome.attempt_of(truth)
            assert attempt is not None
            heard = eventually(
                "how both sides sounded is on record",
                lambda one=attempt: (found := packets_on_record(run, one.attempt_id)).keys() >= BOTH_LEGS and found,
            )
            # What came before the new daemon and while there was none counts too.
            assert heard["customer"] > PACKETS_PER_S * (truth["ended_at_s"] - restarted_s), truth
    assert outcome.cut(talking) == []
    assert all(truth["ended_at_s"] > restarted_s for truth in talking)
    assert outcome.summary["resumed"] >= len(talking), "each desktop found its call again, by ConnID"
    assert {outcome.result_of(truth) for truth in talking} == {CallResult.ANSWER}
    # Of a greeting that began while no daemon asked to listen, only the end was heard: its verdict is a guess.
    heard_in_full = [
        truth
        for truth in outcome.under_way_at(killed_s)
        if truth["answered_at_s"] is None or not killed_s - 0.2 < truth["answered_at_s"] < restarted_s
    ]
    assert outcome.wrong(heard_in_full) == []
    assert all(outcome.result_of(truth) is not None for truth in outcome.under_way_at(killed_s))
    assert len(outcome.dialed_after(restarted_s)) >= 3


def test_given_calls_under_way_when_the_daemon_is_asked_to_stop_then_each_gets_its_own_result_and_none_is_stale():
    # Long talks, one line an agent: the stop waits for verdicts and announcements, and the talks shall outlast that.
    with campaign(mix=ANSWERED, talk_s=8.0, lines=1.0) as run:
        run.await_calls(7)
        run.await_conversations(3, in_middle=2)
        asked_s = time.monotonic()
        assert run.site.stop_daemon() == 0
        stopped_s = time.monotonic()
        run.site.start_daemon()
        assert run.is_running, "the group dials on without being asked"
        outcome = run_on(run, calls=1)
    talking = outcome.talking_at(stopped_s)
    assert len(talking) >= 2
    assert outcome.cut(talking) == []
    assert outcome.summary["resumed"] >= len(talking)
    assert CallResult.STALE not in outcome.results
    assert outcome.wrong(outcome.under_way_at(asked_s)) == []
    assert [t for t in outcome.truths if asked_s + 1.0 < t["invited_at_s"] < stopped_s] == []


def test_given_conversations_when_sip_workers_and_their_parent_are_killed_then_only_their_calls_suffer():
    with campaign() as run:
        run.await_conversations(4)
        workers = run.all_worker_pids()
        lost_customer = lost_agent = False
        killed_s = time.monotonic()
        while not (lost_customer and lost_agent):
            assert workers, "no worker held a leg"
            known = run.site.log_text().count("worker.connected")
            run.kill("worker", workers.pop())
            eventually("its successor serves", lambda n=known: run.site.log_text().count("worker.connected") > n)
            lost_customer |= any(leg.endswith("-customer") for leg in run.lost_legs())
            lost_agent |= any("-agent-" in leg for leg in run.lost_legs())
        parent = run.kill_pool_parent()
        eventually("another parent", lambda: run.new_server("telephony", parent))
        assert set(workers) <= set(run.all_worker_pids()), "workers outlive their parent"
        outcome = run_on(run)
        talking = outcome.talking_at(killed_s)
        unharmed = [truth for truth in talking if not run.was_lost(truth, outcome)]
        print(f"lost {run.lost_legs()}, unharmed {len(unharmed)} of {len(talking)}")
    assert outcome.cut(unharmed) == []
    assert {outcome.result_of(truth) for truth in talking} == {CallResult.ANSWER}


def test_given_conversations_when_the_media_server_is_killed_then_both_sides_hear_each_other_again():
    with campaign(mix=ANSWERED, talk_s=8.0) as run:
        run.await_calls(6)
        run.await_conversations(4, in_middle=2)
        dead, killed_s = run.kill_media()
        eventually("another media server", lambda: run.new_server("media-0", dead))
        eventually("it serves", lambda: run.site.log_text().count('"media.connected"') > 1)
        back_s = time.monotonic()
        outcome = run_on(run, calls=1)
    talking = outcome.talking_at(killed_s)
    assert len(talking) >= 2
    assert outcome.cut(talking) == []
    # The tones are decoded in windows of a second: whoever stayed for three more must have heard at least one of them.
    long_enough = [truth for truth in talking if truth["ended_at_s"] > back_s + 3.0]
    assert long_enough
    for truth in long_enough:
        before_s = killed_s - truth["talk_began_at_s"]
        assert seconds_heard(truth, agents=True) > before_s + 1.0, "the customer hears the agent again"
    for phone in outcome.phones:
        if (phone["answered_at_s"] or killed_s) < killed_s and phone["ended_at_s"] > back_s + 3.0:
            before_s = killed_s - phone["answered_at_s"]
            assert seconds_heard(phone, agents=False) > before_s + 1.0, "the agent hears the customer again"


def test_given_results_to_write_when_postgresql_is_killed_then_they_are_written_once_it_is_back():
    with campaign(mix=ANSWERED) as run:
        run.await_calls(8)
        run.await_conversations(3)
        dead, killed_s = run.kill_postgres()
        eventually("another postmaster", lambda: run.site.postgres.server_pid() not in (None, dead))
        outcome = run_on(run)
    assert outcome.cut(outcome.talking_at(killed_s)) == []
    assert CallResult.STALE not in outcome.results, "the daemon lived: it knows how each call ended"
    assert outcome.wrong(outcome.truths) == []
    assert len(outcome.dialed_after(killed_s)) >= 3


@pytest.mark.parametrize("seed", [int(os.environ.get("KILL_SEED", "20"))])
def test_given_a_campaign_when_processes_are_killed_at_random_then_nothing_is_lost_and_nobody_called_twice(seed):
    chance = random.Random(seed)
    with campaign(mix=EVERYTHING, seed=seed) as run:
        run.await_conversations(2)
        for what in chance.sample(["daemon", "daemon", "worker", "media", "postgres"], k=5):
            time.sleep(chance.uniform(0.2, 2.5))  # the instant is what is random here; nothing waits for it
            run.kill_something(what, chance)
        eventually("the daemon answers", lambda: run.is_running)
        outcome = run_on(run)
    print(f"seed {seed}")
    assert outcome.wrong([t for t in outcome.truths if t["invited_at_s"] > run.last_kill_s + 5.0]) == []
