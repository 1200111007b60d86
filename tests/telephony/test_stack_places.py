"""pjsua's places for calls, given out again at once."""

import subprocess
import sys

from tests.telephony.place_reused import NEXT

HANG_LIMIT_S = 60.0


def test_given_a_call_that_ends_at_once_when_another_one_is_placed_in_the_same_turn_then_it_is_not_cut_off():
    ran = subprocess.run(
        [sys.executable, "-m", "tests.telephony.place_reused"], capture_output=True, text=True, timeout=HANG_LIMIT_S
    )

    assert (ran.returncode, ran.stdout.split()[-1:]) == (0, [NEXT]), ran.stderr
    assert len(ran.stdout.split()) == 2
