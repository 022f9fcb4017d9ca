"""Joint continuous states: coupled Gaussians whose posterior has a closed form, and GDSS's system as a configuration."""

import pytest
import torch
from torch import Tensor, nn

from ornstein.core import grids
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.joint import (
    S4,
    JointDenoiser,
    JointPredictorCorrector,
    NetworkJoint,
    joint_score_loss,
    sample_joint,
)
from ornstein.core.networks.graph import GraphTransformer
from ornstein.core.noise import KeyedUniform
from ornstein.core.pairs import node_mask, pack, pair_mask, unpack
from ornstein.core.paths import VarianceExploding, VariancePreserving
from ornstein.core.solvers import PredictorCorrector, sample

WIDE = torch.float64
PATHS = {"x": VariancePreserving(), "a": VarianceExploding(0.05, 5.0)}
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=WIDE)
"""Of the two tensors at each position: they are far from independent."""


class Coupled(JointDenoiser):
    """The exact denoiser of a Gaussian of mean 0, whose two tensors are observed through their own paths."""

    def forward(self, x, t, masks, **conditions):
        c = [self.paths[name].coefficients(t) for name in ("x", "a")]
        gain = torch.stack([v.a for v in c], dim=-1).diag_embed()
        noise = torch.stack([v.s**2 for v in c], dim=-1).diag_embed()
        weight = COVARIANCE @ gain @ torch.linalg.inv(gain @ COVARIANCE @ gain + noise)
        seen = torch.cat([x["x"], x["a"]], dim=-1).double()
        x0 = (weight @ seen[..., None])[..., 0]
        return {"x": x0[..., :1].to(x["x"]), "a": x0[..., 1:].to(x["a"])}


def positions(batch: int, count: int = 1) -> dict[str, Tensor]:
    return {name: torch.ones(batch, count, dtype=torch.bool) for name in PATHS}


@pytest.mark.parametrize(
    "solver",
    [
        JointPredictorCorrector({name: PredictorCorrector(0.1, predictor="reverse-diffusion") for name in PATHS}),
        JointPredictorCorrector({name: PredictorCorrector(corrections=0) for name in PATHS}),
        S4(snr={"x": 0.05, "a": 0.05}),
    ],
    ids=["predictor-corrector", "euler-maruyama", "s4"],
)
def test_systems_of_sdes_reach_the_joint_law_with_its_covariance(solver):
    # 3,200 positions: a variance of 1 is known to 0.025; 150 Euler steps err by about 3 %, the corrector's eps by as much.
    found = sample_joint(
        Coupled(PATHS),
        positions(100, 32),
        {"x": 1, "a": 1},
        solver,
        steps=150,
        grid=grids.Uniform(end=1e-3),
        dtype=WIDE,
    )
    both = torch.cat([found["x"], found["a"]], dim=-1).flatten(0, 1)
    torch.testing.assert_close(both.T.cov(), COVARIANCE, rtol=0.15, atol=0.05)


def test_a_system_of_one_tensor_is_the_predictor_corrector_of_the_core():
    path, solver = VariancePreserving(), PredictorCorrector(0.2, predictor="reverse-diffusion", step_size="norm")
    network = nn.Linear(2, 2).double()
    call = lambda x, label: network(x) * label[:, None, None].double()  # noqa: E731

    class Alone(nn.Module):
        def forward(self, x, label):
            return call(x, label)

    class Joint(nn.Module):
        def forward(self, x, labels, masks):
            return {"x": call(x["x"], labels["x"])}

    one = NetworkDenoiser(Alone(), path, "noise")
    joint = NetworkJoint(Joint(), {"x": path}, "noise")
    uniform = KeyedUniform(3, range(4))
    draw = lambda step: uniform.normal(step, (4, 3, 2))  # noqa: E731

    def noise(step, shape, dtype, device):  # draw k of step i has the number 2 i + k + 1 there, (i + 1, k) here
        if step == 0:
            return draw(0)
        return uniform.normal((step - 1) // 2 + 1, shape, (step - 1) % 2)

    grid = grids.Uniform(end=0.05)
    wanted = sample(one, solver=solver, grid=grid, steps=4, shape=(4, 3, 2), noise=noise, dtype=WIDE)
    masks = {"x": torch.ones(4, 3, dtype=torch.bool)}
    system = JointPredictorCorrector({"x": solver})
    found = sample_joint(joint, masks, {"x": 2}, system, steps=4, grid=grid, seed=3, dtype=WIDE)["x"]
    torch.testing.assert_close(found, wanted)


class GraphScore(nn.Module):
    """Noise of node features (batch, n, 3) and of adjacency (batch, pairs, 1) by a graph transformer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = GraphTransformer(3, 1, 3, 1, width=16, edge_width=8, depth=2, heads=2, product=2, embedding=8)
        for p in self.inner.parameters():
            nn.init.normal_(p, std=0.3)

    def forward(self, x, labels, masks):
        nodes, edges = self.inner(x["x"], x["a"], labels["x"], masks["x"])
        return {"x": nodes, "a": edges}


def graph_masks(sizes: list[int], n: int) -> dict[str, Tensor]:
    mask = node_mask(torch.tensor(sizes), n)
    return {"x": mask, "a": pair_mask(mask)}


def test_loss_is_that_of_gdss():
    """|s_theta(x_t, t) - grad log p(x_t | x0)|^2 weighed by s^2, the score being -noise / s, mean over what exists."""
    model, masks = NetworkJoint(GraphScore(), PATHS, "noise"), graph_masks([5, 3], 5)
    g = torch.Generator().manual_seed(1)
    x0 = {
        name: torch.randn(*mask.shape, k, generator=g) * mask[..., None]
        for (name, mask), k in zip(masks.items(), (3, 1))
    }
    t = torch.tensor([0.3, 0.8], dtype=WIDE)
    with torch.no_grad():
        found = joint_score_loss(model, x0, masks, t, torch.Generator().manual_seed(2), {"a": 0.5})
    g, wanted, x_t, z = torch.Generator().manual_seed(2), torch.zeros(2), {}, {}
    for name, path in PATHS.items():
        z[name] = torch.randn(x0[name].shape, generator=g) * masks[name][..., None]
        x_t[name] = path.mix(x0[name], z[name], t) * masks[name][..., None]
    with torch.no_grad():
        guess = model(x_t, t, masks)
    for name, path in PATHS.items():
        c = path.coefficients(t)
        a, s = (v.float()[:, None, None] for v in (c.a, c.s))
        score = (a * guess[name] - x_t[name]) / s**2 * masks[name][..., None]
        kernel = -(x_t[name] - a * x0[name]) / s**2
        error = ((score - kernel) * s).square().flatten(1).sum(1) / masks[name].sum(1) / x0[name].shape[-1]
        wanted += error * (0.5 if name == "a" else 1.0)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "solver",
    [S4(), JointPredictorCorrector({name: PredictorCorrector(0.2, step_size="norm") for name in PATHS})],
    ids=["s4", "predictor-corrector"],
)
def test_samples_of_graphs_are_symmetric_keyed_and_empty_where_nothing_is(solver):
    model = NetworkJoint(GraphScore(), PATHS, "noise")
    whole = sample_joint(model, graph_masks([5, 3, 4], 5), {"x": 3, "a": 1}, solver, steps=3, seed=7)
    alone = sample_joint(model, graph_masks([3], 3), {"x": 3, "a": 1}, solver, steps=3, seed=7, items=[1])
    assert not bool(whole["x"][1, 3:].any()) and not bool(whole["a"][1, 3:].any())
    # float32 sums in another order; the noise itself is equal.
    torch.testing.assert_close(whole["x"][1:2, :3], alone["x"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole["a"][1:2, :3], alone["a"], rtol=1e-4, atol=1e-4)
    dense = unpack(whole["a"], 5)
    assert torch.equal(dense, dense.transpose(1, 2)) and bool(whole["a"][0].all())


def test_a_joint_denoiser_of_graphs_commutes_with_permutations():
    model, masks = NetworkJoint(GraphScore(), PATHS, "noise"), graph_masks([5], 5)
    g, order = torch.Generator().manual_seed(1), torch.tensor([3, 0, 4, 2, 1])
    x = {"x": torch.randn(1, 5, 3, generator=g), "a": torch.randn(1, 10, 1, generator=g)}
    turned = {"x": x["x"][:, order], "a": pack(unpack(x["a"], 5)[:, order][:, :, order])}
    with torch.no_grad():
        plain, after = (model(value, torch.tensor(0.4), masks) for value in (x, turned))
    torch.testing.assert_close(after["x"], plain["x"][:, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        unpack(after["a"], 5), unpack(plain["a"], 5)[:, order][:, :, order], rtol=1e-4, atol=1e-5
    )


def test_calls_are_counted():
    calls = []
    denoiser = Coupled(PATHS)
    denoiser.register_forward_hook(lambda *_: calls.append(1))
    twice = JointPredictorCorrector({name: PredictorCorrector(0.1, corrections=2) for name in PATHS})
    for solver, each in ((S4(), 1), (twice, 3)):
        calls.clear()
        sample_joint(denoiser, positions(2), {"x": 1, "a": 1}, solver, steps=5)
        assert len(calls) == solver.evaluations(5) == 5 * each
    with pytest.raises(ValueError, match="equally often"):
        JointPredictorCorrector({"x": PredictorCorrector(corrections=1), "a": PredictorCorrector(corrections=2)})
