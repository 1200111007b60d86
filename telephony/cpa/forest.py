"""Boosted regression trees as arrays, evaluated for many channels at once; `telephony.cpa.training` grows them.

Every tree is stored as a table of nodes: a node sends a row left when its feature is at most the threshold (an unknown
value, NaN, goes where the table says), a leaf sends it to itself. The sum of the leaves is the log-odds.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from telephony.cpa.voice import FEATURES

MODEL_FILE: Final = "voice_model.npz"

Floats = npt.NDArray[np.float32]


class VoiceModel(Protocol):
    """Whatever tells how likely a machine is."""

    def probability(self, features: Floats) -> Floats:
        """P(machine) per row of (n, len(FEATURES)) features."""
        ...


class ModelError(Exception):
    """The model file does not fit this program."""


@dataclass(frozen=True, slots=True)
class Forest:
    """
    Arrays of (trees, nodes), node 0 the root: ``feature`` int, ``threshold`` float32, ``left`` and ``right`` node
    numbers, ``nan_left`` bool, ``value`` float32 (0 in inner nodes). ``depth``: steps from the root to any leaf.
    """

    feature: npt.NDArray[np.intp]
    threshold: Floats
    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    nan_left: npt.NDArray[np.bool_]
    value: Floats
    depth: int
    bias: float

    def log_odds(self, features: Floats) -> Floats:
        """ln(P(machine) / P(person)) per row."""
        n, width = features.shape
        trees, nodes = self.feature.shape
        flat = features.ravel()
        unknown = np.isnan(flat)
        base = np.arange(trees, dtype=np.intp)[None, :] * nodes
        rows = np.arange(n, dtype=np.intp)[:, None] * width
        at = np.broadcast_to(base, (n, trees))
        feature, threshold = self.feature.ravel(), self.threshold.ravel()
        children = np.stack([self.right + base.T, self.left + base.T], axis=-1).ravel()
        nan_left = self.nan_left.ravel()
        for _ in range(self.depth):
            asked = rows + feature[at]
            goes_left = (flat[asked] <= threshold[at]) | (nan_left[at] & unknown[asked])
            at = children[2 * at + goes_left]
        total: Floats = (self.value.ravel()[at].sum(axis=1) + self.bias).astype(np.float32)
        return total

    def probability(self, features: Floats) -> Floats:
        """P(machine) per row."""
        p: Floats = (1.0 / (1.0 + np.exp(-self.log_odds(features)))).astype(np.float32)
        return p

    def save(self, path: Path, **notes: str) -> None:
        """Write the arrays compactly; ``notes`` are kept beside them (how it was trained)."""
        np.savez_compressed(
            path,
            feature=self.feature.astype(np.uint8),
            threshold=self.threshold,
            left=self.left.astype(np.uint8),
            right=self.right.astype(np.uint8),
            nan_left=self.nan_left,
            value=self.value,
            depth=np.int32(self.depth),
            bias=np.float64(self.bias),
            names=np.array(FEATURES),
            notes=np.array([f"{name}: {text}" for name, text in sorted(notes.items())]),
        )

    @classmethod
    def load(cls, path: Path) -> "Forest":
        """Read a saved forest. Raises ModelError when it was trained on other features, OSError without a file."""
        with np.load(path, allow_pickle=False) as saved:
            names = tuple(str(name) for name in saved["names"])
            if names != FEATURES:
                raise ModelError(f"{path} was trained on other features: train again with telephony.cpa.training")
            return cls(
                saved["feature"].astype(np.intp),
                saved["threshold"],
                saved["left"].astype(np.intp),
                saved["right"].astype(np.intp),
                saved["nan_left"],
                saved["value"],
                int(saved["depth"]),
                float(saved["bias"]),
            )


@cache
def shipped_model() -> Forest:
    """The model that comes with the package."""
    return Forest.load(Path(str(files("telephony.cpa") / MODEL_FILE)))
