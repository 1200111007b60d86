"""Calls that a person answers."""

from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np

from telephony.cpa.corpus import noises, people
from telephony.cpa.corpus.national_tones import NATIONAL_TONES, drawn_tone
from telephony.cpa.corpus.scene import POST, Canvas, Scene, chance, db, pick
from telephony.cpa.corpus.speech import RATE_HZ, Manner, Samples, Voice, say

CHILD_STRETCH: Final = (0.74, 0.84)
SHARES: Final = MappingProxyType(
    {
        "plain": 40.0,
        "background": 14.0,
        "television": 8.0,
        "slow": 10.0,
        "cough": 5.0,
        "breath": 4.0,
        "handset": 7.0,
        "child": 4.0,
        "speakerphone": 8.0,
        "aside": 3.0,
    }
)
KINDS: Final = tuple(SHARES)
WEIGHTS: Final = tuple(SHARES.values())
SPEAKS_AGAIN_RATIO: Final = 0.75
TRANSFER_RATIO: Final = 0.04
LONGEST_TRANSFER_S: Final = 4.0  # later than that, most dialers have given up
LONG_TEXT: Final = 24  # characters
SHORT_TEXT: Final = 5


def fill(rng: np.random.Generator, text: str, language: str) -> str:
    """Put a name, a company and a telephone number of the language into a sentence."""
    spoken = language.split("-")[0]
    number = " ".join(str(rng.integers(10)) for _ in range(7))
    return text.format(name=pick(rng, people.NAMES[spoken]), company=pick(rng, people.COMPANIES[spoken]), number=number)


def greeting(rng: np.random.Generator, voice: Voice, manner: Manner, language: str, text: str) -> list[Samples]:
    """Audio of a greeting: utterances and the pauses between them, in turn."""
    parts: list[Samples] = []
    for sentence in fill(rng, text, language).split("|"):
        if parts:
            parts.append(np.zeros(round(rng.uniform(0.2, 0.75) * RATE_HZ)))
        parts.append(say(voice, language, sentence, manner))
    return parts


def lay_transfer(rng: np.random.Generator, canvas: Canvas) -> bool:
    """Sometimes an exchange answers and goes on ringing somebody else: one or two rings after the answer."""
    if not chance(rng, TRANSFER_RATIO):
        return False
    tone = NATIONAL_TONES["US"].ringback
    canvas.add(drawn_tone(rng, tone, float(rng.uniform(1.0, LONGEST_TRANSFER_S))), db(rng.uniform(-8, 2)))
    return True


def reverberant(rng: np.random.Generator, samples: Samples) -> Samples:
    """The same in a room, spoken towards a speakerphone: a decaying random tail of 0.15..0.5 s."""
    length = round(rng.uniform(0.15, 0.5) * RATE_HZ)
    tail = rng.standard_normal(length) * np.exp(-np.arange(length) / length * 6.0)
    tail *= rng.uniform(0.25, 0.8) / np.sqrt(np.sum(np.square(tail)))
    tail[0] += 1.0
    out: Samples = np.convolve(samples, tail)
    return out


def person(rng: np.random.Generator, voices: tuple[Voice, ...], language: str, text: str) -> Scene:
    """A synthetic voice answers with ``text``; see `answered`."""
    voice, manner = noises.draw_speaker(rng, voices, language)
    kind = pick(rng, KINDS, WEIGHTS)
    if kind == "child":
        # The stretch raises the pitch by a third; more than that is a cartoon.
        manner = Manner(manner.speed_wpm, min(manner.pitch, 60), float(rng.uniform(*CHILD_STRETCH)))
    if len(text) > LONG_TEXT:  # who answers for a company says it all day, and fast
        fast_wpm = max(manner.speed_wpm, round(rng.uniform(175, 235)))
        manner = replace(manner, speed_wpm=fast_wpm, stretch=min(manner.stretch, 1.0))
    elif len(text) <= SHORT_TEXT:  # a lone "yes?" is drawn out
        manner = replace(manner, speed_wpm=min(manner.speed_wpm, 150))
    said = greeting(rng, voice, manner, language, text)
    again = [say(voice, language, words, manner) for words in people.AGAIN[language.split("-")[0]]]
    scene = answered(rng, kind, said, again, voices, language)
    scene.source, scene.language, scene.detail["text"] = voice.source, language, text
    return scene


def answered(
    rng: np.random.Generator,
    kind: str,
    said: list[Samples],
    again: list[Samples],
    voices: tuple[Voice, ...],
    language: str,
) -> Scene:
    """
    A person answers, greets, waits for at least two seconds, and asks again when nobody speaks.

    ``speech_end_s`` is the end of the last word of the first greeting, pauses inside it and room echo not counted.
    ``kind`` is one of `KINDS`; ``voices`` talk in the background.
    """
    canvas = Canvas()
    rang = lay_transfer(rng, canvas)
    lead_s = rng.uniform(1.2, 3.0) if kind == "slow" else rng.choice([rng.uniform(0.02, 0.4), rng.uniform(0.3, 1.3)])
    canvas.wait(float(lead_s))
    if kind == "cough":
        canvas.add(noises.cough(rng), db(rng.uniform(-8, 2)))
        canvas.wait(float(rng.uniform(0.1, 0.6)))
    elif kind == "breath":
        canvas.add(noises.breath(rng), db(rng.uniform(-22, -8)))
        canvas.wait(float(rng.uniform(0.0, 0.4)))
    elif kind == "handset":
        canvas.add(noises.handset(rng), db(rng.uniform(-15, 0)))
        canvas.wait(float(rng.uniform(0.0, 0.5)))
    elif kind == "aside":  # a few words to somebody in the room, away from the telephone
        words = noises.babble(rng, round(rng.uniform(0.4, 1.2) * RATE_HZ), voices, language, 1)
        canvas.add(words, db(rng.uniform(-24, -14)))
        canvas.wait(float(rng.uniform(0.1, 0.5)))
    speech_start_s = canvas.end_s
    for part in said:
        canvas.add(part)
    speech_end_s = canvas.end_s
    canvas.wait(float(rng.uniform(2.0, 3.5)))
    if chance(rng, SPEAKS_AGAIN_RATIO):
        for _ in range(int(rng.integers(1, 3))):
            canvas.add(again[int(rng.integers(len(again)))], db(rng.uniform(-2, 4)))
            canvas.wait(float(rng.uniform(1.2, 3.0)))
    samples = canvas.result()
    n = len(samples)
    if kind == "background":
        samples = samples + db(rng.uniform(-30, -14)) * noises.babble(rng, n, voices, language, int(rng.integers(2, 6)))
    elif kind == "television":
        samples = samples + db(rng.uniform(-30, -18)) * noises.babble(rng, n, voices, language, 1)
    elif kind == "speakerphone":
        samples = reverberant(rng, samples)[:n]
    return Scene(
        samples,
        "human",
        POST,
        speech_end_s=speech_end_s,
        detail={"kind": kind, "speech_start_s": round(speech_start_s, 3), "rang": rang},
    )
