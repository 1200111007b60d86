"""Make the files of a plan: scene, line, WAV, and one line of the manifest each."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np

from telephony.cpa.corpus import line, machines, people, speech
from telephony.cpa.corpus.exchange import (
    SIT_CODES,
    announcement,
    colour_ringback,
    nothing,
    progress_tone,
    special_information,
)
from telephony.cpa.corpus.mailboxes import beep_only, mailbox, recording
from telephony.cpa.corpus.persons import KINDS, WEIGHTS, answered, person
from telephony.cpa.corpus.plan import TRAIN, Job
from telephony.cpa.corpus.recorded import Speaker
from telephony.cpa.corpus.scene import Scene, chance, pick
from telephony.cpa.corpus.terminals import fax, modem, pager
from telephony.cpa.corpus.wav import write_wav

MANIFEST: Final = "manifest.jsonl"
HELD_OUT_EVERY: Final = 4
"""Every fourth sentence of a language is never said in the training part."""
ULAW_RATIO: Final = 0.7


def sentences(texts: tuple[str, ...], split: str) -> tuple[str, ...]:
    """Those of ``texts`` that a part may say: the training part lacks every fourth, the others have all."""
    if split != TRAIN or len(texts) < HELD_OUT_EVERY:
        return texts
    return tuple(text for i, text in enumerate(texts) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1)


def voices_of(split: str) -> tuple[speech.Voice, ...]:
    return speech.TRAIN_VOICES if split == TRAIN else speech.TEST_VOICES


def draw_language(rng: np.random.Generator, split: str) -> str:
    return pick(rng, speech.TRAIN_LANGUAGES if split == TRAIN else speech.TEST_LANGUAGES)


def _human(rng: np.random.Generator, job: Job) -> Scene:
    language = draw_language(rng, job.split)
    text = pick(rng, sentences(people.GREETINGS[language.split("-")[0]], job.split))
    return person(rng, voices_of(job.split), language, text)


def _machine(rng: np.random.Generator, job: Job) -> Scene:
    if chance(rng, 0.04):
        return beep_only(rng)
    language = draw_language(rng, job.split)
    menu = chance(rng, 0.2)
    texts = (machines.MENUS if menu else machines.MAILBOXES)[language.split("-")[0]]
    return mailbox(rng, voices_of(job.split), language, pick(rng, sentences(texts, job.split)), menu=menu)


def _progress_tone(rng: np.random.Generator, job: Job) -> Scene:
    return progress_tone(rng, job.label)


def _special_information(rng: np.random.Generator, job: Job) -> Scene:
    return special_information(rng, voices_of(job.split), draw_language(rng, job.split), job.label)


SCENES: Final[dict[str, Callable[[np.random.Generator, Job], Scene]]] = {
    "human": _human,
    "machine": _machine,
    "fax": lambda rng, job: fax(rng),
    "modem": lambda rng, job: modem(rng),
    "pager": lambda rng, job: pager(rng),
    "silence": lambda rng, job: nothing(rng),
    "crbt": lambda rng, job: colour_ringback(rng, voices_of(job.split), draw_language(rng, job.split)),
    "announcement": lambda rng, job: announcement(rng, voices_of(job.split), draw_language(rng, job.split)),
    **dict.fromkeys(("ringback", "busy", "reorder", "nu"), _progress_tone),
    **dict.fromkeys(("sit", *SIT_CODES), _special_information),
}


def recorded_scene(rng: np.random.Generator, job: Job, speakers: tuple[Speaker, ...]) -> Scene:
    """A person or a machine with one of the recorded voices of the job's part."""
    speaker = pick(rng, tuple(one for one in speakers if one.split == job.split))
    language = speaker.language
    if job.label == "human":
        said, names = speaker.words(rng)
        again = [speaker.words(rng)[0][0] for _ in range(2)]
        kind = pick(rng, KINDS, WEIGHTS)
        scene = answered(rng, kind if kind != "child" else "plain", said, again, voices_of(job.split), language)
    else:
        parts, names = speaker.sentences(rng)
        scene = recording(rng, np.concatenate(parts), menu=chance(rng, 0.25))
    scene.source, scene.language, scene.detail["text"] = speaker.source, language, names
    return scene


def make_file(job: Job, seed: int, folder: Path, speakers: tuple[Speaker, ...] = ()) -> dict[str, object]:
    """Write the WAV file of ``job`` into ``folder``; returns its line of the manifest."""
    rng = job.generator(seed)
    scene = recorded_scene(rng, job, speakers) if job.recorded else SCENES[job.label](rng, job)
    impairments = line.draw(rng, scene, gentle=scene.label not in ("human", "machine"))
    samples = line.transmit(rng, scene, impairments)
    write_wav(folder / job.file, samples, ulaw=impairments.law == "u-law" and chance(rng, ULAW_RATIO))
    entry: dict[str, object] = {
        "file": job.file,
        "label": scene.label,
        "phase": scene.phase,
        "country": scene.country,
        "speech_end_s": _rounded(scene.speech_end_s),
        "beep_s": _rounded(scene.beep_s),
        "beep_end_s": _rounded(scene.beep_end_s),
        "duration_s": _rounded(len(samples) / speech.RATE_HZ),
        "source": scene.source,
        "language": scene.language,
        "split": job.split,
        "impairments": impairments.as_json(),
        "detail": scene.detail,
    }
    return entry


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def make(
    jobs: Iterable[Job],
    seed: int,
    folder: Path,
    progress: Callable[[int], None],
    speakers: tuple[Speaker, ...] = (),
) -> dict[str, int]:
    """
    Make all files and the manifest, which appears under its name only when all is there.

    ``speakers`` are the recorded voices, needed when there are jobs for them.
    ``progress`` is told how many files are done. Returns the number of files of each class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    unfinished = folder / f"{MANIFEST}.part"
    with unfinished.open("w", encoding="utf-8") as manifest:
        for done, job in enumerate(jobs, start=1):
            entry = make_file(job, seed, folder, speakers)
            manifest.write(json.dumps(entry, ensure_ascii=False) + "\n")
            counts[str(entry["label"])] = counts.get(str(entry["label"]), 0) + 1
            progress(done)
    unfinished.replace(folder / MANIFEST)
    return counts
