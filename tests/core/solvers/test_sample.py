"""`sample`: the same item gives the same sample however it is batched, and a saved run goes on as it would have."""

import pytest
import torch
from torch import nn

from ornstein.core import grids
from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.noise import KeyedNoise
from ornstein.core.paths import EDM, Cosine, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import BDIA, Exponential, Heun, PredictorCorrector, State, sample

WIDE = torch.float64
SOLVERS = [
    Exponential(1),
    Exponential(3),
    Exponential(3, "noise"),
    Exponential(3, weights="b2", corrector=True),
    Exponential(2, stochasticity=1.0),
    Exponential(1, renoise=True),
    Exponential(2, "noise", "dpm", multistep=False),
    Exponential(3, multistep=False),
    Exponential(4, "noise", "adams"),
    Exponential(1, eta=0.5),
    Heun(),
    Heun(churn=10.0),
    PredictorCorrector(),
    PredictorCorrector(0.16, 2, "reverse-diffusion", "norm"),
    BDIA(),
]
solvers = pytest.mark.parametrize("solver", SOLVERS, ids=range(len(SOLVERS)))


class Ring(MixtureDenoiser):
    """Eight narrow modes on a circle."""

    def __init__(self, path=None):
        angle = torch.arange(8) * torch.pi / 4
        super().__init__(torch.ones(8), torch.stack([angle.cos(), angle.sin()], dim=1), torch.full((8,), 0.01), path)


@solvers
def test_items_do_not_depend_on_their_batch(solver):
    whole = sample(Ring(), solver=solver, steps=12, shape=(5, 2), seed=3)
    for rows in ([0], [4], [1, 3]):
        part = sample(Ring(), solver=solver, steps=12, shape=(len(rows), 2), seed=3, items=rows)
        torch.testing.assert_close(part, whole[rows], rtol=1e-6, atol=1e-6)


@solvers
def test_one_solver_object_serves_any_runs(solver):
    first = sample(Ring(), solver=solver, steps=6, shape=(2, 2))
    sample(Ring(RectifiedFlow()), solver=solver, steps=3, shape=(4, 2), seed=9)
    assert torch.equal(sample(Ring(), solver=solver, steps=6, shape=(2, 2)), first)


@solvers
def test_resumed_run_is_the_whole_run(solver):
    states: list[State] = []
    options: dict = {"solver": solver, "steps": 5, "seed": 2}
    for path, grid in ((RectifiedFlow(), grids.Uniform()), (EDM(), grids.Karras())):
        states.clear()
        options["grid"] = grid
        whole = sample(Ring(path), shape=(2, 2), callback=states.append, **options)
        assert [state.step for state in states] == list(range(1, 6))
        assert torch.equal(states[-1].x, whole)
        for state in states[:-1]:
            assert torch.equal(sample(Ring(path), state=state, **options), whole)


def test_seeds_and_items_change_the_sample():
    one = sample(Ring(), shape=(1, 2), seed=0)
    assert not torch.allclose(one, sample(Ring(), shape=(1, 2), seed=1))
    assert not torch.allclose(one, sample(Ring(), shape=(1, 2), seed=0, items=[5]))


def test_sampling_leaves_the_start_as_it_was():
    start = torch.randn(2, 2)
    kept = start.clone()
    for solver in SOLVERS:
        sample(Ring(), solver=solver, steps=3, x_start=start)
        assert torch.equal(start, kept)


def test_states_of_the_callback_are_not_overwritten():
    for solver in SOLVERS:
        states: list[tuple[State, torch.Tensor]] = []
        sample(Ring(), solver=solver, steps=5, shape=(2, 2), callback=lambda s: states.append((s, s.x.clone())))  # noqa: B023
        assert all(torch.equal(state.x, copy) for state, copy in states)


def test_start_is_noise_at_the_first_level():
    class Half(GaussianDenoiser):
        pass

    denoiser = Half(torch.zeros(3), torch.ones(3))
    begun: list[torch.Tensor] = []
    denoiser.register_forward_pre_hook(lambda _, inputs: begun.append(inputs[0]))
    sample(denoiser, steps=1, shape=(2, 3), seed=4, grid=grids.Uniform(start=0.5))
    s = float(EDM().coefficients(0.5).s)
    torch.testing.assert_close(begun[0], s * KeyedNoise(4, range(2))(0, (2, 3)))


def test_samples_of_a_gaussian_have_its_moments():
    # 3,000 samples: 6 % of a deviation is 4.6 standard errors.
    denoiser = GaussianDenoiser(torch.tensor([1.0, -2.0]), torch.tensor([0.25, 4.0]))
    for path in (EDM(), VariancePreserving(), Cosine(), RectifiedFlow()):
        end = sample(denoiser, path, steps=40, grid=grids.Karras(), shape=(3000, 2), dtype=WIDE)
        torch.testing.assert_close(end.std(0), torch.tensor([0.5, 2.0], dtype=WIDE), rtol=0.06, atol=0)
        torch.testing.assert_close(end.mean(0), denoiser.mean, rtol=0, atol=0.15)


def test_samples_do_not_depend_on_the_path_at_equal_noise_levels():
    # On every path u / a follows the same equation in s / a, and so do the solvers.
    sigmas = torch.logspace(1.5, -2, 12, dtype=WIDE)
    x = torch.randn(3, 2, dtype=WIDE)
    for solver in (Exponential(3), Exponential(2, "noise"), Heun()):
        ends = []
        for path in (EDM(), VariancePreserving(), RectifiedFlow()):
            times = path.time_of(-sigmas.log())
            first, last = path.coefficients(times[0]), path.coefficients(times[-1])
            grid = grids.Explicit(tuple(times.tolist()))
            ends.append(sample(Ring(), path, solver, grid=grid, x_start=first.a * sigmas[0] * x) / last.a)
        torch.testing.assert_close(ends[1], ends[0], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(ends[2], ends[0], rtol=1e-8, atol=1e-8)


def test_conditions_reach_the_network_and_no_gradient_is_recorded():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x, label, scale):
            return x * scale * self.weight

    denoiser = NetworkDenoiser(Scaled(), EDM())
    options = {"steps": 3, "shape": (2, 2)}
    one, two = (sample(denoiser, scale=torch.tensor(scale), **options) for scale in (0.1, 0.2))
    assert not torch.allclose(one, two) and not one.requires_grad


def test_gradients_pass_through_a_solver():
    start = torch.randn(2, 2, dtype=WIDE, requires_grad=True)
    grid = grids.Uniform(end=0.3)
    times = grid(EDM(), 4)

    def run(x):
        return Exponential(2).solve(Ring(), times, State(0, x), KeyedNoise(0, range(2)))

    assert torch.autograd.gradcheck(run, (start,), atol=1e-6)


def test_missing_and_contradictory_arguments_are_refused():
    with pytest.raises(ValueError, match="shape"):
        sample(Ring())
    with pytest.raises(ValueError, match="x_start and state"):
        sample(Ring(), x_start=torch.zeros(1, 2), state=State(0, torch.zeros(1, 2)))
    with pytest.raises(ValueError, match="5 steps"):
        sample(Ring(), shape=(1, 2), steps=5, grid=grids.Explicit((1.0, 0.0)))
    with pytest.raises(AssertionError, match=r"\(3, 2\)"):
        sample(Ring(), shape=(3, 2), x_start=torch.zeros(1, 2))
