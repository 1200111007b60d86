"""Calls that a machine answers: mailboxes, answering machines, voice menus."""

from typing import Final

import numpy as np

from telephony.cpa.corpus import noises
from telephony.cpa.corpus.beeps import draw_beep
from telephony.cpa.corpus.music import music
from telephony.cpa.corpus.persons import fill, lay_transfer, reverberant
from telephony.cpa.corpus.scene import POST, Canvas, Scene, chance, db, pick
from telephony.cpa.corpus.speech import RATE_HZ, Manner, Samples, Voice, say

LONGEST_GREETING_S: Final = 14.0
"""Later sentences are left out: analysis is over by then, and the corpus would be twice as large."""

STYLES: Final = ("studio", "home", "home_music", "music_first")
STYLE_WEIGHTS: Final = (45.0, 40.0, 7.0, 8.0)
BEEP_RATIO: Final = 0.88


def mailbox(rng: np.random.Generator, voices: tuple[Voice, ...], language: str, text: str, *, menu: bool) -> Scene:
    """A synthetic voice says ``text``; see `recording`."""
    voice, manner = noises.draw_speaker(rng, voices, language)
    scene = recording(rng, _greeting(rng, voice, language, text, manner), menu=menu)
    scene.source, scene.language, scene.detail["text"] = voice.source, language, text
    return scene


def recording(rng: np.random.Generator, said: Samples, *, menu: bool) -> Scene:
    """
    A machine plays ``said``; then, unless it is a menu, most often a beep comes and the silence of recording.

    Styles: "studio" is digitally clean between words, "home" was recorded with the noise of a room that begins and
    ends with the greeting, "home_music" with a radio, "music_first" begins with music.
    """
    style = pick(rng, STYLES, STYLE_WEIGHTS)
    if style in ("home", "home_music"):
        n = len(said)
        edge = round(rng.uniform(0.02, 0.6) * RATE_HZ)
        said = np.concatenate([np.zeros(edge), said, np.zeros(round(rng.uniform(0.02, 0.8) * RATE_HZ))])
        n = len(said)
        if style == "home_music":
            said = said + db(rng.uniform(-24, -10)) * music(rng, n / RATE_HZ)[:n]
        else:
            said = said + db(rng.uniform(-42, -20)) * noises.room(rng, n)
        if chance(rng, 0.3):
            said = reverberant(rng, said)
        if chance(rng, 0.3):
            said = np.concatenate([said, 0.5 * noises.handset(rng)])  # the stop key being pressed
    canvas = Canvas()
    rang = lay_transfer(rng, canvas)
    shortest_s, longest_s = pick(rng, ((0.02, 0.3), (0.2, 1.0), (0.8, 2.2)), (4, 4, 2))
    canvas.wait(float(rng.uniform(shortest_s, longest_s)))
    if style == "music_first":
        canvas.add(music(rng, float(rng.uniform(0.8, 3.0))), db(rng.uniform(-8, 0)))
        canvas.wait(float(rng.uniform(0.0, 0.4)))
    canvas.add(said)
    scene = Scene(
        canvas.result(),
        "machine",
        POST,
        detail={"kind": "menu" if menu else "mailbox", "style": style, "rang": rang},
    )
    if not menu and chance(rng, BEEP_RATIO):
        _append_beep(rng, canvas, scene)
    else:
        canvas.wait(float(rng.uniform(1.5, 3.0)))
        if menu and chance(rng, 0.5):
            canvas.add(said[: 4 * RATE_HZ])
    scene.samples = canvas.result()
    return scene


def beep_only(rng: np.random.Generator) -> Scene:
    """An old answering machine with an empty greeting: the tape's noise, then the beep."""
    canvas = Canvas()
    canvas.wait(float(rng.uniform(0.4, 2.5)))
    scene = Scene(canvas.result(), "machine", POST, source="synthesis", detail={"kind": "beep_only"})
    _append_beep(rng, canvas, scene)
    scene.samples = canvas.result() + db(rng.uniform(-60, -35)) * noises.room(rng, len(canvas.result()))
    return scene


def _append_beep(rng: np.random.Generator, canvas: Canvas, scene: Scene) -> None:
    canvas.wait(float(rng.choice([rng.uniform(0.05, 0.4), rng.uniform(0.3, 1.6)])))
    beep, made = draw_beep(rng, repeated=scene.detail["kind"] != "beep_only")
    scene.beep_s = canvas.end_s
    scene.beep_end_s = canvas.add(beep, db(rng.uniform(-9, 6)))
    scene.detail |= made
    canvas.wait(float(rng.uniform(1.5, 3.5)))


def _greeting(rng: np.random.Generator, voice: Voice, language: str, text: str, manner: Manner) -> Samples:
    canvas = Canvas()
    for i, paragraph in enumerate(fill(rng, text, language).split("||")):
        if i:
            canvas.wait(float(rng.uniform(0.7, 1.7)))
        for j, sentence in enumerate(paragraph.split("|")):
            if j:
                canvas.wait(float(rng.uniform(0.15, 0.8)))
            said = say(voice, language, sentence, manner)
            if canvas.end_s + len(said) / RATE_HZ > LONGEST_GREETING_S and canvas.end_s:
                return canvas.result()
            canvas.add(said)
    return canvas.result()
