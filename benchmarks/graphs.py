"""Generic graphs: discrepancies over the train-to-test floor, for the shipped model and for published samples.

    python benchmarks/graphs.py TRAIN TEST [--model planar] [--peer NAME=FILE] [-n 1000] [--seeds 5] [--steps N] [--json FILE]

TRAIN and TEST are .npz or .json (see `ornstein evaluate graph --help`). The floor is that of the whole training set against
the test set, and so depends on which graphs the test set holds: compare rows of one run. All samples of a seed are scored
together; the published sets have 40 graphs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import Clock, facts

from ornstein.datasets.graphs import Graph, read_graphs
from ornstein.domains.graphs.measures import measure
from ornstein.pipelines.answers import table
from ornstein.pipelines.graph import generate

SHOWN = ("valid", "unique", "novel", "valid_unique_novel", "ratio_tv_degree", "ratio_tv_clustering", "ratio_tv_orbit",
         "ratio_tv_spectrum", "ratio_tv_mean", "ratio_emd_mean", "mmd_emd_degree", "mmd_emd_clustering", "mmd_emd_orbit")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--model", help="a set of the shipped model, FOLDER or FOLDER:SET; none of ours without it")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train, test = read_graphs(arguments.train), read_graphs(arguments.test)
    rows: list[dict[str, Any]] = []

    def add(name: str, seed: int, graphs: list[Graph], seconds: float | None) -> None:
        rows.append({"method": name, "seed": seed, "seconds": seconds, **measure(graphs, test, train)})

    for word in arguments.peer:
        name, _, file = word.partition("=")
        add(name, 0, read_graphs(file), None)
    for seed in range(arguments.seeds if arguments.model else 0):
        clock = Clock()
        made = generate(
            n=arguments.n, model=arguments.model, steps=arguments.steps, seed=seed, device=arguments.device
        ).graphs
        add(f"ornstein {arguments.model}", seed, made, clock.read()[0])
    if arguments.json is not None:
        said = {name: str(value) for name, value in vars(arguments).items() if name != "json"}
        arguments.json.write_text(json.dumps({"machine": facts(), "arguments": said, "rows": rows}, indent=1))
    print(
        table(
            [_line(rows, name) for name in dict.fromkeys(row["method"] for row in rows)], ["method", "graphs", *SHOWN]
        )
    )


def _line(rows: list[dict[str, Any]], name: str) -> list[str]:
    some = [row for row in rows if row["method"] == name]
    cells = [name, str(some[0]["count"])]
    for column in SHOWN:
        values = np.array([row[column] for row in some if row.get(column) is not None], float)
        spread = f" ±{values.std():.2g}" if len(values) > 1 else ""
        cells.append(f"{values.mean():.3g}{spread}" if len(values) else "")
    return cells


if __name__ == "__main__":
    main()
