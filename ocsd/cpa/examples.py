"""One call of each kind out of a corpus: recording, picture, analysis as JSON, and a page that shows them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from ocsd.cpa.manifest import LABELS, Entry
from ocsd.cpa.pictures import draw
from ocsd.cpa.results import Analysed, judged
from ocsd.cpa.scoring import named
from ocsd.model.errors import ConfigError, OcsdError
from telephony.contract import AnalysisSettings
from telephony.cpa.offline import Call, analyse_calls
from telephony.cpa.wavfile import Recording, encode_wav
from telephony.media.g711 import SAMPLE_RATE_HZ

MAX_S: Final = 10.0
AFTER_S: Final = 1.0
"""What is kept of a recording after its last verdict; the rest says nothing more."""

CANDIDATES: Final = 12
"""Recordings of a class among which one is chosen."""

WORDS: Final = {
    "human": "a person",
    "human_long": "a person with a long greeting",
    "machine": "an answering machine",
    "machine_revised": "a machine that began like a person; put right by listening on",
    "fax": "a fax machine",
    "modem": "a modem",
    "pager": "a pager",
    "busy": "busy",
    "reorder": "all trunks busy (reorder)",
    "nu": "number unobtainable",
    "ringback": "ringing, before the answer",
    "sit_ic": "special information tone: intercept",
    "sit_vc": "special information tone: vacant code",
    "sit_ro": "special information tone: reorder",
    "sit_nc": "special information tone: no circuit",
    "sit_io": "special information tone: ineffective, other",
    "sit": "special information tone without a cause (ITU)",
    "crbt": "music in place of the ringing",
    "announcement": "an announcement before the answer",
    "silence": "nothing at all",
}
LONG_GREETING_S: Final = 1.8
PAGE: Final = "README.md"
TITLE: Final = "# One call of each kind"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A recording of a corpus, cut to what matters, and its analysis."""

    entry: Entry
    call: Call
    analysed: Analysed

    @property
    def right(self) -> bool:
        return named(self.entry.label, self.analysed) == self.entry.label


def settings_of(entry: Entry) -> AnalysisSettings:
    return AnalysisSettings(tone_plan=entry.tone_plan)


def candidates(read: Sequence[tuple[Entry, Recording]]) -> list[Candidate]:
    """Analyse recordings, cut them after their last verdict, and analyse what is left."""
    whole = [Call(one.samples, settings_of(entry), entry.analysed_from_s) for entry, one in read]
    cut: list[Call] = []
    for call, heard in zip(whole, analyse_calls(whole), strict=True):
        last_s = max([0.0, *(verdict.at_s for verdict in heard.verdicts)])
        end_s = min(MAX_S, last_s + AFTER_S)
        cut.append(Call(call.samples[: round(end_s * SAMPLE_RATE_HZ)], call.settings, call.answered_s))
    return [
        Candidate(entry, call, judged(call, heard))
        for (entry, _), call, heard in zip(read, cut, analyse_calls(cut), strict=True)
    ]


def make_corpus(folder: Path, seed: int, progress: Callable[[int, int], object]) -> None:
    """A few calls of each class. Raises OcsdError when a program that makes them is not installed."""
    from telephony.cpa.corpus.build import make
    from telephony.cpa.corpus.plan import FULL_COUNTS, jobs
    from telephony.cpa.corpus.speech import ToolMissing, check_tools

    few = [job for label in FULL_COUNTS for job in islice(jobs("small", label), CANDIDATES)]

    def seen(done: int) -> None:
        progress(done, len(few))

    try:
        check_tools()
        make(few, seed, folder, seen)
    except ToolMissing as error:
        raise OcsdError(str(error)) from None


def chosen(found: Sequence[Candidate]) -> dict[str, Candidate]:
    """One of each kind that there is: the first that is recognised; of a label the first one if none is."""
    examples: dict[str, Candidate] = {}
    wanted: dict[str, Callable[[Candidate], bool]] = {
        **{label: _labelled(label) for label in LABELS},
        "human_long": lambda one: one.entry.label == "human" and _greeting_s(one) >= LONG_GREETING_S,
        "machine_revised": lambda one: one.entry.label == "machine" and one.analysed.first == "human",
    }
    for name in WORDS:
        fitting = [one for one in found if wanted[name](one) and one not in examples.values()]
        right = [one for one in fitting if one.right]
        # A machine that was known by its words and heard to its tone shows more than another.
        told = [one for one in right if name == "machine" and _talks_then_beeps(one.analysed)]
        if shown := told or right or (fitting if name in LABELS else []):
            examples[name] = shown[0]
    return examples


def _labelled(label: str) -> Callable[[Candidate], bool]:
    return lambda one: one.entry.label == label


def _talks_then_beeps(found: Analysed) -> bool:
    return found.first == "machine" and (found.beep_time_s or 0.0) > found.decision_time_s


def _greeting_s(one: Candidate) -> float:
    return float(one.analysed.evidence["figures"].get("greeting_s", 0.0))


def write(examples: dict[str, Candidate], folder: Path) -> None:
    """``NAME.wav``, ``NAME.png`` and ``NAME.json`` of each, and ``README.md``; in a folder of `check_folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, one in examples.items():
        wav = f"{name}.wav"
        (folder / wav).write_bytes(encode_wav(one.call.samples))
        told = one.analysed.told(wav)
        (folder / f"{name}.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draw(one.call.samples, one.analysed, folder / f"{name}.png", f"{WORDS[name]}: {one.analysed.result}")
    (folder / PAGE).write_text(_page(examples), encoding="utf-8")


def check_folder(folder: Path) -> None:
    """Raises ConfigError where a README.md of somebody else's is in the way."""
    page = folder / PAGE
    if page.exists() and not page.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        raise ConfigError([f"{page} is no page of examples; give a folder of its own"])


def _page(examples: dict[str, Candidate]) -> str:
    lines = [
        TITLE,
        "",
        "Made by `ocsd cpa examples`; do not edit. White: the verdict; yellow: the end of the greeting; red: the",
        "recording tone; green: speech or the like of it; grey: quiet that was added because the recording ends before",
        "the decision. [cpa.md](../cpa.md) explains the results.",
    ]
    for name, one in examples.items():
        found = one.analysed
        when = f"{found.decision_time_s:.2f} s"
        beep = f", recording tone at {found.beep_time_s:.2f} s" if found.beep_time_s is not None else ""
        wrong = "" if one.right else f" **This one goes wrong**: it is labelled {one.entry.label}."
        lines += [
            "",
            f"## {WORDS[name][0].upper()}{WORDS[name][1:]}",
            "",
            f"`{found.result}` ({found.call_result.title}) at {when}{beep}: {found.evidence['cause']}.{wrong}",
            f"Tones of {found.evidence['tone_plan']}, {one.entry.source or 'unknown source'}.",
            f"[Sound]({name}.wav), [JSON]({name}.json)",
            "",
            f"![spectrogram of {name}.wav]({name}.png)",
        ]
    return "\n".join(lines) + "\n"
