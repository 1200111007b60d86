"""The short form of `tests.telephony.media_fuzz`."""

import pytest

from tests.telephony.media_fuzz import Fuzz, Mutator, control_frames

FRAMES = 5000


@pytest.mark.parametrize("seed", [1, 2])
def test_given_mutated_frames_of_all_kinds_when_a_call_runs_then_it_does_not_notice(tmp_path, seed):
    fuzz = Fuzz(tmp_path, seed)
    try:
        found = fuzz.run(FRAMES, quiet_s=1.0)
    finally:
        fuzz.close()

    assert found.frames.total() == FRAMES
    assert found.exit_code == 0
    assert found.live_attacked.injected == 0
    # A busy test machine may make our own far ends late; the attack itself costs not one frame.
    assert found.live_attacked.heard >= 0.8 * (found.live_attacked.heard + found.live_attacked.other) > 0
    assert found.descriptors_after == found.descriptors_before
    assert found.rss_after_mb - found.rss_before_mb < 5.0
    assert set(found.live_dropped) & {"unknown_source", "rtcp_unknown_source", "bad_rtcp"}
    assert set(found.bad_dropped) & {"bad_length", "bad_padding", "duplicate", "jump"}
    assert found.daemon_reconnects > 1


def test_given_a_seed_when_mutating_then_the_same_damage_again():
    def damage():
        mutator = Mutator(7)
        return [mutator.mutate(one, other) for one in control_frames() for other in control_frames()]

    assert damage() == damage()
    assert len(set(damage())) > 100
