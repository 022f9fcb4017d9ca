"""Categorical paths: their kernels are those of Bayes' rule over the transition matrices, and keep the marginals."""

import pytest
import torch
from torch import Tensor

from ornstein.core.discrete.draws import one_hot, race
from ornstein.core.discrete.paths import (
    Absorbing,
    CategoricalPath,
    CosineSquared,
    Linear,
    Marginal,
    Masked,
    Schedule,
    Uniform,
)

SCHEDULES = [Linear(), CosineSquared()]
PATHS: list[CategoricalPath] = [
    kind
    for s in SCHEDULES
    for kind in (Masked(3, s), Absorbing(3, s), Uniform(3, s), Marginal(probabilities=(0.6, 0.3, 0.1), schedule=s))
]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{type(p).__name__}-{type(p.schedule).__name__}")
schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
T, R = 0.7, 0.4


def matrix(path: CategoricalPath, t: float, r: float = 0.0) -> Tensor:
    """q(x_t | x_r), (states, states)."""
    a = path.alpha(t) / path.alpha(r)
    pi = torch.tensor(path.stationary, dtype=torch.float64)
    return a * torch.eye(path.states, dtype=torch.float64) + (1 - a) * pi.expand(path.states, -1)


def every_state(path: CategoricalPath) -> Tensor:
    return torch.arange(path.states)[None]


def certain(path: CategoricalPath, x0: int) -> Tensor:
    """The law of data that are x0 for sure, at every state."""
    return one_hot(torch.full((1, path.states), x0), path.classes)


@schedules
def test_alpha_falls_from_one_to_zero_with_its_slope(schedule: Schedule):
    t = torch.linspace(0, 1, 21, dtype=torch.float64, requires_grad=True)
    alpha = schedule.alpha(t)
    assert float(alpha[0].detach()) == 1 and float(alpha[-1].detach()) == 0 and bool((alpha.diff() < 0).all())
    inside = t.detach()[1:-1].requires_grad_()
    (slope,) = torch.autograd.grad(schedule.alpha(inside).sum(), inside)
    torch.testing.assert_close(schedule.slope(inside), -slope)
    torch.testing.assert_close(schedule.time_of(alpha.detach()), t.detach(), atol=1e-7, rtol=0)  # acos near its ends


@paths
def test_noising_in_two_legs_is_noising_in_one(path: CategoricalPath):
    torch.testing.assert_close(matrix(path, R) @ matrix(path, T, R), matrix(path, T))


@paths
def test_mixing_has_the_law_of_the_path(path: CategoricalPath):
    uniform = (torch.arange(9000, dtype=torch.float64) + 0.5)[None] / 9000
    for x0 in range(path.classes):
        x_t = path.mix(torch.full((1, 9000), x0), torch.tensor([T]), uniform)
        found = torch.bincount(x_t[0], minlength=path.states) / 9000
        torch.testing.assert_close(found.double(), matrix(path, T)[x0], atol=3 / 9000, rtol=0)  # the grid's ends
        assert torch.equal(path.mix(x_t, 0.0, uniform), x_t)
    assert torch.equal(path.mix(torch.zeros(1, 9000, dtype=torch.int64), 1.0, uniform), path.start(uniform))


@paths
def test_posterior_is_bayes_rule_over_the_transition_matrices(path: CategoricalPath):
    x_t = every_state(path)
    for x0 in range(path.classes):
        found = path.posterior(x_t, certain(path, x0), T, R)[0]
        wanted = (matrix(path, T, R) * matrix(path, R)[x0][:, None] / matrix(path, T)[x0]).T
        for state in range(path.states):
            if matrix(path, T)[x0, state] > 0:  # data cannot turn into other data where noise is a mask
                torch.testing.assert_close(found[state], wanted[state])


@paths
@pytest.mark.parametrize("kernel", ["posterior", "flow", "renewed"])
def test_kernels_keep_the_marginals_of_the_path(path: CategoricalPath, kernel: str):
    x_t = every_state(path)
    for x0 in range(path.classes):
        p0 = certain(path, x0)
        law = path.renewed(x_t, p0, R) if kernel == "renewed" else getattr(path, kernel)(x_t, p0, T, R)
        torch.testing.assert_close(law.sum(-1), torch.ones_like(law.sum(-1)))
        torch.testing.assert_close(matrix(path, T)[x0] @ law[0], matrix(path, R)[x0])
        noise = path.stationary.index(max(path.stationary))
        one_step = path.posterior(x_t, p0, 1.0, 0.0)[0, noise, : path.classes]
        torch.testing.assert_close(one_step, p0[0, 0])


@paths
def test_reverse_rates_are_the_posterior_of_short_steps(path: CategoricalPath):
    p0 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).expand(1, path.states, 3)
    x_t, h = every_state(path), 1e-6
    found = path.reverse_rates(x_t, p0, T)
    short = path.posterior(x_t, p0, T, T - h) / h * (1 - one_hot(x_t, path.states))
    torch.testing.assert_close(found, short, rtol=1e-4, atol=1e-4)  # of order h


@paths
def test_evidence_is_the_log_likelihood_of_each_class_but_for_a_constant(path: CategoricalPath):
    likelihood = path.likelihood(every_state(path), T)[0]
    torch.testing.assert_close(likelihood, matrix(path, T).T[:, : path.classes])
    found = path.evidence(every_state(path), T)[0].softmax(-1)
    torch.testing.assert_close(found, likelihood / likelihood.sum(-1, keepdim=True), atol=1e-11, rtol=0)


@paths
def test_data_that_noise_leaves_is_kept_whatever_the_network_says(path: CategoricalPath):
    kept = [state for state, share in enumerate(path.stationary) if share == 0]  # noise never turns into these
    assert path.unknown(every_state(path)).tolist() == [[state not in kept for state in range(path.states)]]
    assert bool(kept) == isinstance(path, Masked | Absorbing)
    wrong = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64).expand(1, path.states, 3)
    for law in (path.posterior(every_state(path), wrong, T, R), path.flow(every_state(path), wrong, T, R)):
        torch.testing.assert_close(law[0, kept], torch.eye(path.states, dtype=torch.float64)[kept])


def test_flow_on_a_masked_path_is_the_posterior():
    path, p0 = Masked(3), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).expand(1, 4, 3)
    torch.testing.assert_close(
        path.flow(every_state(path), p0, T, R)[0, 3], path.posterior(every_state(path), p0, T, R)[0, 3]
    )


def test_flow_jumps_less_than_the_reverse_chain():
    path, p0 = Uniform(3), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).expand(1, 3, 3)
    stays = [
        law[0].diagonal()
        for law in (path.flow(every_state(path), p0, T, R), path.posterior(every_state(path), p0, T, R))
    ]
    # With q(x0 | x_t) near pi both may go anywhere; the flow goes to data alone.
    assert bool((stays[0] > stays[1] - 1e-12).all())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Masked(0),
        lambda: Marginal(probabilities=(0.5, 0.4)),
        lambda: Marginal(probabilities=(1.0, 0.0)),
        lambda: Marginal(3, probabilities=(0.5, 0.5)),
    ],
)
def test_impossible_paths_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()


def test_race_draws_classes_by_their_weights():
    weights = torch.tensor([5.0, 3.0, 0.0, 2.0], dtype=torch.float64)
    uniform = torch.rand(20000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = torch.bincount(race(weights.expand(20000, 4), uniform), minlength=4) / 20000
    # Four standard errors of a share of one half: 0.014.
    torch.testing.assert_close(found.double(), weights / 10, atol=0.014, rtol=0)


def test_float32_uniform_numbers_hide_what_is_rare_one_by_one_and_float64_do_not():
    """2^26 classes that share one half of the mass against one that has the other half.

    The largest of m uniform numbers is U^(1/m), so that the race of all is decided by two numbers a draw. On the grid of float32
    numbers, multiples of 2^-24, it is too small: the many win 1.6 % of the draws, and not 50 %.
    """
    many, draws = 2**26, 20000
    generator = torch.Generator().manual_seed(0)
    largest = torch.rand(draws, dtype=torch.float64, generator=generator) ** (1 / many)
    other = torch.rand(draws, dtype=torch.float64, generator=generator)
    weights = torch.tensor([0.5 / many, 0.5], dtype=torch.float64).expand(draws, 2)
    share = {}
    for bits in (24, 53):
        grid = (largest * 2**bits).floor().clamp_max(2**bits - 1) / 2**bits
        share[bits] = float((race(weights, torch.stack([grid, other], dim=1)) == 0).double().mean())
    assert share[53] == pytest.approx(0.5, abs=0.015)  # four standard errors
    assert share[24] < 0.05


def test_draws_in_float32_are_refused():
    with pytest.raises(AssertionError, match="float32"):
        race(torch.ones(2), torch.rand(2))
