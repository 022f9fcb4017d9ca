"""The score-based variant: atoms as one-hot vectors, bonds as orders, denoised by GDSS's system of SDEs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ornstein.core.checkpoints import load_model
from ornstein.core.discrete.draws import draw_sizes
from ornstein.core.errors import ModelError
from ornstein.core.grids import Uniform
from ornstein.core.joint import S4, JointPredictorCorrector, JointSolver, NetworkJoint, joint_score_loss, sample_joint
from ornstein.core.networks.graph import GraphTransformer, walk_features
from ornstein.core.pairs import node_mask, pair_mask, unpack
from ornstein.core.paths import VarianceExploding
from ornstein.core.solvers import PredictorCorrector

if TYPE_CHECKING:
    from ornstein.datasets.molecules import Vocabulary

HIGHEST = 3
"""The highest bond order: bonds are orders over it, in [0, 1]."""
GRID = Uniform(end=1e-4)
PATH = VarianceExploding(0.1, 1.0)
"""Of atoms and of bonds, as GDSS has it for QM9 (its config/qm9.yaml)."""

SPREAD = {"nodes": 0.35, "edges": 0.2}
"""Standard deviations of a channel of either."""


class MoleculeScoreNetwork(nn.Module):
    """A graph transformer on noisy atoms (batch, n, types) and noisy bonds (batch, pairs, 1).

    Besides these it sees walks and cycles of the bonds above half an order, and the size.

    Args:
        types: of atoms.
        walks: steps of the random walks, at least 2.
        transformer: further settings of `GraphTransformer`.
    """

    def __init__(self, types: int, walks: int = 10, **transformer: Any) -> None:
        super().__init__()
        self.walks = walks
        self.transformer = GraphTransformer(types + walks + 3, 1 + walks, types, 1, conditions=1, **transformer)

    def forward(
        self, x: Mapping[str, Tensor], labels: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        n = masks["nodes"].shape[1]
        with torch.autocast(masks["nodes"].device.type, enabled=False):
            # The input is scaled to unit size by the noise level, which the label tells.
            sigma = torch.exp(4 * labels["edges"])[:, None]
            orders = x["edges"][..., 0] * torch.sqrt(SPREAD["edges"] ** 2 + sigma**2) * HIGHEST
            bonded = (orders > 0.5) & masks["edges"]
            nodes, pairs = walk_features(unpack(bonded.float(), n), self.walks)
            size = masks["nodes"].sum(1, keepdim=True).clamp_min(1).float().log()
        out = self.transformer(
            torch.cat([x["nodes"], nodes.to(x["nodes"])], dim=-1),
            torch.cat([x["edges"], pairs.to(x["edges"])], dim=-1),
            labels["nodes"],
            masks["nodes"],
            size,
        )
        return {"nodes": out[0], "edges": out[1]}


def build(architecture: dict[str, Any], types: int) -> NetworkJoint:
    """A denoiser with fresh weights."""
    paths = {"nodes": PATH, "edges": PATH}
    return NetworkJoint(MoleculeScoreNetwork(types, **architecture), paths, "edm", SPREAD)


def encoded(batch: Mapping[str, Tensor], types: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The joint state of a batch of a `GraphTable`, and its masks."""
    masks = {"nodes": batch["mask"], "edges": pair_mask(batch["mask"])}
    nodes = F.one_hot(batch["nodes"], types).float() * masks["nodes"][..., None]
    return {"nodes": nodes, "edges": batch["edges"].float()[..., None] / HIGHEST}, masks


def decoded(x: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Atom types, the largest, and bond types, the nearest order: int64 (batch, n) and (batch, pairs).

    Source: Jo et al. (2022), GDSS, arXiv:2202.02514, appendix C (thresholds at half orders).
    """
    orders = (x["edges"][..., 0] * HIGHEST).round().clamp(0, HIGHEST).long()
    return x["nodes"].argmax(-1) * masks["nodes"], orders * masks["edges"]


def score_loss(
    model: nn.Module, batch: Mapping[str, Tensor], t: Tensor, generator: torch.Generator, edge_weight: float
) -> Tensor:
    """GDSS's two losses, the second weighed: (batch,)."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    assert isinstance(inner, NetworkJoint)
    types = inner.network.transformer.settings["node_outputs"]  # type: ignore[union-attr, index]
    x0, masks = encoded(batch, int(types))
    return joint_score_loss(model, x0, masks, t, generator, {"edges": edge_weight})


def solver_from(settings: Mapping[str, Any]) -> JointSolver:
    """The solver that a card names: {"name": "s4" or "pc", "snr", "noise_scale"}; by default GDSS's for QM9."""
    name, snr, scale = (settings.get(k, v) for k, v in (("name", "pc"), ("snr", 0.2), ("noise_scale", 0.7)))
    if set(settings) - {"name", "snr", "noise_scale"} or name not in ("s4", "pc"):
        raise ValueError(f"sampler {dict(settings)}: name (s4 or pc), snr and noise_scale are known")
    if name == "s4":
        return S4(dict.fromkeys(("nodes", "edges"), snr), dict.fromkeys(("nodes", "edges"), scale))
    one = PredictorCorrector(snr, predictor="reverse-diffusion", step_size="norm", noise_scale=scale)
    return JointPredictorCorrector({"nodes": one, "edges": one})


@dataclass(frozen=True, eq=False)
class ScoreModel:
    """A score-based model of molecular graphs; fields as those of `generation.Generator`."""

    denoiser: NetworkJoint
    vocabulary: "Vocabulary"
    sizes: Tensor
    solver: JointSolver
    steps: int
    card: dict[str, Any]


def load_score_model(folder: Path | str, device: str | torch.device = "cpu") -> ScoreModel:
    """The model of a folder, ready to use.

    Raises:
        ModelError: where the folder holds no score-based molecule model, or a damaged one.
    """
    from ornstein.datasets.molecules import Vocabulary

    tensors, card = load_model(folder)
    try:
        if card["path"] != "gaussian":
            raise ValueError(card["path"])
        vocabulary = Vocabulary.from_json(card["vocabulary"])
        denoiser = build(card["architecture"], len(vocabulary.atoms))
        denoiser.network.load_state_dict(tensors)
        sizes = torch.tensor(card["sizes"], dtype=torch.float64)
        solver, steps = solver_from(card["sampler"]), int(card["steps"])
    except (LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{folder}: not a score-based molecule model", "Its card's path is gaussian.") from error
    return ScoreModel(denoiser.to(device).eval(), vocabulary, sizes, solver, steps, card)


@torch.no_grad()
def generate(
    model: ScoreModel,
    items: Sequence[int],
    *,
    steps: int | None = None,
    solver: JointSolver | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """One graph for each item: node types int64 (items, n), edge types int64 (items, n, n), mask bool (items, n)."""
    counts = draw_sizes(model.sizes, seed, items)
    n = int(counts.max())
    mask = node_mask(counts, n).to(device)
    masks = {"nodes": mask, "edges": pair_mask(mask)}
    x = sample_joint(
        model.denoiser,
        masks,
        {"nodes": len(model.vocabulary.atoms), "edges": 1},
        solver or model.solver,
        steps=steps or model.steps,
        grid=GRID,
        seed=seed,
        items=items,
    )
    nodes, edges = decoded(x, masks)
    return nodes.cpu(), unpack(edges, n).cpu(), mask.cpu()
