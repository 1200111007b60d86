"""Snapshots and trained pacers for the pacing tests."""

import numpy as np
from hypothesis import strategies as st

from pacing import GroupSnapshot, Mode, Outcome, Pacer, PacingTarget

PREDICTIVE = PacingTarget(Mode.PREDICTIVE)

_ages = st.floats(0.0, 90.0, allow_nan=False)


def snapshot(now_s=0.0, idle=0, talking=(), wrapping=(), ringing=(), analysing=(), waiting=0, **rooms):
    given = {"ports_free": 1000, "records_ready": 1000, "starts_allowed": 1000} | rooms
    return GroupSnapshot(
        now_s=now_s,
        agents_idle_s=(5.0,) * idle,
        agents_talking_s=tuple(talking),
        agents_wrapping_s=tuple(wrapping),
        attempts_age_s=tuple(ringing),
        analysing_age_s=tuple(analysing),
        people_waiting=waiting,
        **given,
    )


@st.composite
def snapshots(draw):
    return snapshot(
        now_s=draw(st.floats(0.0, 1e6)),
        idle=draw(st.integers(0, 40)),
        talking=draw(st.lists(_ages, max_size=20)),
        wrapping=draw(st.lists(st.tuples(_ages, _ages), max_size=6)),
        ringing=draw(st.lists(_ages, max_size=25)),
        analysing=draw(st.lists(_ages, max_size=5)),
        waiting=draw(st.integers(0, 4)),
        ports_free=draw(st.integers(0, 60)),
        records_ready=draw(st.integers(0, 60)),
        starts_allowed=draw(st.integers(0, 60)),
    )


def trained(target=PREDICTIVE, people=400, abandoned=2, hit_ratio=0.4, seed=3):
    """A pacer after a few hundred calls of a steady world: rings about 8 s, talks about 40 s, wrap-up about 10 s."""
    random = np.random.default_rng(seed)
    pacer = Pacer(target)
    for _ in range(600):
        if random.random() < hit_ratio:
            pacer.answered(min(max(float(random.normal(8.0, 2.0)), 2.0), 20.0))
        else:
            pacer.ended(float(random.choice([3.0, 27.0])), Outcome.FAILED)
    for _ in range(300):
        pacer.handled(float(random.exponential(40.0)), float(random.exponential(10.0)))
    gone = set(np.linspace(10, people - 1, abandoned).astype(int).tolist()) if abandoned else set()
    for person in range(people):
        if person in gone:
            pacer.abandoned()
        else:
            pacer.bridged(0.2)
    for now_s in (0.0, 100.0):  # lets the lag of all outcomes pass
        pacer.decide(snapshot(now_s=now_s))
    return pacer
