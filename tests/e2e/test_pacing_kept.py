"""What the pacing has learnt, and its journal, with real processes: daemons that are killed and stopped."""

import pytest

from ocsd.explain.pacing_recording import open_recording
from pacing.journal import Decided, Told
from tests.e2e.campaign import campaign
from tests.e2e.site import GROUP, eventually

pytestmark = pytest.mark.e2e


def test_given_daemons_that_are_killed_and_stopped_when_others_start_then_the_pacing_goes_on_and_all_is_replayed():
    with campaign(talk_s=3.0) as run:
        run.await_calls(6)
        eventually("a decision is shown", lambda: run.site.client.pacing(GROUP)["decision"])
        eventually("a block is written", lambda: run.site.client.pacing(GROUP)["journal"]["file"])
        run.kill_daemon()
        run.site.start_daemon()
        run.await_calls(run.attempts_begun() + 3)
        assert run.site.stop_daemon() == 0
        run.site.start_daemon()
        eventually("the state was read", lambda: '"pacing.memory_recalled"' in run.site.log_text())
        eventually("and it decides", lambda: run.site.client.pacing(GROUP)["decision"])
        run.finish().assert_nothing_lost_or_doubled()
        recordings = [open_recording(path) for path in sorted(run.site.folder.rglob("*.jsonl.gz"))]

    assert len(recordings) == 3
    for recording in recordings:
        repeated = list(recording.replayed())
        assert [each.differences for each in repeated if each.differences] == []
        assert sum(isinstance(each.entry, Decided) for each in repeated) >= 1
    told = {entry.method for recording in recordings for entry in recording.entries() if isinstance(entry, Told)}
    assert told >= {"answered", "person", "bridged", "handled"}
