"""Molecules: quality against time of the shipped models, of a recurrent network over SMILES and of published samples.

    python benchmarks/molecules.py split RECIPE.yaml TRAIN TEST [--count 10000]
    python benchmarks/molecules.py train-lstm TRAIN FOLDER --seconds 2100 [--parameters 1100000] [--device cuda]
    python benchmarks/molecules.py quality TRAIN TEST [--model M] [--lstm FOLDER] [--peer NAME=FILE] [--steps 5,10,25,50,100,default]
    python benchmarks/molecules.py objectives TRAIN [--model M] [--calls 10000] [--seeds 5]

TRAIN and TEST are files of SMILES (.smi, .csv, .parquet, also .gz). `split` writes them of a recipe whose `limit` leaves molecules out: TRAIN
is what the model learnt from, TEST some of the others. Every attempt is in the denominator; FCD is that of all
valid molecules of a draw against the whole test set, with the floor that as many training molecules have. Seconds are those
of one CPU thread unless --threads or --device says otherwise, sampling and nothing else. `--attempts 10000 --draws 5` is what
the README reports; the training of the recurrent network goes on where it stopped.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import Clock, facts
from molecules_lstm import load, train
from molecules_objectives import compare

from ornstein.datasets.molecule_files import read_molecules, read_smiles, write_smi
from ornstein.datasets.molecules import canonical, parse
from ornstein.domains.molecules.attempts import Attempt, counts, judge, judge_text
from ornstein.domains.molecules.design import draw
from ornstein.domains.molecules.measures import (
    activations,
    fingerprints,
    frechet_distance,
    internal_diversity,
    nearest_similarity,
    passes_filters,
    scaffold_similarity,
)
from ornstein.domains.molecules.wishes import Wish
from ornstein.pipelines.answers import table
from ornstein.pipelines.models import find_model
from ornstein.pipelines.molecule import _load
from ornstein.pipelines.train import read_configuration

Row = dict[str, Any]


class Reference:
    """A test set, and a training set for novelty and the floor, read once."""

    def __init__(self, train_file: str, test_file: str, device: str, seed: int = 0) -> None:
        test = read_molecules(test_file)
        self.molecules, self.device = test.molecules, device
        self.goal = activations(test.smiles, device)
        self.prints = fingerprints(test.molecules)
        self.train = [canonical(parse(text)) for _, text in read_smiles(train_file) if text]
        self._order = np.random.default_rng(seed).permutation(len(self.train))
        self._floors: dict[int, float] = {}

    def floor(self, n: int) -> float:
        """The FCD of n training molecules."""
        n = min(n, len(self.train))
        if n not in self._floors:
            self._floors[n] = frechet_distance(
                activations([self.train[i] for i in self._order[:n]], self.device), self.goal
            )
        return self._floors[n]

    def score(self, attempts: Sequence[Attempt]) -> Row:
        """The measures of one draw."""
        row: Row = counts(attempts)
        good = [attempt for attempt in attempts if attempt.valid]
        if len(good) < 2:
            return row
        smiles, molecules = [a.smiles for a in good], [a.molecule for a in good]
        prints = fingerprints(molecules)
        different = set(smiles)
        fcd = frechet_distance(activations(smiles, self.device), self.goal)
        row |= {
            "novel": len(different.difference(self.train)) / len(different),
            "fcd": fcd,
            "fcd_excess": fcd - self.floor(len(good)),
            "snn": nearest_similarity(prints, self.prints),
            "scaffolds": scaffold_similarity(molecules, self.molecules),
            "filters": float(np.mean([passes_filters(molecule) for molecule in molecules])),
            "diversity": internal_diversity(prints),
        }
        return row


def quality(arguments: argparse.Namespace) -> Iterator[Row]:
    """One row for each method, number of steps and draw."""
    reference = Reference(arguments.train, arguments.test, arguments.device)
    for word in arguments.peer:
        name, _, file = word.partition("=")
        records = read_molecules(file)
        made = [judge(molecule) for molecule in records.molecules]
        missing = [judge(parse("C.C"))] * (records.attempts - len(made))  # blank lines are attempts that failed
        yield {"method": name, "steps": None, "draw": 0, "seconds_per_1000": None, **reference.score(made + missing)}
    n = arguments.attempts
    if arguments.lstm:
        network = load(Path(arguments.lstm), arguments.device)
        for number in range(arguments.draws):
            clock = Clock()
            texts = network.sample(n, seed=number)
            seconds = clock.read()[arguments.device == "cpu"] / n * 1000
            yield {"method": "SMILES LSTM", "steps": None, "draw": number, "seconds_per_1000": seconds,
                   **reference.score([judge_text(text) for text in texts])}  # fmt: skip
    if arguments.model == "none":
        return
    chosen = find_model(arguments.model, "molecule")
    model = _load(chosen.folder, torch.device(arguments.device))
    for steps in [None if word == "default" else int(word) for word in arguments.steps.split(",")]:
        for number in range(arguments.draws):
            clock = Clock()
            attempts: list[Attempt] = []
            for first in range(0, n, arguments.batch):
                items = range(first, min(first + arguments.batch, n))
                attempts += draw(
                    model,
                    items,
                    Wish(),
                    steps=steps,
                    seed=number,
                    device=arguments.device,
                    precision=arguments.precision,
                )
            seconds = clock.read()[arguments.device == "cpu"] / n * 1000
            yield {"method": f"ornstein {chosen.name}", "steps": steps or "default", "draw": number, "seconds_per_1000": seconds,
                   **reference.score(attempts)}  # fmt: skip


def split(recipe: str, train: str, test: str, count: int) -> None:
    """Writes what a recipe learns from, and some of what it leaves out, in random order."""
    settings = read_configuration(recipe)
    source = settings.get("data", settings)
    texts = [text for _, text in read_smiles(source["path"], source.get("column"))]
    limit = source.get("limit", 0)
    if not limit or limit + count > len(texts):
        raise SystemExit(f"{recipe}: of {len(texts)} molecules {limit or 'all'} are learnt from; {count} are not left")
    order = np.random.default_rng(0).permutation(len(texts))  # as the recipe draws them
    write_smi(train, [texts[i] for i in order[:limit]])
    write_smi(test, [texts[i] for i in order[limit : limit + count]])


def summary(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Means over draws or seeds, with deviations where there are several, as a table."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    columns = [c for c in rows[0] if c not in (*keys, "draw", "seed", "attempts")]
    for row in rows:
        columns += [c for c in row if c not in (*columns, *keys, "draw", "seed", "attempts")]
    lines = []
    for key, some in groups.items():
        cells = []
        for column in columns:
            values = [row[column] for row in some if row.get(column) is not None]
            text = "" if not values else f"{np.mean(values):.4g}"
            cells.append(text + (f" ±{np.std(values):.2g}" if len(values) > 1 else ""))
        lines.append([*("" if k is None else str(k) for k in key), *cells])
    return table(lines, [*keys, *columns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--json", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    zero = commands.add_parser("split")
    zero.add_argument("recipe")
    zero.add_argument("train")
    zero.add_argument("test")
    zero.add_argument("--count", type=int, default=10_000)
    one = commands.add_parser("train-lstm")
    one.add_argument("train")
    one.add_argument("folder", type=Path)
    one.add_argument("--seconds", type=float, required=True)
    one.add_argument("--parameters", type=int, default=1_100_000)
    two = commands.add_parser("quality")
    two.add_argument("train")
    two.add_argument("test")
    two.add_argument("--model", default=None, help="a shipped model or a checkpoint folder; none for no model")
    two.add_argument("--lstm")
    two.add_argument("--peer", action="append", default=[], metavar="NAME=FILE")
    two.add_argument("--steps", default="5,10,25,50,100,250,500")
    two.add_argument("--attempts", type=int, default=1000)
    two.add_argument("--draws", type=int, default=1)
    two.add_argument("--batch", type=int, default=250)
    three = commands.add_parser("objectives")
    three.add_argument("train")
    three.add_argument("--model", default=None)
    three.add_argument("--calls", type=int, default=10_000)
    three.add_argument("--seeds", type=int, default=5)
    three.add_argument("--candidates", type=int, default=8)
    three.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.command == "split":
        split(arguments.recipe, arguments.train, arguments.test, arguments.count)
        return
    if arguments.command == "train-lstm":
        smiles = [text for _, text in read_smiles(arguments.train) if text]
        train(smiles, arguments.folder, arguments.seconds, arguments.parameters, device=arguments.device, log=_log)
        return
    rows: list[Row] = []
    if arguments.command == "quality":
        keys = ["method", "steps"]
        for row in quality(arguments):
            rows.append(row)
            _log(json.dumps(row))
            _keep(arguments, rows)
    else:
        keys = ["objective", "method"]
        texts = [text for _, text in read_smiles(arguments.train) if text]
        some = np.random.default_rng(0).choice(len(texts), min(2000, len(texts)), replace=False)
        model = _load(find_model(arguments.model, "molecule").folder, torch.device(arguments.device))
        start = [parse(texts[i]) for i in some]
        settings = {"steps": arguments.steps, "device": arguments.device, "precision": arguments.precision}
        for seed in range(arguments.seeds):
            rows += compare(model, start, arguments.calls, [seed], arguments.candidates, **settings)
            _keep(arguments, rows)
    print(summary(rows, keys))


def _keep(arguments: argparse.Namespace, rows: list[Row]) -> None:
    if arguments.json is not None:
        said = {name: str(value) for name, value in vars(arguments).items() if name != "json"}
        arguments.json.write_text(
            json.dumps({"machine": facts(arguments.device), "arguments": said, "rows": rows}, indent=1)
        )


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
