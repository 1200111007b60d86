"""
The drawing of docs/pacing-explained.md.

``OCSD_WRITE_DOCS=1 pytest tests/ocsd/test_calibration_plot.py`` draws it anew, of two hours instead of minutes. Words
are compared, not figures: how matplotlib draws is its own affair, and the pacing may become better.
"""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ocsd.explain.calibration_plot import plot
from ocsd.model.errors import OcsdError
from pacing.calibration import QUANTITIES, calibration, samples
from tests.pacing.journal_world import recorded

PICTURE = Path(__file__).parents[2] / "docs" / "pacing-calibration.svg"


def words_of(svg):
    texts = (element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text"))
    return set(re.findall(r"[^\W\d_]{2,}", " ".join(texts)))


def test_given_a_run_when_calibrated_then_the_picture_of_the_page_shows_the_same_curves(tmp_path):
    writes = bool(os.environ.get("OCSD_WRITE_DOCS"))
    entries, _ = recorded(40, 7200.0 if writes else 600.0, seed=4)
    found = samples(entries)
    drawn = tmp_path / "calibration.svg"
    plot([calibration(found, quantity) for quantity in QUANTITIES], drawn)
    if writes:
        PICTURE.write_bytes(drawn.read_bytes())

    assert words_of(PICTURE.read_text()) == words_of(drawn.read_text())


def test_given_nothing_predicted_when_drawn_then_a_sentence_says_so(tmp_path):
    with pytest.raises(OcsdError, match="no predictions"):
        plot([calibration([], quantity) for quantity in QUANTITIES], tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
