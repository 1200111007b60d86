"""Which calls to give up: those that have rung long enough while nobody will be free to talk to whoever answers.

A call that was launched when the outlook was good may ring into a bad moment. Nobody has to let it: a phone must ring
for 15 seconds or four times (US 16 CFR 310.4(b)(4)(ii); guidance in the UK is the same), and after that the caller may
hang up. Given up then, it leaves one person less who hears silence, and the share of abandoned people that is saved
pays for more calls at better moments.

The longest ring goes first, and no more calls go than bring the shortage of the next seconds under the threshold: the
mean of P(D(u) <= 0) over them (see :mod:`pacing.predictive`) is the chance that whoever answers then gets nobody.
"""

from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from pacing.estimators import Floats
from pacing.predictive import CallTables, HitEstimate, Ints, Outlook, Prediction, single_calls
from pacing.types import GroupSnapshot

NEAR_STEPS = 8
"""The next four seconds. Later there is time to give up later, and agents come free of whom nothing is known yet."""
SHORTAGE_MOST = 0.2
"""Calls are given up above this. A call that is launched may carry a risk of some 0.03; one that is under way was paid
for, and has a good part of its answer behind it. Half and nearly double this gain the same within what chance allows,
but half of it gives up more calls for that."""


def calls_to_release(
    snapshot: GroupSnapshot,
    view: Outlook,
    prediction: Prediction,
    tables: CallTables,
    hit: HitEstimate,
    least_ring_s: float,
) -> tuple[tuple[int, ...], Outlook]:
    """Places in ``snapshot.attempts_age_s`` of calls to give up, longest ring first, and the outlook without them.

    Args:
        view: the outlook of this snapshot, ``prediction`` what follows from it.
        least_ring_s: how long a call must have rung, in seconds; no other one is given up.
    """
    rung_s = np.asarray(snapshot.attempts_rung_s, dtype=np.float64)
    if len(rung_s) != len(snapshot.attempts_age_s) or not (rung_s >= least_ring_s).any():
        return (), view
    if _shortage(prediction) <= SHORTAGE_MOST:
        return (), view
    order = np.argsort(-rung_s, kind="stable")
    order = order[: int((rung_s >= least_ring_s).sum())]
    needs, coming = single_calls(tables, hit, tuple(snapshot.attempts_age_s[place] for place in order))
    if view.needs is None:
        count = _fewest(view, needs)
        return tuple(order[:count].tolist()), _without(view, needs[:count], coming[:count], order[:count])
    # Few calls: one by one, each time by the exact distribution.
    for count in range(1, len(order) + 1):
        left = _without(view, needs[:count], coming[:count], order[:count])
        if _shortage(Prediction(left)) <= SHORTAGE_MOST:
            break
    return tuple(order[:count].tolist()), left


def _shortage(prediction: Prediction) -> float:
    """Chance that one more person who answers within the next seconds gets nobody, the mean over them."""
    return float(prediction.short(0)[1 : NEAR_STEPS + 1].mean())


def _fewest(view: Outlook, needs: Floats) -> int:
    """How many of the calls, in their order, must go until the shortage is tolerable; all of them if it never is.

    By the normal law without skewness, for every number at once.
    """
    near = slice(1, NEAR_STEPS + 1)
    rows = needs[:, near]
    mean = view.mean[near] + np.cumsum(rows, axis=0)
    from_hits = view.hit_relative_error * (view.ringing[near] - np.cumsum(rows, axis=0))
    variance = view.variance[near] - np.cumsum(rows * (1.0 - rows), axis=0)
    deviation = np.sqrt(np.maximum(variance, 0.0) + from_hits * from_hits + 1e-6)
    tolerable = ndtr((0.5 - mean) / deviation).mean(axis=1) <= SHORTAGE_MOST
    return int(tolerable.argmax()) + 1 if tolerable.any() else len(needs)


def _without(view: Outlook, needs: Floats, coming: Floats, places: Ints) -> Outlook:
    """The outlook without these ringing calls."""
    gone, spread = needs.sum(axis=0), needs * (1.0 - needs)
    return replace(
        view,
        mean=view.mean + gone,
        variance=np.maximum(view.variance - spread.sum(axis=0), 0.0),
        third=view.third + (spread * (1.0 - 2.0 * needs)).sum(axis=0),
        ringing=np.maximum(view.ringing - gone, 0.0),
        people=max(view.people - float(coming.sum()), 0.0),
        needs=None if view.needs is None else np.delete(view.needs, places, axis=0),
        ringing_rows=view.ringing_rows - len(places),
    )
