"""The quickstart of graphs: small communities, beside the random graphs of Erdos and Renyi."""

from pathlib import Path
from typing import TYPE_CHECKING

from ornstein.pipelines import graph
from ornstein.pipelines.console import Console
from ornstein.pipelines.graph_results import drawing
from ornstein.pipelines.quickstart import Demonstration
from ornstein.pipelines.report import Report

if TYPE_CHECKING:
    from ornstein.datasets.graphs import Graph

COUNT = 40
SET = "community-small"


def demonstrate(folder: Path, report: Report, device: str, seed: int, console: Console) -> Demonstration:
    """Generates small communities, and compares them and random graphs with communities made by the published recipe."""
    from ornstein.datasets.graphs import write_graphs
    from ornstein.domains.graphs.mmd import compare, features

    reference, train = communities(COUNT, seed=1000 + seed), communities(2 * COUNT, seed=2000 + seed)
    progress = console.progress("graph generate")
    made = graph.generate(n=COUNT, model=SET, device=device, seed=seed, progress=progress)
    progress.close()
    made.save(folder / "graphs.json", overwrite=True)
    write_graphs(folder / "reference.json", reference)
    sets = {"Erdos-Renyi": independent(reference, seed), "diffusion": made.graphs}
    goal, learned = features(reference), features(train)
    found = {name: compare(features(some), goal, learned) for name, some in sets.items()}
    head = ("method", "degree", "clustering", "orbit", "spectrum", "mean")
    columns = ("degree", "clustering", "orbit", "spectrum", "mean")
    rows = [(name, *(measures[f"ratio_tv_{column}"] for column in columns)) for name, measures in found.items()]
    said = (
        f"its graphs are {rows[1][-1]:.1f} times as far from new communities as old ones are, "
        f"random graphs of the same density {rows[0][-1]:.1f} times"
    )
    report.text(
        f"{COUNT} graphs like small communities, beside random graphs with as many nodes and edges. Both are compared with "
        f"{COUNT} communities simulated by the recipe of You et al. (2018): the discrepancy of each statistic, over the one that "
        f"{2 * COUNT} further simulated communities have."
    )
    report.text(f"Outcome: {said}.").table(rows, head)
    for name, some in (*sets.items(), ("simulated communities", reference)):
        report.picture(drawing(some[:4]), f"{name[0].upper()}{name[1:]}.")
    report.provenance(made.record)
    console.say(f"graph generate: {rows[1][-1]:.2f} times the floor")
    return Demonstration(head, rows, made.model, said)


def communities(count: int, seed: int) -> "list[Graph]":
    """Graphs of two communities of 6 to 10 nodes each, dense within (0.7) and thin between (0.05), all in one piece.

    Source: You et al. (2018), GraphRNN, arXiv:1802.08773, the set "community-small".
    """
    import networkx as nx
    import numpy as np

    from ornstein.datasets.graphs import as_graphs

    generator = np.random.default_rng(seed)
    made: list[nx.Graph] = []
    while len(made) < count:
        sizes = generator.integers(6, 11, size=2).tolist()
        one = nx.stochastic_block_model(sizes, [[0.7, 0.05], [0.05, 0.7]], seed=int(generator.integers(2**31)))
        if nx.is_connected(one):
            made.append(nx.Graph(one.edges))
    return as_graphs(made)


def independent(like: "list[Graph]", seed: int) -> "list[Graph]":
    """Random graphs with as many nodes and edges as these."""
    import networkx as nx

    from ornstein.datasets.graphs import as_graphs

    return as_graphs([nx.gnm_random_graph(g.nodes, len(g.edges), seed=seed + i) for i, g in enumerate(like)])
