"""The built-in music for people on hold."""

import numpy as np

from telephony.media.prompts import MUSIC, PromptLibrary


def test_given_no_folder_when_music_is_asked_for_then_it_has_no_seam_and_is_never_loud():
    samples = PromptLibrary().samples(MUSIC).astype(np.float64)

    joined = np.concatenate([samples[-800:], samples[:800]])
    steps = np.abs(np.diff(samples)).max()

    assert len(samples) == 16 * 8000
    assert np.abs(samples).max() <= 6000
    assert np.abs(np.diff(joined)).max() <= steps


def test_given_music_when_looked_at_in_pieces_then_none_is_silent():
    seconds = PromptLibrary().samples(MUSIC).astype(np.float64).reshape(-1, 4000)

    assert np.sqrt((seconds**2).mean(axis=1)).min() > 300  # about -41 dBFS
