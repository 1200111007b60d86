"""The decisions of a call, replayed on traces: quick enough to try many thresholds and models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telephony.contract import AnalysisSettings
from telephony.cpa.greeting import MIN_MACHINE_FRAMES, MIN_REVISION_FRAMES, MIN_SPEECH_FRAMES
from telephony.cpa.training.traces import Trace
from telephony.cpa.voice import FEATURES, FRAME_S

TALK = FEATURES.index("talk_s")


@dataclass(frozen=True, slots=True)
class Decision:
    """``first`` and ``last`` verdict ("human", "machine" or "" for none) and when they fell, in s."""

    first: str
    first_at_s: float
    last: str
    last_at_s: float
    end_s: float  # of the greeting, as heard at the first verdict


def decide(trace: Trace, likely: npt.NDArray[np.float32], settings: AnalysisSettings) -> Decision:
    """What the greeting judge makes of the model's answers ``likely`` to the questions of a trace."""
    verdict, at_s, end_s = "", 0.0, 0.0
    before = 0.0  # speech dealt with by the first verdict
    first: tuple[str, float] | None = None
    for p, features, now, pause, end in zip(
        likely.tolist(), trace.features, trace.at_s.tolist(), trace.pause_s.tolist(), trace.end_s.tolist(), strict=True
    ):
        talk = float(features[TALK]) - before
        new = ""
        if verdict == "":
            if talk < MIN_SPEECH_FRAMES * FRAME_S:
                continue
            if p >= settings.machine_probability and talk >= MIN_MACHINE_FRAMES * FRAME_S:
                new = "machine"
            elif _person(pause, p, settings):
                new = "human"
            elif pause * 1000 >= settings.human_silence_ms - 1 and p >= settings.undecided_probability:
                new = "machine"
            elif pause * 1000 >= settings.undecided_silence_ms - 1:
                new = "human"
        elif verdict == "human" and talk >= MIN_REVISION_FRAMES * FRAME_S and p >= settings.revise_probability:
            new = "machine"
        if new:
            verdict, at_s = new, now
            if first is None:
                first, end_s, before = (new, now), end, float(features[TALK])
    # A recording tone after speech makes a machine of anything; the analyser heard it with no verdict standing.
    beep = next((v for v in trace.ended if v.kind == "beep"), None)
    if beep is not None and verdict != "machine":
        verdict, at_s = "machine", beep.at_s
        first = first or (verdict, at_s)
    first = first or ("", 0.0)
    return Decision(first[0], first[1], verdict, at_s, end_s)


def _person(pause: float, p: float, settings: AnalysisSettings) -> bool:
    pause_ms = pause * 1000 + 1
    sure = pause_ms >= settings.sure_silence_ms and p < settings.sure_probability
    return sure or (pause_ms >= settings.human_silence_ms and p < settings.human_probability)


def report(
    traces: Sequence[Trace], answers: Sequence[npt.NDArray[np.float32]], settings: AnalysisSettings
) -> dict[str, float]:
    """Rates and latencies of replayed decisions."""
    decisions = [decide(t, p, settings) for t, p in zip(traces, answers, strict=True)]
    pairs = list(zip(traces, decisions, strict=True))
    persons = [(t, d) for t, d in pairs if not t.recording.machine]
    machines = [(t, d) for t, d in pairs if t.recording.machine]
    waits = [
        d.first_at_s - t.recording.speech_end_s
        for t, d in persons
        if d.first == "human" and t.recording.speech_end_s is not None
    ]
    late = [d.last_at_s for _, d in machines if d.last == "machine"]
    found = {
        "persons": float(len(persons)),
        "machines": float(len(machines)),
        "person_taken_for_machine": _share([d.last == "machine" for _, d in persons]),
        "person_first_machine": _share([d.first == "machine" for _, d in persons]),
        "person_undecided": _share([d.last == "" for _, d in persons]),
        "machine_caught": _share([d.last == "machine" for _, d in machines]),
        "machine_caught_at_first": _share([d.first == "machine" for _, d in machines]),
    }
    for name, values in (("human_after_greeting_s", waits), ("machine_at_s", late)):
        for q in (50, 95, 99):
            found[f"{name}_p{q}"] = float(np.percentile(values, q)) if values else float("nan")
    return found


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if flags else float("nan")
