"""Calls that are given up: which, how many, and what is learnt from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacing import Mode, Outcome, Pacer, PacingTarget
from pacing.estimators import AgeHistogram, HitRatio, answer_prior
from pacing.journal import Decided, Recorder
from pacing.journal_codec import Decoder, Encoder
from pacing.predictive import Prediction
from pacing.release import NEAR_STEPS, SHORTAGE_MOST
from pacing.replay import replay
from pacing.sim import SCENARIOS
from pacing.sim.contenders import CONTENDERS, LEAST_RING_S, RELEASING
from pacing.sim.engine import World
from pacing.words import told
from tests.pacing.worlds import PREDICTIVE, snapshot, snapshots, trained

SETUP_S = 2.0
RELEASES = replace(PREDICTIVE, least_ring_s=LEAST_RING_S)
TRAINED = json.dumps(trained(RELEASES).state())


def pacer(target=RELEASES):
    """Knows what `trained` knows."""
    return Pacer.from_state(target, json.loads(TRAINED))


def ringing(snapshot):
    """The same instant, with rings that began two seconds after each launch."""
    return replace(snapshot, attempts_rung_s=tuple(max(0.0, age_s - SETUP_S) for age_s in snapshot.attempts_age_s))


def near_shortage(snapshot, monkeypatch):
    """The mean of P(D <= 0) over the next seconds, as a pacer sees it that gives nothing up."""
    seen = []

    class Watched(Prediction):
        def __init__(self, view):
            super().__init__(view)
            seen.append(self)

    with monkeypatch.context() as patched:
        patched.setattr("pacing.pacer.Prediction", Watched)
        pacer(PREDICTIVE).decide(snapshot)
    return float(seen[0].short(0)[1 : NEAR_STEPS + 1].mean())


FEW = snapshot(talking=[4.0] * 5, ringing=[9.0, 18.0, 11.0, 19.5, 17.5])
MANY = snapshot(talking=[4.0] * 40, ringing=[9.0] * 60 + [18.0 + n / 50 for n in range(60)])


@settings(deadline=None, max_examples=150)
@given(snapshots())
def test_given_any_group_when_decided_then_only_calls_that_rang_long_enough_are_given_up(seen):
    seen = ringing(seen)
    decision = pacer().decide(seen)
    rung_s = [seen.attempts_rung_s[place] for place in decision.release]

    assert len(set(decision.release)) == len(decision.release)
    assert all(ring_s >= LEAST_RING_S for ring_s in rung_s)
    assert rung_s == sorted(rung_s, reverse=True)
    assert not (decision.launch and decision.release)


@pytest.mark.parametrize("seen", [FEW, MANY], ids=["few", "many"])
def test_given_nobody_will_be_free_when_decided_then_no_more_go_than_must(seen, monkeypatch):
    gone = pacer().decide(ringing(seen)).release

    def without(places):
        return replace(seen, attempts_age_s=tuple(a for n, a in enumerate(seen.attempts_age_s) if n not in places))

    eligible = sum(age_s - SETUP_S >= LEAST_RING_S for age_s in seen.attempts_age_s)
    assert 0 < len(gone) <= eligible
    assert near_shortage(seen, monkeypatch) > SHORTAGE_MOST
    # The count is found by the normal law in a large group: two percent of shortage is within its error.
    assert near_shortage(without(gone[:-1]), monkeypatch) > SHORTAGE_MOST - 0.02
    if len(gone) < eligible:
        assert near_shortage(without(gone), monkeypatch) <= SHORTAGE_MOST + 0.02


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        (PREDICTIVE, ringing(FEW)),
        (RELEASES, FEW),
        (RELEASES, replace(FEW, attempts_rung_s=(20.0,))),
        (RELEASES, replace(FEW, attempts_rung_s=(14.9,) * 5)),
        (RELEASES, ringing(replace(FEW, agents_idle_s=(1.0,) * 9))),
        (replace(RELEASES, mode=Mode.PROGRESSIVE), ringing(FEW)),
    ],
    ids=["not asked for", "rings unknown", "rings do not fit", "too short", "agents free", "progressive"],
)
def test_given_no_reason_or_no_right_when_decided_then_no_call_is_given_up(target, seen):
    assert pacer().decide(ringing(FEW)).release
    assert pacer(target).decide(seen).release == ()


def test_given_calls_that_are_given_up_when_decided_then_what_is_expected_is_without_them():
    kept, released = pacer(PREDICTIVE).decide(ringing(FEW)), pacer().decide(ringing(FEW))

    assert released.inputs["expected_people"] < kept.inputs["expected_people"]
    assert released.inputs["expected_abandoned"] < kept.inputs["expected_abandoned"]


def test_given_calls_that_are_given_up_when_told_in_words_then_they_are_mentioned():
    decision = pacer().decide(ringing(FEW))

    assert f"gave up {len(decision.release)} that rang" in told(decision)[0]
    assert "gave up" not in told(replace(decision, release=()))[0]


@pytest.mark.parametrize("least_ring_s", [-1.0, float("inf"), float("nan")])
def test_given_a_least_ring_that_is_none_when_set_then_it_is_refused(least_ring_s):
    with pytest.raises(ValueError, match="least_ring_s"):
        Pacer(replace(PREDICTIVE, least_ring_s=least_ring_s))


# What is learnt ---------------------------------------------------------------------------------------------------


def learnt(count_as: Outcome | None, seed: int = 5):
    """Hit ratio and late answers as learnt from 3,000 calls; None: no call is given up."""
    random, knows = np.random.default_rng(seed), Pacer(PacingTarget(Mode.PROGRESSIVE))
    for call in range(3000):
        knows.decide(snapshot(now_s=float(call)))
        answers = random.random() < 0.4
        age_s = float(random.lognormal(2.4, 0.45)) if answers else float(random.uniform(20.0, 30.0))
        if count_as is not None and age_s > 16.0 and random.random() < 0.7:
            knows.ended(16.0, count_as)
        elif answers:
            knows.answered(age_s)
        else:
            knows.ended(age_s, Outcome.NO_ANSWER)
    knows.decide(snapshot(now_s=4000.0))
    knows.set_target(RELEASES)
    decision = knows.decide(snapshot(now_s=4001.0))
    state = knows.state()["answers"]["mass"]
    return decision.inputs["hit_ratio"], sum(state[32:]) / sum(state)


def test_given_many_calls_given_up_when_learnt_then_hits_and_late_answers_are_as_without_it():
    (ratio, late), (released, released_late), (missed, missed_late) = (
        learnt(count_as) for count_as in (None, Outcome.RELEASED, Outcome.NO_ANSWER)
    )

    assert released == pytest.approx(ratio, abs=0.025)
    assert released_late == pytest.approx(late, abs=0.03)
    assert missed < ratio - 0.03  # what naive counting would believe
    assert missed_late < late - 0.05


@given(st.lists(st.tuples(st.floats(0.0, 70.0), st.floats(0.0, 1.0)), max_size=30))
def test_given_censored_ages_when_added_then_only_later_ages_weigh_more(added):
    histogram = AgeHistogram(answer_prior())
    for age_s, weight in added:
        before = histogram.ahead(age_s)
        histogram.add_censored(age_s, weight)

        assert histogram.ahead(age_s) >= before - 1e-12
        assert histogram.density().sum() == pytest.approx(1.0)


def test_given_a_chance_instead_of_an_outcome_when_counted_then_the_mean_moves_by_it():
    sure, chance = HitRatio(), HitRatio()
    for at_s in range(100):
        sure.observe(at_s % 4 == 0, float(at_s))
        chance.observe(0.25, float(at_s))
    for ratio in (sure, chance):
        ratio.advance(1000.0)

    assert chance.total == sure.total == 100
    assert chance.estimate()[0] == pytest.approx(sure.estimate()[0], abs=0.02)


def test_given_calls_given_up_when_the_state_is_kept_then_nothing_is_forgotten():
    first = pacer()
    first.ended(17.0, Outcome.RELEASED)
    text = json.dumps(first.state())
    again = Pacer.from_state(RELEASES, json.loads(text))

    assert json.dumps(again.state()) == text
    assert again.decide(ringing(FEW)) == first.decide(ringing(FEW))


def test_given_calls_given_up_when_recorded_then_the_replay_gives_the_same_up():
    entries = []
    recorder = Recorder(RELEASES, learnt=TRAINED, sink=entries.append)
    for step in range(3):
        decision = recorder.decide(ringing(replace(FEW, now_s=1000.0 + 0.2 * step)))
        for _ in decision.release:
            recorder.ended(19.5, Outcome.RELEASED)
    encoder, decoder = Encoder(), Decoder()
    read = [decoder.entry(encoder.line(entry)) for entry in entries]
    decided = [entry for entry in read if isinstance(entry, Decided)]

    assert decided[0].decision.release
    assert [one.decision.release for one in decided] == [
        one.decision.release for one in entries if isinstance(one, Decided)
    ]
    assert all(one.differences == () for one in replay(read))
    decided[0] = replace(decided[0], decision=replace(decided[0].decision, release=()))
    assert "gave up" in next(
        one.differences[0] for one in replay([read[0], decided[0]]) if isinstance(one.entry, Decided)
    )


# In the simulator -------------------------------------------------------------------------------------------------


def test_given_a_simulated_group_when_calls_are_given_up_then_each_has_rung_long_enough_and_is_gone():
    scenario = replace(SCENARIOS["handling-30s"], duration_s=900.0)
    given_up, most = [], 0

    def decided(_group, seen, decision):
        nonlocal most
        most = max(most, len(seen.attempts_age_s))
        given_up.extend(seen.attempts_rung_s[place] for place in decision.release)

    world = World(scenario, [CONTENDERS[RELEASING].make(scenario, 0.0)], 3, decided=decided)
    result = world.run()

    assert world.released == len(given_up) > 10
    assert min(given_up) >= LEAST_RING_S
    assert result.abandoned_ratio < 0.05
    assert not world.groups[0].ringing
    assert PacingTarget(Mode.PREDICTIVE).least_ring_s is None
