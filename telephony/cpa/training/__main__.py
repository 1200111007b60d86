"""``python -m telephony.cpa.training fit DIR...``: train, score on what was left out, write the model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from telephony.contract import AnalysisSettings
from telephony.cpa.forest import MODEL_FILE, Forest
from telephony.cpa.training.score import report
from telephony.cpa.training.traces import Trace, read_manifest, trace

console = Console(highlight=False)
SPLITS = ("train", "test", "real")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m telephony.cpa.training", description=__doc__)
    parser.add_argument("action", choices=("fit", "score"))
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders made by telephony.cpa.corpus")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent.parent / MODEL_FILE)
    options = parser.parse_args(arguments)
    traces = [t for folder in options.folders for t in trace(read_manifest(folder))]
    by_split: dict[str, list[Trace]] = {name: [t for t in traces if t.recording.split == name] for name in SPLITS}
    if options.action == "fit":
        from telephony.cpa.training.fit import fit  # scikit-learn

        forest = fit(by_split["train"], options.seed)
        used = f"{len(by_split['train'])} recordings, seed {options.seed}"
        forest.save(options.model, trained_on=used)
    forest = Forest.load(options.model)
    for name, chosen in by_split.items():
        if chosen:
            figures = report(chosen, [forest.probability(t.features) for t in chosen], AnalysisSettings())
            console.print(name, *(f"  {key:28s} {value:.4f}" for key, value in figures.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
