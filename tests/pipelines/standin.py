"""Stand-ins for trained models of molecules and graphs: independent positions of a known law, with the exact denoiser."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ornstein.core.checkpoints import save_model
from ornstein.core.discrete.denoisers import CategoricalDenoiser
from ornstein.core.discrete.paths import Uniform
from ornstein.core.discrete.samplers import Ancestral, Sampler
from ornstein.core.pairs import pair_nodes
from ornstein.datasets.molecules import Vocabulary

SAMPLER = Ancestral()
ATOMS = Vocabulary((("C", 0), ("N", 0), ("O", 0), ("F", 0)))


class Chains(CategoricalDenoiser):
    """Chains of C, N and O, seldom F, by single bonds, of which some are missing and some double."""

    def __init__(self, missing: float = 0.02) -> None:
        super().__init__({"nodes": Uniform(4), "edges": Uniform(4)})
        self.missing = missing

    def forward(self, x, t, masks, **conditions):
        n = x["nodes"].shape[1]
        nodes = torch.tensor([0.6, 0.25, 0.14, 0.01], dtype=torch.float64).expand(len(t), n, 4)
        first, second = pair_nodes(n)
        near = torch.tensor([self.missing, 0.9 - self.missing, 0.1, 0.0], dtype=torch.float64)
        far = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
        edges = torch.where((second - first == 1)[:, None], near, far).expand(len(t), -1, 4)
        laws = {"nodes": nodes, "edges": edges}
        return {
            name: laws[name].clamp_min(1e-12).log() + path.evidence(x[name], t) for name, path in self.paths.items()
        }


@dataclass(eq=False)
class Molecules:
    """A model of chains of 2 to 8 atoms."""

    denoiser: CategoricalDenoiser
    vocabulary: Vocabulary = ATOMS
    sampler: Sampler = SAMPLER
    steps: int = 4

    @property
    def sizes(self) -> Tensor:
        return torch.tensor([0, 0, 1, 1, 2, 3, 4, 5, 6], dtype=torch.float64) / 22


def folder(path: Any, **card: Any) -> str:
    """A checkpoint folder that is found and verified; what is in it is not read."""
    save_model(path, {"nothing": torch.zeros(1)}, card)
    return str(path)
