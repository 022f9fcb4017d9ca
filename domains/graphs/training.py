"""Training one model of several sets of graphs from a configuration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ornstein.core.checkpoints import save_model
from ornstein.core.configuration import Configuration
from ornstein.core.discrete.objectives import cross_entropy_loss
from ornstein.core.discrete.samplers import Ancestral
from ornstein.core.errors import InputError
from ornstein.core.noise import key
from ornstein.core.training.loop import TrainingSettings, explained, load_average, train, world
from ornstein.core.training.objectives import stratified
from ornstein.datasets.graph_table import GraphTable, state
from ornstein.datasets.graphs import read_graphs
from ornstein.domains.graphs.constraints import Constraint
from ornstein.domains.graphs.generation import GraphDenoiser, build


@dataclass(frozen=True)
class GraphSet:
    """One set of graphs.

    Args:
        name: of the set: what a user chooses.
        path: a file of graphs, .json or .npz.
        weight: how often it is drawn, relative to the others, above 0.
        constraint: what its graphs are held to: none, acyclic or planar.
    """

    name: str
    path: str
    weight: float = 1.0
    constraint: Constraint = "none"

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ValueError(f"weight {self.weight}: must be above 0")


@dataclass(frozen=True)
class GraphConfiguration(Configuration):
    """Everything that makes a graph model; `ornstein train` reads it from YAML.

    Args:
        output: folder of the model; the training state goes to its sub-folder `training`.
        name: of the model.
        data: the sets.
        width, edge_width, depth, heads, product, expansion: of the graph transformer.
        walks: steps of the random walks that it sees.
        late: times are drawn as u^late, u uniform, above 0; above 1 there are more of them near the data.
        batch: the most graphs a step, at least 1.
        entries: the most entries of their adjacency matrices in all, batch n^2: fewer graphs a step where they are large.
        sampler: fields of `Ancestral`.
        steps: sampling steps, at least 1.
        training: see `TrainingSettings`.
        card: free text for the model card: data, licence, limits.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    hint: ClassVar[str] = "See docs/discrete.md for the fields of a graph model."

    output: str
    name: str
    data: tuple[GraphSet, ...]
    width: int = 96
    edge_width: int = 32
    depth: int = 6
    heads: int = 8
    product: int = 16
    expansion: float = 2.0
    walks: int = 16
    late: float = 1.5
    batch: int = 64
    entries: int = 150_000
    sampler: dict[str, float] = field(default_factory=dict)
    steps: int = 200
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.data or len({one.name for one in self.data}) < len(self.data):
            raise ValueError("data: at least one set, each with a name of its own")
        numbers = (self.width, self.edge_width, self.depth, self.heads, self.product, self.batch, self.steps)
        if min(*numbers, self.entries) < 1:
            raise ValueError("width, edge_width, depth, heads, product, batch, steps and entries must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads}: do not divide width {self.width}")
        if self.walks < 2 or min(self.expansion, self.late) <= 0:
            raise ValueError("walks must be at least 2; expansion and late above 0")
        try:
            Ancestral(**self.sampler)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise ValueError(f"sampler {self.sampler}: {error}") from None

    @property
    def architecture(self) -> dict[str, Any]:
        """What `build` makes the network of."""
        names = ("width", "edge_width", "depth", "heads", "product", "expansion", "walks")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class GraphBatches:
    """Batches of one set each: graphs of a set are of like size, so that little is padding.

    Args:
        tables: of the sets.
        weights: of the sets.
        batch, entries: see `GraphConfiguration`.
    """

    tables: list[GraphTable]
    weights: list[float]
    batch: int
    entries: int

    def __call__(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`nodes`, `edges`, `mask` as `GraphTable.batch`, and `set`, the number of the set ()."""
        chosen = int(torch.multinomial(torch.tensor(self.weights), 1, generator=generator))
        table = self.tables[chosen]
        count = max(1, min(self.batch, self.entries // int(table.sizes.max()) ** 2))
        rows = torch.randint(len(table), (count,), generator=generator).numpy()
        return {**table.batch(rows), "set": torch.tensor(chosen)}


def train_from_settings(
    settings: dict[str, Any], *, device: str | torch.device = "cpu", log: Callable[[str], None] = print
) -> Path:
    """Trains a graph model from the mapping of a configuration file; the folder of the model."""
    return train_generator(GraphConfiguration.parse(settings), device=device, log=log)


def read_tables(sets: tuple[GraphSet, ...]) -> list[GraphTable]:
    """The graphs of every set. Raises: InputError for a file that holds none, or none of two nodes."""
    tables = []
    for one in sets:
        graphs = read_graphs(one.path)
        if max(graph.nodes for graph in graphs) < 2:
            raise InputError(f"data.path {one.path}: no graph of two nodes", "Give other graphs.")
        tables.append(
            GraphTable.of((np.zeros(g.nodes, np.uint8), g.edges, np.ones(len(g.edges), np.uint8)) for g in graphs)
        )
    return tables


def graph_loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator, late: float = 1.0) -> Tensor:
    """The cross-entropy of the edges of a batch of one set, (batch,)."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(inner, GraphDenoiser)
    x0, masks = state(tensors)
    t = (stratified(len(tensors["mask"]), generator) ** late).clamp_min(1e-4).to(tensors["mask"].device)
    paths = inner.sets[int(tensors["set"])]
    return cross_entropy_loss(model, x0, masks, t, generator, paths=paths, set=tensors["set"])


def train_generator(
    configuration: GraphConfiguration,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a graph model and writes its folder; resumes where it stopped."""
    c = configuration
    tables = read_tables(c.data)
    densities = [table.edge_frequencies(2)[1] for table in tables]
    torch.manual_seed(key(c.training.seed))
    denoiser = build(c.architecture, densities, [one.constraint for one in c.data])
    log(f"{sum(map(len, tables))} graphs, {sum(p.numel() for p in denoiser.parameters()):,} weights")
    batches = GraphBatches(tables, [one.weight for one in c.data], c.batch, c.entries)
    with explained():
        average = train(
            denoiser,
            batches,
            lambda model, tensors, generator: graph_loss(model, tensors, generator, c.late),
            c.training,
            Path(c.output) / "training",
            device=device,
            log=log,
            stop_after=stop_after,
        )
    assert isinstance(average, GraphDenoiser)
    if world()[0] == 0:  # one process of several writes the model
        _save(c, average, densities, tables)
    return Path(c.output)


def save_unfinished(configuration: GraphConfiguration) -> Path:
    """Writes the model folder of a training that still goes on, from the moving average at its last checkpoint.

    Raises:
        ModelError: where there is none yet, or it is of another architecture.
    """
    c = configuration
    tables = read_tables(c.data)
    densities = [table.edge_frequencies(2)[1] for table in tables]
    denoiser = build(c.architecture, densities, [one.constraint for one in c.data])
    load_average(denoiser, Path(c.output) / "training")
    _save(c, denoiser, densities, tables)
    return Path(c.output)


def _save(c: GraphConfiguration, denoiser: GraphDenoiser, densities: list[float], tables: list[GraphTable]) -> None:
    card = {
        "name": c.name,
        "domain": "graph",
        "architecture": c.architecture,
        "sets": [one.name for one in c.data],
        "densities": densities,
        "constraints": [one.constraint for one in c.data],
        "sizes": [table.size_law() for table in tables],
        "sampler": c.sampler,
        "steps": c.steps,
        "configuration": c.recorded,
        **c.card,
    }
    save_model(c.output, denoiser.network.state_dict(), card, dtype=torch.bfloat16)
