"""Calls that end in the network: ringing, busy, congestion, special information tones, announcements, nothing."""

from types import MappingProxyType
from typing import Final

import numpy as np

from telephony.cpa.corpus import machines, noises
from telephony.cpa.corpus.music import music
from telephony.cpa.corpus.national_tones import NATIONAL_TONES, NationalTone, drawn_tone, faded
from telephony.cpa.corpus.persons import fill
from telephony.cpa.corpus.scene import POST, PRE, Canvas, Scene, chance, db, pick
from telephony.cpa.corpus.speech import RATE_HZ, Samples, Voice, say

Segment = tuple[float, float]  # Hz, seconds
SHORT_S: Final = 0.276
LONG_S: Final = 0.38
LOW_HZ: Final = (913.8, 1370.6)  # of the first and of the second segment
HIGH_HZ: Final = (985.2, 1428.5)
LAST_HZ: Final = 1776.7

# Telcordia SR-2275: frequencies (low, high) and durations (short, long) of the first two segments tell the cause.
SIT_CODES: Final = MappingProxyType(
    {
        "sit_ic": ("LL SS",),
        "sit_vc": ("HL LS",),
        "sit_ro": ("LH SL", "HL SL"),  # within an area, between areas
        "sit_nc": ("HH LL", "LL LL"),
        "sit_io": ("LH LS",),
    }
)
ITU_SIT: Final = ((950.0, 0.33), (1400.0, 0.33), (1800.0, 0.33))  # E.180: +-50 Hz, +-70 ms, gaps up to 30 ms
SHORTEST_ANNOUNCEMENT_S: Final = 2.5  # what is shorter is said again
SIT_COUNTRIES: Final = ("UK", "DE", "FR", "IT", "ES", "PL", "SE", "AU", "BR", "ZA")


def _country_with(rng: np.random.Generator, kind: str) -> tuple[str, NationalTone]:
    having = tuple(code for code, tones in NATIONAL_TONES.items() if getattr(tones, kind) is not None)
    # A third of the calls are North American, as in the field.
    code = "US" if "US" in having and chance(rng, 0.25) else pick(rng, having)
    tone = getattr(NATIONAL_TONES[code], kind)
    assert isinstance(tone, NationalTone)
    return code, tone


def progress_tone(rng: np.random.Generator, kind: str) -> Scene:
    """
    Ringback, busy, reorder or number unobtainable of a drawn country, at least two and a half cycles of it.

    A tenth of the busy and congested calls ring first: the network noticed late. Some come after the answer, from a
    private exchange.
    """
    country, tone = _country_with(rng, kind)
    canvas = Canvas()
    if chance(rng, 0.5):
        canvas.wait(float(rng.uniform(0.1, 2.0)))
    detail: dict[str, object] = {"hz": list(tone.hz), "cadence_s": list(tone.cadence_s)}
    if kind in ("busy", "reorder") and chance(rng, 0.1):
        canvas.add(drawn_tone(rng, NATIONAL_TONES[country].ringback, float(rng.uniform(3.0, 7.0))))
        canvas.wait(float(rng.uniform(0.1, 0.8)))
        detail["rang_first"] = True
    cycle_s = sum(tone.cadence_s)
    canvas.add(drawn_tone(rng, tone, max(2.5 * cycle_s + 1.0, float(rng.uniform(6.0, 9.0)))))
    answered = kind in ("busy", "reorder") and "rang_first" not in detail and chance(rng, 0.12)
    phase = POST if answered else PRE
    return Scene(canvas.result(), kind, phase, source="synthesis", country=country, detail=detail)


def sit_segments(rng: np.random.Generator, label: str) -> tuple[tuple[Segment, ...], float]:
    """Frequencies and durations of a special information tone, and the gap between its segments in seconds."""
    if label == "sit":
        # E.180 would allow +-50 Hz, in which nobody could tell it from the North American codes; exchanges keep closer.
        shift = rng.uniform(-10, 10)
        itu = tuple((hz + shift + rng.uniform(-6, 6), s + rng.uniform(-0.05, 0.05)) for hz, s in ITU_SIT)
        return itu, float(rng.uniform(0.0, 0.03))
    frequencies, durations = pick(rng, SIT_CODES[label]).split()
    hz = [(LOW_HZ if letter == "L" else HIGH_HZ)[i] for i, letter in enumerate(frequencies)] + [LAST_HZ]
    seconds = [SHORT_S if letter == "S" else LONG_S for letter in durations] + [LONG_S]
    off = 1 + rng.uniform(-0.01, 0.01)
    return tuple(
        (one * off * (1 + rng.uniform(-0.003, 0.003)), s * (1 + rng.uniform(-0.05, 0.05)))
        for one, s in zip(hz, seconds, strict=True)
    ), float(rng.uniform(0.0, 0.006))


def special_information(rng: np.random.Generator, voices: tuple[Voice, ...], language: str, label: str) -> Scene:
    """Three rising tones; most often an announcement follows. Sometimes the beginning was cut off."""
    segments, gap_s = sit_segments(rng, label)
    north_american = label != "sit"
    parts: list[Samples] = []
    for i, (hz, seconds) in enumerate(segments):
        t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
        wave = np.sqrt(2) * np.sin(2 * np.pi * hz * t) * db(rng.uniform(-1.5, 1.5))
        if i == 0 and chance(rng, 0.15):
            wave = wave[: max(round(rng.uniform(0.12, 0.25) * RATE_HZ), 1)]
        parts += [faded(wave, 0.002), np.zeros(round(gap_s * RATE_HZ))]
    whole = np.concatenate(parts)
    canvas = Canvas()
    canvas.wait(float(rng.choice([rng.uniform(0.02, 0.3), rng.uniform(0.3, 2.5)])))
    canvas.add(whole)
    spoken = chance(rng, 0.75)
    if spoken:
        said = pick(rng, machines.ANNOUNCEMENTS["en" if north_american else language.split("-")[0]])
        voice, manner = noises.draw_speaker(rng, voices, "en-us" if north_american else language)
        for sentence in fill(rng, said, "en-us" if north_american else language).split("|"):
            canvas.wait(float(rng.uniform(0.15, 0.6)))
            canvas.add(say(voice, "en-us" if north_american else language, sentence, manner), db(rng.uniform(-4, 4)))
    elif chance(rng, 0.5):
        for _ in range(int(rng.integers(1, 3))):
            canvas.wait(float(rng.uniform(0.9, 1.3)))
            canvas.add(whole)
    canvas.wait(float(rng.uniform(1.0, 3.0)))
    return Scene(
        canvas.result(),
        label,
        PRE if chance(rng, 0.7) else POST,
        source="synthesis",
        country="US" if north_american else pick(rng, SIT_COUNTRIES),
        detail={"segments": [[round(hz, 1), round(s, 3)] for hz, s in segments], "announcement": spoken},
    )


def colour_ringback(rng: np.random.Generator, voices: tuple[Voice, ...], language: str) -> Scene:
    """Music in place of the ringback; some operators ring once first, or speak a line over it."""
    canvas = Canvas()
    country = pick(rng, ("IN", "CN", "TR", "ID", "TH", "RU", "US", "BR"))
    canvas.wait(float(rng.uniform(0.1, 1.5)))
    rang = chance(rng, 0.15)
    if rang:
        canvas.add(drawn_tone(rng, NATIONAL_TONES[country].ringback, float(rng.uniform(1.0, 3.0))))
    begins_s = canvas.end_s
    canvas.add(music(rng, float(rng.uniform(8.0, 14.0))))
    if chance(rng, 0.15):
        voice, manner = noises.draw_speaker(rng, voices, language)
        words = pick(rng, machines.ANNOUNCEMENTS[language.split("-")[0]])
        at_s = begins_s + float(rng.uniform(0.5, 3.0))
        canvas.lay(at_s, say(voice, language, fill(rng, words, language).split("|")[0], manner), 0.8)
    return Scene(canvas.result(), "crbt", PRE, source="synthesis", country=country, detail={"rang_first": rang})


def announcement(rng: np.random.Generator, voices: tuple[Voice, ...], language: str) -> Scene:
    """A carrier's voice instead of ringing, with no special information tone; some are said twice, or after a chime."""
    canvas = Canvas()
    canvas.wait(float(rng.uniform(0.1, 2.5)))
    chimed = chance(rng, 0.12)
    if chimed:
        for hz in sorted(rng.uniform(500, 1200, 2), reverse=True):
            t = np.arange(round(0.5 * RATE_HZ)) / RATE_HZ
            canvas.add(faded(1.4 * np.sin(2 * np.pi * hz * t) * np.exp(-t * 4)))
    voice, manner = noises.draw_speaker(rng, voices, language)
    text = pick(rng, machines.ANNOUNCEMENTS[language.split("-")[0]])
    begins_s, times = canvas.end_s, 1 + chance(rng, 0.5)
    while times > 0 or canvas.end_s - begins_s < SHORTEST_ANNOUNCEMENT_S:
        times -= 1
        for sentence in fill(rng, text, language).split("|"):
            canvas.add(say(voice, language, sentence, manner))
            canvas.wait(float(rng.uniform(0.2, 0.9)))
    canvas.wait(float(rng.uniform(1.0, 3.0)))
    return Scene(
        canvas.result(),
        "announcement",
        PRE,
        source=voice.source,
        language=language,
        detail={"text": text, "chimed": chimed},
    )


def nothing(rng: np.random.Generator) -> Scene:
    """
    Nobody and nothing: digital silence, a quiet room, a hissing line, sometimes a click.

    Half of the calls are answered. The noise belongs to the scene: it is the loudest thing there is.
    """
    n = round(rng.uniform(8.0, 12.0) * RATE_HZ)
    kind = pick(rng, ("digital", "hiss", "room", "mains"), (2, 3, 4, 1))
    samples = np.zeros(n)
    level = db(rng.uniform(-65, -40))
    if kind == "hiss":
        samples = level * noises.coloured(rng, n, 0.0)
    elif kind == "room":
        samples = level * noises.room(rng, n)
    elif kind == "mains":
        samples = level * noises.mains(rng, n)
    if chance(rng, 0.3):
        click = noises.handset(rng)[:400] * db(rng.uniform(-45, -25))
        at = int(rng.integers(n - len(click)))
        samples[at : at + len(click)] += click
    phase = POST if chance(rng, 0.5) else PRE
    return Scene(samples, "silence", phase, source="synthesis", keeps_level=True, detail={"kind": kind})
