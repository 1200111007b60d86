import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacing import DialDecision, Goal, GroupSnapshot, LegalRoom, Mode, Outcome, Pacer, PacingTarget
from pacing.journal import Abridged, Checkpoint, Decided, Header, Lost, Recorder, Told, decision_digest
from pacing.journal_codec import Decoder, Encoder, JournalError, block, blocks, read
from pacing.replay import replay
from tests.pacing.journal_world import DEFAULT_TARGET, recorded

EMPTY = GroupSnapshot(100.0, (), (), (), (), (), 0, 10, 10)

ages = st.floats(0.0, 600.0).map(abs)
short = st.lists(ages, max_size=6).map(tuple)
snapshots = st.builds(
    GroupSnapshot,
    now_s=st.floats(0.0, 1e7),
    agents_idle_s=short,
    agents_talking_s=short,
    agents_wrapping_s=st.lists(st.tuples(ages, ages), max_size=4).map(tuple),
    attempts_age_s=short,
    analysing_age_s=short,
    people_waiting=st.integers(0, 3),
    ports_free=st.integers(0, 50),
    records_ready=st.integers(0, 50),
    starts_allowed=st.integers(0, 50),
    agents_ready_in_s=short,
    inbound_waiting=st.integers(0, 2),
    inbound_ringing=st.integers(0, 2),
    agents_kept_back=st.integers(0, 2),
    agents_leaving=st.integers(0, 2),
    attempts_rung_s=short,
    legal=st.none() | st.builds(LegalRoom, ages, ages, st.booleans(), st.text(max_size=10)),
)
targets = st.builds(
    PacingTarget,
    mode=st.sampled_from(Mode),
    goal=st.sampled_from(Goal),
    value=st.floats(0.01, 1.0),
    max_overdial_ratio=st.floats(0.0, 0.1),
    least_ring_s=st.none() | st.floats(0.0, 30.0),
)
events = st.one_of(
    st.tuples(st.just("answered"), ages),
    st.tuples(st.just("ended"), ages, st.sampled_from(Outcome), st.none() | ages),
    st.tuples(st.just("person"), ages),
    st.tuples(st.just("bridged"), ages),
    st.tuples(st.just("abandoned")),
    st.tuples(st.just("handled"), ages, ages),
    st.tuples(st.just("set_target"), targets),
)


def in_order(snapshot):
    """Counts that are subsets of the idle agents stay so."""
    idle = len(snapshot.agents_idle_s)
    kept = min(snapshot.agents_kept_back, idle)
    return replace(snapshot, agents_kept_back=kept, agents_leaving=min(snapshot.agents_leaving, idle - kept))


def reread(entries, **encoding):
    encoder, decoder = Encoder(**encoding), Decoder()
    return [decoder.entry(encoder.line(entry)) for entry in entries]


def assert_repeats(entries):
    """Every decision of a recording comes out again; returns how many there were."""
    repeated = list(replay(reread(entries)))
    assert [each.differences for each in repeated if each.differences] == []
    decided = [each for each in repeated if isinstance(each.entry, Decided)]
    made = [entry for entry in entries if isinstance(entry, Decided)]
    assert [each.decision for each in decided] == [entry.decision for entry in made]
    assert [repr(each.entry.snapshot) for each in decided] == [repr(entry.snapshot) for entry in made]
    return len(decided)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(target=targets, happens=st.lists(snapshots.map(in_order) | events, max_size=25), every_s=st.floats(1.0, 1e6))
def test_given_any_events_and_snapshots_when_replayed_from_their_lines_then_every_decision_is_the_same(
    target, happens, every_s
):
    entries = []
    recorder = Recorder(target, 2.0, sink=entries.append, checkpoint_every_s=every_s)
    for each in happens:
        if isinstance(each, GroupSnapshot):
            recorder.decide(each)
        else:
            getattr(recorder, each[0])(*each[1:])
    assert_repeats(entries)


def test_given_a_run_when_replayed_from_its_lines_then_every_decision_is_the_same():
    entries, group = recorded(12, 150.0, checkpoint_every_s=60.0)

    assert assert_repeats(entries) > 700
    assert group.people > 15
    assert sum(isinstance(entry, Checkpoint) for entry in entries) >= 3
    assert any(entry.decision.because == "risk" for entry in entries if isinstance(entry, Decided))


def test_given_checkpoints_every_few_seconds_when_dialing_then_nothing_that_was_learnt_is_lost_by_them():
    often, group = recorded(12, 300.0, checkpoint_every_s=5.0)
    _, undisturbed = recorded(12, 300.0, checkpoint_every_s=1e9)

    reasons = [entry.decision.because for entry in often if isinstance(entry, Decided)]
    learnt = reasons.index("risk")
    assert "learning" in reasons[:learnt]
    assert "learning" not in reasons[learnt:]
    assert abs(group.people - undisturbed.people) < 0.15 * undisturbed.people


def test_given_states_that_were_kept_elsewhere_when_replayed_then_they_are_taken_there_too():
    entries = []
    recorder = Recorder(DEFAULT_TARGET, sink=entries.append)
    for at_s in range(40):
        recorder.answered(at_s / 3.0)
        if at_s % 6 == 5:
            kept = recorder.state_text()
        recorder.decide(replace(EMPTY, now_s=100.0 + at_s, agents_idle_s=(1.0, 2.5)))

    assert assert_repeats(entries) == 40
    assert json.loads(kept)["version"] == Pacer(DEFAULT_TARGET).state()["version"]
    kept_there = [entry.text is None for entry in entries if isinstance(entry, Checkpoint)]
    assert kept_there == [False, *[True] * 6]


def test_given_a_recorder_and_a_bare_pacer_when_they_hear_the_same_then_they_decide_the_same():
    recorder, pacer = Recorder(DEFAULT_TARGET, 1.5), Pacer(DEFAULT_TARGET, 1.5)
    for at_s in range(60):
        for each in (recorder, pacer):
            each.answered(5.0 + at_s % 7)
            each.ended(20.0, Outcome.NO_ANSWER)
            each.person(0.5)
            each.bridged(0.1)
            each.handled(30.0 + at_s, 5.0)
        snapshot = replace(EMPTY, now_s=100.0 + at_s, agents_idle_s=(1.0,), agents_talking_s=(3.0, 40.0))
        assert recorder.decide(snapshot) == pacer.decide(snapshot)
    assert recorder.target is pacer.target
    assert recorder.decisions == 60


def test_given_what_was_learnt_when_a_recorder_begins_with_it_then_it_knows_it():
    entries, _ = recorded(12, 150.0)
    first = next(entry for entry in entries if isinstance(entry, Checkpoint))
    assert Recorder(DEFAULT_TARGET, learnt=first.text).state_text() == first.text

    last = next(replay(reread(entries)))
    assert last.entry.number == 1
    for broken in ("{", "[]", "{}", '{"version": 1}', first.text.replace('"hits"', '"misses"')):
        with pytest.raises(ValueError, match=r"\w"):
            Recorder(DEFAULT_TARGET, learnt=broken)


def test_given_a_changed_recording_when_replayed_then_the_first_difference_is_told():
    entries, _ = recorded(6, 40.0)
    at = next(i for i, entry in enumerate(entries) if isinstance(entry, Told) and entry.method == "answered")
    entries[at] = Told("answered", (entries[at].arguments[0] + 3.0,))
    number = next(entry.number for entry in entries[at:] if isinstance(entry, Decided))

    differing = [each for each in replay(reread(entries, full_every_s=0.0)) if each.differences]

    assert differing
    assert differing[0].entry.number >= number

    untouched, _ = recorded(6, 40.0)
    decided = next(i for i, entry in enumerate(untouched) if isinstance(entry, Decided))
    wrong = replace(untouched[decided].decision, launch=7, inputs={"idle": 6.0})
    untouched[decided] = replace(untouched[decided], decision=wrong)
    told = next(each for each in replay(untouched) if each.differences).differences
    assert told[0].startswith("launched 7 (")
    assert any(text.startswith("talking was None, now") for text in told)


def test_given_a_learnt_state_that_differs_when_replayed_then_the_checkpoint_says_so():
    entries, _ = recorded(6, 40.0, checkpoint_every_s=15.0)
    at = next(i for i, entry in enumerate(entries) if isinstance(entry, Told) and entry.method == "ended")
    del entries[at]

    told = [each for each in replay(entries) if isinstance(each.entry, Checkpoint) and each.differences]

    assert len(told) == 1  # the replay goes on with what was recorded
    assert told[0].differences == (f"what was learnt up to decision {told[0].entry.number} differs",)


def test_given_a_gap_when_replayed_then_it_goes_on_at_the_next_checkpoint():
    entries, _ = recorded(8, 60.0, checkpoint_every_s=20.0)
    whole = [i for i, entry in enumerate(entries) if isinstance(entry, Checkpoint)]
    torn = [*entries[: whole[1] - 20], Lost(20), *entries[whole[1] :]]

    repeated = list(replay(reread(torn)))

    assert not any(each.differences for each in repeated)
    missing = sum(isinstance(entry, Decided) for entry in entries[whole[1] - 20 : whole[1]])
    made = sum(isinstance(entry, Decided) for entry in entries)
    assert sum(isinstance(each.entry, Decided) for each in repeated) == made - missing


def test_given_a_file_torn_at_any_byte_when_read_then_all_whole_blocks_are_there():
    entries, _ = recorded(4, 20.0, checkpoint_every_s=5.0)
    encoder = Encoder()
    lines = [encoder.line(entry) for entry in [Header({"group": "Example"}), *entries]]
    written = [block(lines[i : i + 40]) for i in range(0, len(lines), 40)]
    content = b"".join(written)
    ends = [sum(map(len, written[: i + 1])) for i in range(len(written))]

    for torn_at in [*range(0, len(content), 997), *ends, ends[1] + 5, ends[0] - 1]:
        found = [line for _, each in blocks(content[:torn_at]) for line in each]
        assert found == lines[: 40 * sum(end <= torn_at for end in ends)]

    spoilt = content[: ends[0] + 30] + b"\0\0\0" + content[ends[0] + 33 :]
    assert [end for end, _ in blocks(spoilt)] == [ends[0]]
    assert len(list(read(content))) == len(lines)
    assert next(read(content)) == Header({"group": "Example"})
    with pytest.raises(JournalError, match="no whole block"):
        list(read(content[:10]))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[1]",
        '{"decide": 1}',
        '{"journal": 99}',
        '{"call": "__init__", "with": []}',
        '{"call": "ended", "with": [1, "x"]}',
    ],
)
def test_given_a_line_that_is_none_when_decoded_then_it_is_refused_in_a_sentence(line):
    decoder = Decoder()
    decoder.entry(Encoder().line(Checkpoint(0, DEFAULT_TARGET, 2.0, "", '{"version": 1}')))
    with pytest.raises(JournalError, match=r"pacing journal|format"):
        decoder.entry(line)


def test_given_entries_before_a_checkpoint_when_decoded_then_they_are_passed_over():
    encoder = Encoder()
    line = encoder.line(Decided(1, EMPTY, DialDecision(0, "learning", 0.0, {})))
    assert Decoder().entry(line) is None
    assert Decoder().entry(encoder.line(Told("abandoned", ()))) is None


def test_given_a_decision_not_written_in_full_when_decoded_then_its_digest_tells_every_bit():
    decision = DialDecision(2, "risk", 0.01, {"idle": 3, "theta": 0.1})
    encoder, decoder = Encoder(full_every_s=5.0), Decoder()
    decoder.entry(encoder.line(Checkpoint(0, DEFAULT_TARGET, 2.0, "", '{"version":1}')))
    first = decoder.entry(encoder.line(Decided(1, EMPTY, decision)))
    second = decoder.entry(encoder.line(Decided(2, replace(EMPTY, now_s=101.0), decision)))

    assert first.decision == decision
    assert second.decision == Abridged(2, "risk", decision_digest(decision))
    changed = replace(decision, inputs={"idle": 3, "theta": 0.1 + 2e-17})
    assert (decision_digest(changed) == decision_digest(decision)) == (0.1 + 2e-17 == 0.1)
    assert (
        decision_digest(replace(decision, inputs={"idle": 3, "theta": 0.10000000000000002})) != second.decision.digest
    )


def test_given_a_call_that_fails_when_recorded_then_a_checkpoint_mends_the_recording():
    entries = []
    recorder = Recorder(DEFAULT_TARGET, sink=entries.append)
    recorder.decide(EMPTY)
    with pytest.raises(ValueError, match="wait_s"):
        recorder.bridged(-1.0)
    recorder.decide(replace(EMPTY, now_s=101.0))

    assert [type(entry) for entry in entries] == [Checkpoint, Decided, Checkpoint, Decided]
    assert_repeats(entries)
