"""Training a model of molecular graphs from a configuration."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ornstein.core.checkpoints import save_model, write_json
from ornstein.core.configuration import Configuration
from ornstein.core.discrete.denoisers import NetworkCategorical
from ornstein.core.discrete.objectives import cross_entropy_loss
from ornstein.core.errors import InputError, UsageError
from ornstein.core.joint import NetworkJoint
from ornstein.core.noise import key
from ornstein.core.training.loop import TrainingSettings, explained, load_average, train, world
from ornstein.core.training.objectives import stratified
from ornstein.datasets.graph_table import GraphTable, state
from ornstein.domains.molecules.generation import SCHEDULES, build, paths_from, sampler_from
from ornstein.domains.molecules.score import build as build_score
from ornstein.domains.molecules.score import score_loss, solver_from
from ornstein.domains.molecules.strings import train_strings

BONDS = 4
"""Edge types: none, single, double, triple."""
KINDS = ("marginal", "masked", "uniform", "gaussian")


@dataclass(frozen=True)
class Source:
    """Where molecules come from.

    Args:
        path: a file of SMILES: .smi, .csv, .tsv or .parquet, also .gz; or a folder that `prepare` wrote.
        column: of a table.
        limit: at most so many molecules, drawn at random; 0 for all.
        atoms: the most heavy atoms; larger ones are left out; 0 for any.
    """

    path: str
    column: str = ""
    limit: int = 0
    atoms: int = 0

    def __post_init__(self) -> None:
        if min(self.limit, self.atoms) < 0:
            raise ValueError("limit and atoms must be at least 0")


@dataclass(frozen=True)
class MoleculeConfiguration(Configuration):
    """Everything that makes a molecule model; `ornstein train` reads it from YAML.

    Args:
        output: folder of the model; the prepared data and the training state go to its sub-folder `training`.
        name: of the model.
        data: the molecules to learn from.
        path: what noise is: "marginal", "masked" or "uniform"; or "gaussian", the score-based variant (`score.py`).
        schedule: "linear" or "cosine"; the score-based variant has its own.
        width, edge_width, depth, heads, product, expansion: of the graph transformer.
        walks: steps of the random walks that it sees.
        edge_weight: weight of the edges' cross-entropy, above 0; that of the nodes is 1.
        late: times are drawn as u^late, u uniform, above 0; above 1 there are more of them near the data.
        batch: molecules a step, at least 1.
        sampler: fields of `Ancestral`, or {name: first-hitting}, or those of `score.solver_from`; what serves the model best.
        steps: sampling steps, at least 1.
        training: see `TrainingSettings`.
        card: free text for the model card: data, licence, limits.

    Raises:
        ValueError: for a value outside its range, by its name.
    """

    hint: ClassVar[str] = "See docs/discrete.md for the fields of a molecule model."

    output: str
    name: str
    data: Source
    path: str = "marginal"
    schedule: str = "cosine"
    width: int = 128
    edge_width: int = 32
    depth: int = 6
    heads: int = 8
    product: int = 8
    expansion: float = 2.0
    walks: int = 10
    edge_weight: float = 5.0
    late: float = 1.0
    batch: int = 512
    sampler: dict[str, str] = field(default_factory=dict)
    steps: int = 50
    training: TrainingSettings = field(default_factory=TrainingSettings)
    card: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path not in KINDS or self.schedule not in SCHEDULES:
            raise ValueError(f"path is one of {', '.join(KINDS)}; schedule one of {', '.join(SCHEDULES)}")
        if min(self.width, self.edge_width, self.depth, self.heads, self.product, self.batch, self.steps) < 1:
            raise ValueError("width, edge_width, depth, heads, product, batch and steps must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads}: do not divide width {self.width}")
        if self.walks < 2 or min(self.expansion, self.edge_weight, self.late) <= 0:
            raise ValueError("walks must be at least 2; expansion, edge_weight and late above 0")
        try:
            (solver_from if self.path == "gaussian" else sampler_from)(self.sampling)
        except (TypeError, ValueError) as error:
            raise ValueError(f"sampler {self.sampler}: {error}") from None

    @property
    def architecture(self) -> dict[str, Any]:
        """What `build` makes the network of."""
        names = ("width", "edge_width", "depth", "heads", "product", "expansion", "walks")
        return {name: getattr(self, name) for name in names}

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampler for the card."""
        words = ("name", "kernel")  # all else is a number
        return {n: v if n in words or v == "infinity" else float(v) for n, v in self.sampler.items()}


def train_from_settings(
    settings: dict[str, Any], *, device: str | torch.device = "cpu", log: Callable[[str], None] = print
) -> Path:
    """Trains a molecule model from the mapping of a configuration file; the folder of the model.

    `representation: strings` makes a model of SMILES (`strings.py`), otherwise it is one of graphs.
    """
    settings = dict(settings)
    representation = settings.pop("representation", "graph")
    if representation == "strings":
        return train_strings(settings, device=device, log=log)
    if representation != "graph":
        raise UsageError(f"representation {representation!r}: graph and strings are known")
    return train_generator(MoleculeConfiguration.parse(settings), device=device, log=log)


def prepare(source: Source, folder: Path, log: Callable[[str], None] = print) -> tuple[GraphTable, dict[str, Any]]:
    """The graphs of a source and the vocabulary, as a card holds it; read from `folder` where they were prepared before.

    Raises:
        InputError: where no molecule can be read.
    """
    import json

    for place in (Path(source.path), folder):
        if (place / "graphs.safetensors").is_file():
            return (
                GraphTable.load(place / "graphs.safetensors"),
                json.loads((place / "vocabulary.json").read_text(encoding="utf-8")),
            )
    if Path(source.path).is_dir():
        raise InputError(f"data.path {source.path}: holds no graphs.safetensors", "Give a file of SMILES.")
    # RDKit is asked only here: a machine that trains on prepared data needs none.
    from ornstein.datasets.molecule_files import read_smiles
    from ornstein.datasets.molecules import Vocabulary, parse, to_graph

    rows = read_smiles(source.path, source.column or None)
    if source.limit and len(rows) > source.limit:
        chosen = np.random.default_rng(0).permutation(len(rows))[: source.limit]
        rows = [rows[i] for i in np.sort(chosen)]
    # One at a time, and the vocabulary as it grows: a million molecules of RDKit's would not fit in memory.
    seen: Counter[tuple[str, int]] = Counter()
    vocabulary: Vocabulary | None = None
    graphs, wrong = [], []
    for row, smiles in rows:
        try:
            molecule = parse(smiles)
            if source.atoms and molecule.GetNumAtoms() > source.atoms:
                continue
            atoms = [(atom.GetSymbol(), atom.GetFormalCharge()) for atom in molecule.GetAtoms()]
            if vocabulary is None or not seen.keys() >= set(atoms):
                vocabulary = Vocabulary(tuple(dict.fromkeys([*seen, *atoms])))
            seen.update(atoms)
            graph = to_graph(molecule, vocabulary, check=False)
        except (ValueError, AssertionError) as error:  # `NotAGraph` is a ValueError
            wrong.append(f"row {row}: {error}")
            continue
        ends = np.argwhere(np.triu(graph.edges, 1)).astype(np.int16)
        graphs.append((graph.nodes.astype(np.uint8), ends, graph.edges[ends[:, 0], ends[:, 1]].astype(np.uint8)))
    if not graphs or vocabulary is None:
        raise InputError(f"data.path {source.path}: no molecule can be read", wrong[0] if wrong else "It is empty.")
    for line in wrong[:20]:
        log(f"{source.path}: {line}; left out")
    # The most frequent atom first.
    words = Vocabulary(tuple(sorted(vocabulary.atoms, key=lambda atom: (-seen[atom], atom))))
    turned = np.array([words.atoms.index(atom) for atom in vocabulary.atoms], np.uint8)
    table = GraphTable.of((turned[nodes], ends, edges) for nodes, ends, edges in graphs)
    log(f"{len(table)} molecules, {len(wrong)} left out; atoms {words.describe()}")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocabulary.json", words.to_json())
    table.save(folder / "graphs.safetensors")
    return table, words.to_json()


def train_generator(
    configuration: MoleculeConfiguration,
    *,
    device: str | torch.device = "cpu",
    log: Callable[[str], None] = print,
    stop_after: int | None = None,
) -> Path:
    """Trains a molecule model and writes its folder; resumes where it stopped."""
    c = configuration
    state_folder = Path(c.output) / "training"
    table, vocabulary = prepare(c.data, state_folder, log)
    frequencies = _frequencies(table, vocabulary)
    torch.manual_seed(key(c.training.seed))
    denoiser = _fresh(c, frequencies)
    log(f"{len(table)} graphs, {sum(p.numel() for p in denoiser.parameters()):,} weights")

    def batch(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return table.batch(torch.randint(len(table), (c.batch,), generator=generator).numpy())

    def loss(model: nn.Module, tensors: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        t = (stratified(len(tensors["mask"]), generator) ** c.late).clamp_min(1e-4).to(tensors["mask"].device)
        if c.path == "gaussian":
            return score_loss(model, tensors, t, generator, c.edge_weight)
        x0, masks = state(tensors)
        return cross_entropy_loss(model, x0, masks, t, generator, {"edges": c.edge_weight})

    with explained():
        average = train(denoiser, batch, loss, c.training, state_folder, device=device, log=log, stop_after=stop_after)
    assert isinstance(average, NetworkCategorical | NetworkJoint)
    if world()[0] == 0:  # one process of several writes the model
        _save(c, average, vocabulary, frequencies, table.size_law())
    return Path(c.output)


def save_unfinished(configuration: MoleculeConfiguration) -> Path:
    """Writes the model folder of a training that still goes on, from the moving average at its last checkpoint.

    Raises:
        ModelError: where there is none yet, or it is of another architecture.
    """
    c = configuration
    folder = Path(c.output) / "training"
    table, vocabulary = prepare(c.data, folder)
    frequencies = _frequencies(table, vocabulary)
    denoiser = _fresh(c, frequencies)
    load_average(denoiser, folder)
    _save(c, denoiser, vocabulary, frequencies, table.size_law())
    return Path(c.output)


def _frequencies(table: GraphTable, vocabulary: dict[str, Any]) -> dict[str, list[float]]:
    return {"nodes": table.node_frequencies(len(vocabulary["atoms"])), "edges": table.edge_frequencies(BONDS)}


def _fresh(c: MoleculeConfiguration, frequencies: dict[str, list[float]]) -> NetworkCategorical | NetworkJoint:
    if c.path == "gaussian":
        return build_score(c.architecture, len(frequencies["nodes"]))
    return build(c.architecture, paths_from(c.path, c.schedule, frequencies), frequencies)


def _save(
    c: MoleculeConfiguration,
    denoiser: NetworkCategorical | NetworkJoint,
    vocabulary: dict[str, Any],
    frequencies: dict[str, list[float]],
    sizes: list[float],
) -> None:
    card = {
        "name": c.name,
        "domain": "molecule",
        "architecture": c.architecture,
        "path": c.path,
        "schedule": c.schedule,
        "vocabulary": vocabulary,
        "frequencies": frequencies,
        "sizes": sizes,
        "sampler": c.sampling,
        "steps": c.steps,
        "configuration": c.recorded,
        **c.card,
    }
    save_model(c.output, denoiser.network.state_dict(), card, dtype=torch.bfloat16)
