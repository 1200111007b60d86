"""What recording costs on disk; -s shows the figures."""

import pytest

from pacing.journal_codec import Encoder, block
from tests.pacing.journal_world import recorded

ENTRIES_PER_BLOCK = 300


@pytest.mark.parametrize(("agents", "seconds", "most_mb_per_hour"), [(50, 300.0, 2.0), (300, 60.0, 8.0)])
def test_given_a_group_when_recorded_then_an_hour_takes_so_much_of_the_disk(agents, seconds, most_mb_per_hour):
    entries, _ = recorded(agents, seconds)
    encoder = Encoder()
    lines = [encoder.line(entry) for entry in entries]
    size = sum(len(block(lines[i : i + ENTRIES_PER_BLOCK])) for i in range(0, len(lines), ENTRIES_PER_BLOCK))

    print(f"{agents} agents: {size / 1e6 * 3600.0 / seconds:.2f} MB an hour, {len(lines)} entries")
    assert size / 1e6 * 3600.0 / seconds < most_mb_per_hour
