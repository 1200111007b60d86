"""What an analysis may hear of a called party who is in a conversation: the party, not the echo of the other side.

A telephone line returns part of what it is sent: a hybrid some 10 to 25 dB weaker (ITU-T G.122 asks for 11 dB at
least), a loudspeaker with its room, each up to some hundred milliseconds later. The agent's voice would be heard as
talk of the called party, and a tone that we play, such as a recording's consent tone, as one of its own. So what comes
while something was sent, or soon after, and is so much weaker, is replaced by the noise of the line.

People who talk at the same time are as loud as each other, as a rule, and are heard. Where they are not, something is
missed that would only have told a machine from a person: the safe side.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

HANGOVER_FRAMES: Final = 25
"""0.5 s: a round trip over a mobile network and our jitter buffer, both at their worst."""

RETURN_LOSS_DB: Final = 12.0
"""What comes back is weaker by at least this much."""

SILENT_DBFS: Final = -60.0
"""Comfort noise and quieter: its echo is nothing that could be heard."""

FULL_SCALE: Final = 32768.0

Indices = npt.NDArray[np.intp]
Samples = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]


class EchoGate:
    """Of ``capacity`` channels, addressed by row."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self._sent_dbfs = np.full((capacity, HANGOVER_FRAMES), -np.inf, dtype=np.float32)
        self._frame = 0
        self._noise = rng.standard_normal((HANGOVER_FRAMES * 7, 160), dtype=np.float32)

    def begin(self, row: int) -> None:
        """A channel's conversation begins."""
        self._sent_dbfs[row] = -np.inf

    def gated(self, rows: Indices, heard: Samples, sent: Samples, floor_dbfs: Floats) -> Samples:
        """
        What the analysis is to hear; call it once per tick.

        Args:
            rows: channels in a conversation.
            heard: (n, 160) what came from them in this tick.
            sent: (n, 160) what they are sent in this tick.
            floor_dbfs: (n,) the noise of their lines.

        Returns: (n, 160), ``heard`` itself where nothing is replaced.
        """
        self._frame += 1
        self._sent_dbfs[rows, self._frame % HANGOVER_FRAMES] = _level_dbfs(sent)
        loudest = self._sent_dbfs[rows].max(axis=1)
        echo = (loudest > SILENT_DBFS) & (_level_dbfs(heard) < loudest - RETURN_LOSS_DB)
        if not echo.any():
            return heard
        amplitude = FULL_SCALE * 10.0 ** (np.clip(floor_dbfs[echo], -90.0, SILENT_DBFS) / 20.0)
        which = (rows[echo] + self._frame) % len(self._noise)
        replaced = heard.copy()
        replaced[echo] = np.rint(self._noise[which] * amplitude[:, None]).astype(np.int16)
        return replaced


def _level_dbfs(frames: Samples) -> Floats:
    """(n,) root mean square of each row, dB below full scale."""
    power = np.mean(np.square(frames, dtype=np.float32), axis=1)
    level: Floats = 10.0 * np.log10(np.maximum(power, 1e-6)) - np.float32(20.0 * np.log10(FULL_SCALE))
    return level
