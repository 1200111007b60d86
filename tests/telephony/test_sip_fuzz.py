"""The short form of `tests.telephony.sip_fuzz`, and what its mutations are worth."""

import trio

from tests.telephony.sip_fuzz import LIVE_CALLS, Fuzz
from tests.telephony.sip_mutation import METHODS, STATUSES, Dialog, SipMutator

FRAMES = 4000
HANG_LIMIT_S = 120.0
DIALOG = Dialog("id@x", "<sip:a@x>;tag=1", "<sip:b@y>;tag=2", "sip:b@127.0.0.1:9")


async def test_given_mutated_sip_and_rtp_everywhere_when_calls_run_then_nobody_falls_and_no_call_notices(tmp_path):
    with trio.fail_after(HANG_LIMIT_S):
        found = await Fuzz(tmp_path, 11, tmp_path / "deaths").run(FRAMES, use_all_slots=False)

    told = [file.read_text(errors="replace")[-3000:] for file in (tmp_path / "deaths").glob("*")]
    assert found.frames.total() >= FRAMES
    assert set(found.frames) == {"worker_dialog", "worker", "carrier", "media_rtp", "media_rtcp", "carrier_rtp"}
    assert (found.workers_died, found.live_ended, found.tracebacks) == (0, [], 0), told
    assert (found.media_exit, found.carrier_exit, found.media_channels_left) == (0, 0, 0)
    assert found.legs_left == LIVE_CALLS
    assert len(found.live_gaps) == LIVE_CALLS
    # Where an attack got no deeper than a refusal it would show nothing.
    assert {"local 200", "local 487"} <= set(found.victims)


def test_given_a_seed_when_mutating_then_the_same_damage_again_and_most_of_it_different():
    def damage():
        mutator = SipMutator(7)
        made = [mutator.request(DIALOG, method) for method in METHODS]
        made += [mutator.response(DIALOG, status) for status in STATUSES]
        return [mutator.damage(one, other) for one in made for other in made]

    assert damage() == damage()
    assert len(set(damage())) > 1000
