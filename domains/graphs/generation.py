"""One model of generic graphs for several sets: made of what its card says, loaded from its folder, sampled."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ornstein.core.checkpoints import load_model
from ornstein.core.discrete.denoisers import NetworkCategorical, States
from ornstein.core.discrete.draws import draw_sizes
from ornstein.core.discrete.paths import Absorbing, CategoricalPath, Marginal
from ornstein.core.discrete.samplers import Ancestral, Sampler, sample
from ornstein.core.errors import ModelError
from ornstein.core.networks.graph_states import GraphStateNetwork
from ornstein.core.pairs import node_mask, pair_mask, unpack
from ornstein.core.precision import autocast
from ornstein.domains.graphs.constraints import Constraint, projection


class GraphDenoiser(NetworkCategorical):
    """p(x0 | x_t) of edges, by one network for several sets of graphs: each has its own noise.

    It is as dense as the set's graphs, or, where these are held to a constraint, no edge at all.

    Args:
        network: a `GraphStateNetwork` whose conditions are the sets, one channel each.
        densities: the share of pairs with an edge, of each set, in (0, 1).
        constraints: what the graphs of each set are held to.
    """

    def __init__(
        self, network: GraphStateNetwork, densities: Sequence[float], constraints: Sequence[Constraint]
    ) -> None:
        self.frequencies = [(1 - density, density) for density in densities]
        self.sets: list[dict[str, CategoricalPath]] = [
            {"edges": Marginal(probabilities=law) if constraint == "none" else Absorbing(2)}
            for law, constraint in zip(self.frequencies, constraints, strict=True)
        ]
        super().__init__(network, self.sets[0])
        self.chosen = 0

    def of(self, chosen: int) -> "GraphDenoiser":
        """The denoiser of one set, with the same network."""
        other = copy.copy(self)
        other.paths, other.chosen = self.sets[chosen], chosen
        return other

    def forward(self, x: States, t: Tensor, masks: States, **conditions: Tensor) -> dict[str, Tensor]:
        """`conditions["set"]`, a number (), chooses a set in training; otherwise it is that of `of`."""
        chosen = int(conditions["set"]) if "set" in conditions else self.chosen
        which = torch.zeros(len(t), len(self.sets), device=masks["nodes"].device)
        which[:, chosen] = 1
        out = self.network(x, t, masks, which)["edges"]
        path = self.sets[chosen]["edges"]
        prior = torch.tensor(self.frequencies[chosen], device=out.device).log()
        return {"edges": out.float() + path.evidence(x["edges"], t).float() + prior}


@dataclass(frozen=True, eq=False)
class GraphModel:
    """A model of graphs, ready to be sampled.

    Args:
        denoiser: of all sets.
        names: of the sets.
        sizes: for each set the share of graphs of each number of nodes, from 0 to the largest, float64.
        constraints: of each set.
        sampler, steps: those that serve it best.
        card: what else is known of it.
    """

    denoiser: GraphDenoiser
    names: tuple[str, ...]
    sizes: tuple[Tensor, ...]
    constraints: tuple[Constraint, ...]
    sampler: Sampler
    steps: int
    card: dict[str, Any]

    def largest(self, name: str) -> int:
        """The most nodes of a graph of this set."""
        return len(self.sizes[self.names.index(name)]) - 1


def build(
    architecture: dict[str, Any], densities: Sequence[float], constraints: Sequence[Constraint] | None = None
) -> GraphDenoiser:
    """A denoiser with fresh weights, whose edges are independent."""
    network = GraphStateNetwork(0, 0, 2, 2, conditions=len(densities), **architecture)
    return GraphDenoiser(network, densities, constraints or ["none"] * len(densities))


def load_generator(folder: Path | str, device: str | torch.device = "cpu") -> GraphModel:
    """The model of a folder, ready to use.

    Raises:
        ModelError: where the folder holds no graph model, or a damaged one.
    """
    tensors, card = load_model(folder)
    try:
        constraints = tuple(card.get("constraints", ["none"] * len(card["sets"])))
        denoiser = build(card["architecture"], card["densities"], constraints)
        denoiser.network.load_state_dict(tensors)
        sizes = tuple(torch.tensor(law, dtype=torch.float64) for law in card["sizes"])
        names, sampler, steps = tuple(card["sets"]), Ancestral(**card["sampler"]), int(card["steps"])
        assert len(names) == len(sizes) == len(denoiser.sets), "sets, sizes and densities differ in number"
        assert set(constraints) <= set(get_args(Constraint)), f"unknown constraints {constraints}"
    except (LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"{folder}: not a graph model", "Name a model of `ornstein models list` whose domain is graph."
        ) from error
    return GraphModel(denoiser.to(device).eval(), names, sizes, constraints, sampler, steps, card)


@torch.no_grad()
def generate(
    model: GraphModel,
    name: str,
    items: Sequence[int],
    *,
    steps: int | None = None,
    sampler: Sampler | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
) -> tuple[Tensor, Tensor, Tensor]:
    """One graph for each item, which depends on its number and the seed alone.

    Args:
        model: see `GraphModel`.
        name: of the set.
        items: numbers of the graphs.
        steps, sampler: the model's own by default.
        device: where the model is.
        precision: of the network: `fp32`, `bf16` or `fp16`.

    Returns:
        node types int64 (items, n), all 0, edge types int64 (items, n, n), 0 or 1, mask bool (items, n), on the CPU.
    """
    chosen = model.names.index(name)
    counts = draw_sizes(model.sizes[chosen], seed, items)
    n = int(counts.max())
    mask = node_mask(counts, n).to(device)
    masks = {"edges": pair_mask(mask), "nodes": mask}
    with autocast(device, precision):
        x = sample(
            model.denoiser.of(chosen),
            masks,
            sampler or model.sampler,
            steps=steps or model.steps,
            seed=seed,
            items=[int(item) for item in items],
            project=projection(model.constraints[chosen]),
        )
    return torch.zeros(len(items), n, dtype=torch.int64), unpack(x["edges"], n).cpu(), mask.cpu()
