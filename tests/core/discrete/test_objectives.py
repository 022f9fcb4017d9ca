"""The bounds of the likelihood are exact on an enumerable toy, and the training loss is what it says."""

import math

import discrete_toy as toy
import numpy as np
import pytest
import torch
from discrete_toy import Exact
from torch import Tensor, nn

from ornstein.core.discrete.denoisers import NetworkCategorical
from ornstein.core.discrete.objectives import bound_rate, cross_entropy_loss, likelihood_bound, noised
from ornstein.core.discrete.paths import Absorbing, CosineSquared, Linear, Marginal, Masked, Uniform

P = toy.table()
KINDS = [Masked, Absorbing, Uniform, Marginal]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
schedules = pytest.mark.parametrize("schedule", [Linear(), CosineSquared()], ids=lambda s: type(s).__name__)


def exact_bound(denoiser: Exact, nodes: int = 24) -> Tensor:
    """The bound of each of the 18 data, (18,): the sum over all x_t, by Gauss-Legendre quadrature in t = v^4.

    The fourth power resolves the logarithm of the integrand at t = 0.
    """
    data, all_states = toy.states(denoiser.paths, data=True), toy.states(denoiser.paths)
    x0 = toy.joint(data.repeat_interleave(len(all_states), 0))
    x_t = toy.joint(all_states.repeat(len(data), 1))
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros(len(data), dtype=torch.float64)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        t, size = point**4, weight * 4 * point**3
        logits = denoiser(toy.joint(all_states), torch.full((len(all_states),), t, dtype=torch.float64), toy.MASKS)
        chance = torch.ones(len(x_t["a"]), dtype=torch.float64)
        rate = torch.zeros(len(x_t["a"]), dtype=torch.float64)
        for name, path in denoiser.paths.items():
            chance = chance * path.likelihood(x_t[name], t).gather(-1, x0[name][..., None])[..., 0].prod(1)
            law = logits[name].log_softmax(-1).repeat(len(data), 1, 1)
            rate += bound_rate(path, x0[name], x_t[name], t, law).sum(1)
        # What x0 cannot become has no rate.
        total += size * torch.where(chance > 0, chance * rate.nan_to_num(), 0.0).reshape(len(data), -1).sum(1)
    return total


@kinds
@schedules
def test_bound_of_the_exact_denoiser_is_the_likelihood_of_every_datum(kind, schedule):
    found = exact_bound(Exact(toy.paths(kind, schedule), P))
    # Quadrature: halving the nodes changes the masked bound by 1e-9, the others, whose integrand has t log t, by 1e-5.
    torch.testing.assert_close(found, -P.log(), atol=1e-4, rtol=0)


@kinds
def test_bound_of_a_denoiser_that_errs_lies_above_the_entropy(kind):
    exact, blurred = (exact_bound(Exact(toy.paths(kind, Linear()), P, blur)) for blur in (0.0, 0.2))
    assert float(P @ blurred) > float(P @ exact) + 0.01


def test_masked_bound_is_the_mean_over_all_orders_of_unmasking():
    from itertools import permutations

    denoiser = Exact(toy.paths(Masked, Linear()), P, blur=0.2)
    data = toy.states(denoiser.paths, data=True)
    mean = torch.zeros(18, dtype=torch.float64)
    for order in permutations(range(3)):
        x = torch.tensor([[3, 3, 2]]).expand(18, -1).clone()
        for position in order:
            logits = denoiser(toy.joint(x), torch.full((18,), 0.5, dtype=torch.float64), toy.MASKS)
            name, place = ("a", position) if position < 2 else ("b", 0)
            log = logits[name][:, place].log_softmax(-1)
            mean -= log.gather(1, data[:, position : position + 1])[:, 0] / 6
            x[:, position] = data[:, position]
    torch.testing.assert_close(exact_bound(denoiser), mean, atol=1e-6, rtol=0)


@kinds
def test_estimated_bound_agrees_with_the_exact_one(kind):
    denoiser = Exact(toy.paths(kind, Linear()), P)
    row = toy.joint(toy.states(denoiser.paths, data=True)[:1].expand(400, -1))
    masks = {name: mask.expand(400, -1) for name, mask in toy.MASKS.items()}
    found = likelihood_bound(denoiser, row, masks, torch.Generator().manual_seed(0), draws=40)
    error = float(found.std() / math.sqrt(400))
    assert float(found.mean()) == pytest.approx(-math.log(float(P[0])), abs=4 * error)


class Table(nn.Module):
    """Logits that are parameters: what the best network without a view of other positions would say."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.ParameterDict({name: nn.Parameter(torch.zeros(k)) for name, (_, k) in toy.SHAPE.items()})

    def forward(self, x, t, masks, **conditions):
        return {name: self.logits[name].expand(*x[name].shape, -1) for name in x}


@kinds
def test_an_untrained_network_already_knows_what_a_position_says_of_itself(kind):
    paths = toy.paths(kind, Linear())
    shares = {"a": [0.5, 0.3, 0.2], "b": [0.9, 0.1]}
    denoiser = NetworkCategorical(Table(), paths, shares)
    x = toy.joint(toy.states(paths))
    t = torch.full((len(x["a"]),), 0.3, dtype=torch.float64)
    a, b = (torch.tensor(shares[name], dtype=torch.float64) for name in "ab")
    wanted = Exact(paths, torch.einsum("i,j,k->ijk", a, a, b).flatten())(x, t, toy.MASKS)
    for name, logits in denoiser(x, t, toy.MASKS).items():
        torch.testing.assert_close(logits.double().softmax(-1), wanted[name].softmax(-1), atol=1e-6, rtol=0)


@kinds
def test_loss_counts_what_the_path_leaves_open_and_no_padding(kind):
    paths = toy.paths(kind, Linear())
    denoiser = NetworkCategorical(Table(), paths)
    x0 = {"a": torch.tensor([[0, 1, 0, 0]]).expand(64, -1), "b": torch.tensor([[1, 0]]).expand(64, -1)}
    masks = {
        "a": torch.tensor([[True, True, False, False]]).expand(64, -1),
        "b": torch.tensor([[True, False]]).expand(64, -1),
    }
    t = torch.linspace(0.05, 1, 64, dtype=torch.float64)
    loss = cross_entropy_loss(denoiser, x0, masks, t, torch.Generator().manual_seed(0), {"a": 0.0})
    x_t = noised(paths, x0, masks, t, torch.Generator().manual_seed(0))
    log = denoiser(x_t, t, masks)["b"].log_softmax(-1)[:, 0, 1]
    weight = (x_t["b"][:, 0] == 2) / t if kind is Masked else torch.ones(64)
    torch.testing.assert_close(loss, -log * weight.float())
    assert loss.shape == (64,) and not bool(x_t["a"][:, 2:].any())
