"""Grow the trees and write them as arrays. scikit-learn is needed here and nowhere else."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from telephony.cpa.forest import Forest
from telephony.cpa.training.traces import Trace
from telephony.cpa.voice import FEATURES

ACOUSTIC: Final = FEATURES[FEATURES.index("level_spread_db") :]
"""Figures of the sound rather than of the timing. How a corpus was made shows most in these."""

TIMED: Final = frozenset({"syllables", "syllables_hz"})
UNTRUSTED: Final = frozenset(
    {
        "pitch_octaves",
        "low_share_db",
        "high_share_db",
        "timbre_spread_db",
        "flux_db",
        "lead_muted_ratio",
        "rest_muted_ratio",
        "lead_rest_db",
        "over_rest_db",
        "decay_db",
    }
)
"""Figures that tell one synthesiser, or one way of laying noise under a voice, from another. Left out they cost nothing
measurable on voices that were left out of training; with them the model would learn how a corpus was made."""

SPOKEN: Final = (
    "span_s",
    "talk_s",
    "first_s",
    "last_s",
    "longest_s",
    "first_pause_s",
    "longest_pause_s",
    "pauses_s",
    "talk_since_wait_s",
)
SHUFFLED_COPIES: Final = 1
"""Copies of each recording whose sound is another's: the trees must be right by timing alone, and use the rest to
be surer. Without them the model learns by which noise a corpus marks its machines."""

MONOTONIC: Final = {"talk_s": 1, "span_s": 1, "longest_s": 1, "talk_since_wait_s": 1}
"""More speech never makes a person likelier: true of calls, and it keeps the model sane where data is thin."""

PATIENCE_COPIES: Final = 2
SHORTEST_WAIT_S: Final = 0.7
"""How long a person waits in silence before the second "hello?" is a habit that no corpus knows: copies of these
moments have waits shortened to anything down to this."""

SLOW_COPIES: Final = 1
SLOW_TALK_S: Final = 1.5
SLOWEST_RATIO: Final = 1.45
"""How fast a receptionist speaks is another: copies of long greetings of persons take up to this much longer."""

MAX_TALK_S: Final = 8.0  # whoever talked so long is decided
MAX_AT_S: Final = 20.0
TREES: Final = 100
LEAVES: Final = 24
DEPTH: Final = 6
LEARNING_RATE: Final = 0.09
MIN_LEAF: Final = 150
L2: Final = 5.0


def examples(
    traces: Sequence[Trace], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Features, labels and weights: a recording weighs the root of its number of questions, persons as machines."""
    rng = np.random.default_rng(seed)
    talk = FEATURES.index("talk_s")
    kept = [t.features[(t.features[:, talk] < MAX_TALK_S) & (t.at_s < MAX_AT_S)] for t in traces]
    labels = np.concatenate([np.full(len(k), t.recording.machine) for k, t in zip(kept, traces, strict=True)])
    weights = np.concatenate([np.full(len(k), 1.0 / max(len(k), 1) ** 0.5) for k in kept])
    features = np.concatenate(kept)
    features[:, [FEATURES.index(name) for name in UNTRUSTED]] = 0.0  # then no tree can ask about them
    sound = np.array([name in ACOUSTIC and name not in TIMED for name in FEATURES])
    blocks = [features]
    for _ in range(SHUFFLED_COPIES):
        # The sound of a random recording at a like moment: both talk for about as long.
        order = np.argsort(features[:, talk] + rng.normal(0, 0.1, len(features)))
        other = np.empty_like(order)
        other[order] = order[np.clip(np.arange(len(order)) + rng.integers(-400, 400, len(order)), 0, len(order) - 1)]
        copy = features.copy()
        copy[:, sound] = features[other][:, sound]
        blocks.append(copy)
    labels = np.tile(labels, len(blocks))
    weights = np.tile(weights, len(blocks))
    again = ~labels[: len(features)] & (features[:, FEATURES.index("waits")] > 0)
    for _ in range(PATIENCE_COPIES):
        blocks.append(_impatient(features[again], rng))
        labels = np.concatenate([labels, np.zeros(int(again.sum()), dtype=np.bool_)])
        weights = np.concatenate([weights, weights[: len(features)][again]])
    long = ~labels[: len(features)] & (features[:, talk] > SLOW_TALK_S) & (features[:, FEATURES.index("waits")] == 0)
    for _ in range(SLOW_COPIES):
        blocks.append(_slower(features[long], rng))
        labels = np.concatenate([labels, np.zeros(int(long.sum()), dtype=np.bool_)])
        weights = np.concatenate([weights, weights[: len(features)][long]])
    for machine in (False, True):
        weights[labels == machine] /= weights[labels == machine].sum()
    return np.concatenate(blocks), labels, weights * len(weights) / 2


def _impatient(rows: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Persons who ask again after less than their longest wait."""
    rows = rows.copy()
    of = {name: FEATURES.index(name) for name in FEATURES}
    longest = rows[:, of["longest_pause_s"]].copy()
    shorter = rng.uniform(0.0, 1.0, len(rows)) * np.maximum(longest - SHORTEST_WAIT_S, 0.0)
    first = np.isclose(rows[:, of["first_pause_s"]], longest)
    rows[:, of["first_pause_s"]] -= np.where(first, shorter, 0.0)
    rows[:, of["longest_pause_s"]] -= shorter
    rows[:, of["pauses_s"]] -= shorter
    rows[:, of["span_s"]] -= shorter
    rows[:, of["fill_ratio"]] = rows[:, of["talk_s"]] / np.maximum(rows[:, of["span_s"]], 0.02)
    return rows


def _slower(rows: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Persons who say the same in more time; the pause that follows stays what it was."""
    rows = rows.copy()
    factor = rng.uniform(1.0, SLOWEST_RATIO, len(rows)).astype(np.float32)
    for name in SPOKEN:
        rows[:, FEATURES.index(name)] *= factor
    rows[:, FEATURES.index("syllables_hz")] /= factor
    return rows


def fit(traces: Sequence[Trace], seed: int = 1) -> Forest:
    """Train on the traces. Raises ImportError without scikit-learn."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    features, labels, weights = examples(traces, seed)
    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        max_depth=DEPTH,
        learning_rate=LEARNING_RATE,
        min_samples_leaf=MIN_LEAF,
        l2_regularization=L2,
        monotonic_cst=[MONOTONIC.get(name, 0) for name in FEATURES],
        early_stopping=False,
        random_state=seed,
    )
    model.fit(features, labels, sample_weight=weights)
    return to_forest(model)


def to_forest(model: Any) -> Forest:
    """The trees of a fitted HistGradientBoostingClassifier as arrays; checked against the original by the tests."""
    trees = [predictor[0].nodes for predictor in model._predictors]
    size = max(len(nodes) for nodes in trees)
    shape = (len(trees), size)
    feature, left, right = (np.zeros(shape, dtype=np.intp) for _ in range(3))
    threshold, value = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    nan_left = np.zeros(shape, dtype=np.bool_)
    depth = 0
    for t, nodes in enumerate(trees):
        n, leaf = len(nodes), nodes["is_leaf"].astype(bool)
        own = np.arange(n)
        feature[t, :n] = np.where(leaf, 0, nodes["feature_idx"])
        threshold[t, :n] = np.where(leaf, 0.0, nodes["num_threshold"])
        left[t, :n] = np.where(leaf, own, nodes["left"])
        right[t, :n] = np.where(leaf, own, nodes["right"])
        nan_left[t, :n] = nodes["missing_go_to_left"].astype(bool)
        value[t, :n] = np.where(leaf, nodes["value"], 0.0)
        depth = max(depth, int(nodes["depth"].max()))
    bias = float(np.ravel(model._baseline_prediction)[0])
    return Forest(feature, threshold, left, right, nan_left, value, depth, bias)
