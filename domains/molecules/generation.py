"""A model of molecular graphs: made of what its card says, loaded from its folder, sampled."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ornstein.core.checkpoints import load_model
from ornstein.core.discrete.denoisers import CategoricalDenoiser, NetworkCategorical
from ornstein.core.discrete.draws import draw_sizes
from ornstein.core.discrete.paths import CategoricalPath, CosineSquared, Linear, Marginal, Masked, Uniform
from ornstein.core.discrete.samplers import Ancestral, FirstHitting, Sampler, sample
from ornstein.core.errors import ModelError
from ornstein.core.networks.graph_states import GraphStateNetwork
from ornstein.core.pairs import node_mask, pair_mask, unpack

if TYPE_CHECKING:
    from ornstein.datasets.molecules import Vocabulary

SCHEDULES = {"linear": Linear, "cosine": CosineSquared}


@dataclass(frozen=True, eq=False)
class Generator:
    """A model of molecular graphs, ready to be sampled.

    Args:
        denoiser: of the tensors `nodes` (batch, n) and `edges` (batch, pairs).
        vocabulary: of the node and edge types.
        sizes: the share of molecules of each number of heavy atoms, from 0 to the largest, float64.
        sampler, steps: those that serve it best.
        card: what else is known of it.
    """

    denoiser: CategoricalDenoiser
    vocabulary: "Vocabulary"
    sizes: Tensor
    sampler: Sampler
    steps: int
    card: dict[str, Any]


def paths_from(kind: str, schedule: str, frequencies: dict[str, list[float]]) -> dict[str, CategoricalPath]:
    """The paths of nodes and edges.

    Args:
        kind: "marginal", "masked" or "uniform".
        schedule: "linear" or "cosine".
        frequencies: of the classes of `nodes` and `edges`.
    """
    when = SCHEDULES[schedule]()
    if kind == "marginal":
        total = {name: sum(values) for name, values in frequencies.items()}
        return {
            name: Marginal(probabilities=tuple(v / total[name] for v in values), schedule=when)
            for name, values in frequencies.items()
        }
    made = {"masked": Masked, "uniform": Uniform}[kind]
    return {name: made(len(values), when) for name, values in frequencies.items()}


def build(
    architecture: dict[str, Any],
    paths: dict[str, CategoricalPath],
    frequencies: dict[str, list[float]] | None = None,
) -> NetworkCategorical:
    """A denoiser with fresh weights, which knows each position alone, and the frequencies of the classes."""
    nodes, edges = paths["nodes"], paths["edges"]
    network = GraphStateNetwork(nodes.states, nodes.classes, edges.states, edges.classes, **architecture)
    return NetworkCategorical(network, paths, frequencies)


def sampler_from(settings: dict[str, Any]) -> Sampler:
    """The sampler that a card names: {"name": "first-hitting"} or the fields of `Ancestral`."""
    settings = dict(settings)
    name = settings.pop("name", "ancestral")
    if settings.get("renewal") == "infinity":  # JSON has no number for it
        settings["renewal"] = math.inf
    return FirstHitting() if name == "first-hitting" else Ancestral(**settings)


def load_generator(folder: Path | str, device: str | torch.device = "cpu") -> Generator:
    """The model of a folder, ready to use.

    Raises:
        ModelError: where the folder holds no molecule model, or a damaged one.
    """
    from ornstein.datasets.molecules import Vocabulary

    tensors, card = load_model(folder)
    try:
        paths = paths_from(card["path"], card["schedule"], card["frequencies"])
        denoiser = build(card["architecture"], paths, card["frequencies"])
        denoiser.network.load_state_dict(tensors)
        vocabulary = Vocabulary.from_json(card["vocabulary"])
        sizes = torch.tensor(card["sizes"], dtype=torch.float64)
        sampler, steps = sampler_from(card["sampler"]), int(card["steps"])
    except (LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{folder}: not a molecule model", "Name a model of `ornstein models list` whose domain is molecule."
        ) from error
    return Generator(denoiser.to(device).eval(), vocabulary, sizes, sampler, steps, card)


@torch.no_grad()
def generate(
    model: Generator,
    items: Sequence[int],
    *,
    steps: int | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    batch: int = 250,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """One graph for each item, as it comes out of the model; `design.draw` makes molecules of it, with what is asked of them.

    Args:
        model: see `Generator`.
        items: numbers of the graphs; a graph depends on its number and the seed alone.
        steps, sampler: the model's own by default.
        device: where the model is.
        batch: graphs at a time; those of equal size go together.
        temperature: of the denoiser's law.

    Returns:
        node types int64 (items, n), edge types int64 (items, n, n), mask bool (items, n), on the CPU.
    """
    counts = draw_sizes(model.sizes, seed, items)
    largest = int(counts.max())
    nodes = torch.zeros(len(items), largest, dtype=torch.int64)
    edges = torch.zeros(len(items), largest, largest, dtype=torch.int64)
    for part in counts.argsort(descending=True, stable=True).split(batch):
        n = int(counts[part].max())
        mask = node_mask(counts[part], n).to(device)
        masks = {"nodes": mask, "edges": pair_mask(mask)}
        x = sample(
            model.denoiser,
            masks,
            sampler or model.sampler,
            steps=steps or model.steps,
            seed=seed,
            items=[items[i] for i in part.tolist()],
            temperature=temperature,
        )
        nodes[part, :n] = x["nodes"].cpu()
        edges[part, :n, :n] = unpack(x["edges"], n).cpu()
    return nodes, edges, node_mask(counts, largest)
