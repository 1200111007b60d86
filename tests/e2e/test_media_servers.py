"""Two media servers under one campaign: one is killed in the middle of it, then the daemon; the other is drained."""

import os
import signal
import time

import pytest

from ocsd.model.enums import CallResult
from telephony import launcher
from tests.e2e.campaign import campaign
from tests.e2e.site import eventually

pytestmark = pytest.mark.e2e

ANSWERED = {"human": 0.85, "machine": 0.15}


def two_servers(text: str) -> str:
    assert "media_servers = 1\n" in text
    return text.replace("media_servers = 1\n", "media_servers = 2\nmedia_capacity = 40\n")


def test_given_two_media_servers_when_one_the_daemon_and_the_other_go_then_nothing_is_lost_and_nobody_is_cut():
    with campaign(mix=ANSWERED, talk_s=8.0, edit=two_servers) as run:
        run_dir = run.folder / "run"
        pids = launcher.server_pids(run_dir)
        assert {"media-0", "media-1"} < pids.keys()
        run.await_calls(6)
        run.await_conversations(4)
        killed_s = run.kill("media", pids["media-0"])
        eventually("another first server", lambda: run.new_server("media-0", pids["media-0"]))
        eventually("it serves", lambda: run.site.log_text().count('"media.connected"') > 2)

        run.await_conversations(3)
        daemon_killed_s = run.kill_daemon()
        run.site.start_daemon()
        assert run.is_running, "the group dials on without being asked"

        run.await_conversations(2)
        drained_s = time.monotonic()
        os.kill(pids["media-1"], signal.SIGUSR1)
        eventually(
            "another second server, after the last call of the drained one",
            lambda: run.new_server("media-1", pids["media-1"]),
        )
        back_s = time.monotonic()
        run.await_calls(run.attempts_begun() + 4)
        outcome = run.finish()
        print(outcome.figures(), f"drained for {back_s - drained_s:.1f} s")
        outcome.assert_nothing_lost_or_doubled()
    for at_s in (killed_s, daemon_killed_s, drained_s):
        talking = outcome.talking_at(at_s)
        assert talking, "somebody was talking then"
        assert outcome.cut(talking) == []
        assert {outcome.result_of(truth) for truth in talking} == {CallResult.ANSWER}
    assert outcome.dialed_after(back_s), "dialing goes on"
