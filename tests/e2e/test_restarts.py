"""What the people in a conversation hear of a daemon that is killed or stopped, and started again: nothing."""

import pytest

from tests.e2e.restarts import COMING_AND_GOING_S, CONVERSATIONS, restart

pytestmark = pytest.mark.e2e

TIMES = 10


def test_given_conversations_when_the_daemon_restarts_ten_times_then_no_frame_is_missing_and_records_are_complete():
    found = restart(TIMES)

    print(found)
    assert found.faults == ()
    assert (found.killed, found.stopped) == (TIMES // 2, TIMES // 2)
    assert found.conversations >= CONVERSATIONS
    assert found.complete == found.conversations
    assert found.adopted >= TIMES * CONVERSATIONS, "each new daemon took over every conversation"
    assert found.missing_frames == 0, "gap in the audio"
    for side in found.sides:
        assert side.recognised_s >= side.talked_s - COMING_AND_GOING_S, side
        assert side.strangers_s == 0.0, side
