"""Which files a corpus has: how many of each class, in which part, each with a random generator of its own."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

TRAIN: Final = "train"
TEST: Final = "test"
REAL: Final = "real"

FULL_COUNTS: Final = MappingProxyType(
    {
        "human": 1600,
        "machine": 1600,
        "ringback": 340,
        "busy": 340,
        "reorder": 300,
        "nu": 60,
        "sit_ic": 140,
        "sit_vc": 140,
        "sit_ro": 140,
        "sit_nc": 140,
        "sit_io": 140,
        "sit": 140,
        "crbt": 240,
        "announcement": 240,
        "silence": 160,
        "fax": 240,
        "modem": 220,
        "pager": 60,
    }
)
RECORDED_COUNTS: Final = MappingProxyType(
    {("human", TRAIN): 160, ("human", REAL): 240, ("machine", TRAIN): 160, ("machine", REAL): 240}
)
SMALL_RATIO: Final = 0.1
TRAIN_RATIO: Final = 0.55


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be made; ``index`` counts within the class, ``recorded``: from recorded voices."""

    label: str
    index: int
    split: str
    recorded: bool = False

    @property
    def file(self) -> str:
        return f"{self.label}_{'rec_' if self.recorded else ''}{self.index:04d}.wav"

    def generator(self, seed: int) -> np.random.Generator:
        """The same for the same seed, class and number, whatever else is made."""
        name = zlib.crc32(f"{self.label}/{self.recorded}".encode())
        return np.random.default_rng([seed, name, self.index])


def jobs(size: str, only: str | None = None, *, recorded: bool = False) -> Iterator[Job]:
    """All files of a corpus of ``size`` "small" or "full"; of one class when ``only`` is given. See `Job`."""
    if only is not None and only not in FULL_COUNTS:
        raise ValueError(f"unknown class {only!r}; known: {', '.join(FULL_COUNTS)}")
    ratio = 1.0 if size == "full" else SMALL_RATIO
    for label, count in FULL_COUNTS.items():
        if only in (None, label):
            for index in range(round(count * ratio)):
                yield Job(label, index, TRAIN if (index * 0.618034) % 1.0 < TRAIN_RATIO else TEST)
    if recorded:
        for (label, split), count in RECORDED_COUNTS.items():
            if only in (None, label):
                # A part's numbers never change when another part grows.
                first = 0 if split == TRAIN else 5000
                for index in range(first, first + round(count * ratio)):
                    yield Job(label, index, split, recorded=True)
