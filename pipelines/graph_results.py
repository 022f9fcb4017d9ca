"""What the graph pipeline gives back: graphs as a file and as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ornstein.pipelines.results import Result

if TYPE_CHECKING:
    from ornstein.datasets.graphs import Graph
    from ornstein.pipelines.report import Report

SHOWN = 12
"""Graphs in the picture of a report."""
VALIDITY = {"planar": "planar", "tree": "tree"}
"""For a set of graphs what each of them is."""


class GraphGeneration(Result):
    """Generated graphs.

    Attributes:
        graphs: all of them, in their order.
    """

    title = "Generated graphs"

    def __init__(self, graphs: "Sequence[Graph]", name: str, seed: int = 0) -> None:
        from ornstein.domains.graphs.measures import VALIDITY as HOLDS
        from ornstein.domains.graphs.measures import is_connected

        super().__init__()
        self.graphs, self._seed = list(graphs), seed
        n = len(self.graphs)
        self.measures = {
            "set": name,
            "count": n,
            "connected": sum(map(is_connected, self.graphs)) / n,
            "mean_nodes": sum(graph.nodes for graph in self.graphs) / n,
            "mean_edges": sum(len(graph.edges) for graph in self.graphs) / n,
        }
        if name in VALIDITY:
            self.measures["valid"] = sum(map(HOLDS[VALIDITY[name]], self.graphs)) / n

    def to_networkx(self) -> list[Any]:
        """The graphs in networkx."""
        return [graph.to_networkx() for graph in self.graphs]

    def to_pyg(self) -> list[Any]:
        """The graphs as PyTorch Geometric's `Data`."""
        return [graph.to_pyg() for graph in self.graphs]

    def write(self, path: Path) -> None:
        from ornstein.datasets.graphs import write_graphs

        write_graphs(path, self.graphs)

    def describe(self, report: "Report") -> None:
        """Pictures of the first graphs, and how their nodes and edges are distributed."""
        shown = self.graphs[:SHOWN]
        report.section("Graphs").picture(drawing(shown), f"The first {len(shown)}, laid out by springs.")
        report.picture(
            degrees(self.graphs), f"Degrees of the nodes of all {len(self.graphs)}, and how many edges they have."
        )


def drawing(graphs: "Sequence[Graph]", columns: int = 4) -> Any:
    """A figure of graphs side by side."""
    import networkx as nx
    import numpy as np
    from matplotlib.collections import LineCollection

    from ornstein.pipelines.report import figure

    columns = min(columns, len(graphs))
    rows = -(-len(graphs) // columns)
    made = figure(2.3 * columns, 2.3 * rows)
    for i, (graph, panel) in enumerate(zip(graphs, np.ravel(np.atleast_1d(made.subplots(rows, columns))))):
        places = nx.spring_layout(graph.to_networkx(), seed=0, iterations=100)
        xy = np.array([places[node] for node in range(graph.nodes)]).reshape(-1, 2)
        panel.add_collection(LineCollection(list(xy[graph.edges]), colors="#9aa3ad", linewidths=0.7))
        panel.plot(*xy.T, "o", color="#1f5f8b", markersize=3)
        panel.set_title(f"{i}: {graph.nodes} nodes, {len(graph.edges)} edges", fontsize=8)
        panel.set_aspect("equal")
    for panel in made.axes:
        panel.set_axis_off()
    return made


def degrees(graphs: "Sequence[Graph]") -> Any:
    """A figure of the distribution of degrees and of the numbers of edges."""
    import numpy as np

    from ornstein.pipelines.report import figure

    made = figure(8, 2.4)
    left, right = made.subplots(1, 2)
    degree = np.concatenate([np.bincount(graph.edges.ravel(), minlength=graph.nodes) for graph in graphs])
    left.bar(
        np.arange(degree.max(initial=0) + 1), np.bincount(degree, minlength=1) / max(len(degree), 1), color="#1f5f8b"
    )
    left.set_xlabel("degree")
    left.set_ylabel("share of nodes")
    right.hist([len(graph.edges) for graph in graphs], 20, color="#1f5f8b")
    right.set_xlabel("edges")
    right.set_ylabel("graphs")
    return made
