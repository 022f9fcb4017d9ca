"""The Gaussian's uses: a denoiser's skip, observations against optimal interpolation, and teleportation."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.checkpoints import load_tensors, save_tensors
from ornstein.core.covariances import Covariance, Diagonal, Modes
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.gaussian import GaussianPosterior, PreconditionedDenoiser, Teleport
from ornstein.core.grids import LogSNR
from ornstein.core.operators import Matrix
from ornstein.core.paths import EDM, Cosine, Path, RectifiedFlow, VariancePreserving, expand
from ornstein.core.solvers import Exponential, sample
from ornstein.core.training.objectives import denoising_loss

WIDE = torch.float64
PATHS = [EDM(), VariancePreserving(), Cosine(), RectifiedFlow()]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
seeds = st.integers(0, 2**20)


def randn(seed: int, *shape: int, dtype: torch.dtype = WIDE) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def dense(seed: int, d: int, dtype: torch.dtype = WIDE) -> Tensor:
    root = randn(seed, d, d, dtype=dtype)
    return root @ root.mH / d + 0.1 * torch.eye(d, dtype=dtype)


class Zero(nn.Module):
    """The output of an untrained network."""

    def forward(self, x: Tensor, label: Tensor, **conditions: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Half(nn.Module):
    def forward(self, x: Tensor, label: Tensor, **conditions: Tensor) -> Tensor:
        return x / 2 + label.reshape(-1, 1)


def interpolate(mean: Tensor, c: Tensor, a: Tensor, v: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Optimal interpolation by dense algebra: the mean (batch, d) and the covariance."""
    gain = c @ a.mH @ torch.linalg.inv(a @ c @ a.mH + (noise**2).diag().to(c.dtype))
    return mean + (v - a @ mean) @ gain.mT, c - gain @ a @ c


@paths
def test_an_isotropic_gaussian_gives_the_preconditioning_of_karras(path: Path):
    flat = PreconditionedDenoiser(Half(), GaussianDenoiser(torch.zeros(3), torch.full((3,), 0.25), path))
    edm = NetworkDenoiser(Half(), path, "edm", 0.5)
    x, t = randn(0, 5, 3), torch.linspace(0.1, 0.9, 5, dtype=WIDE)
    torch.testing.assert_close(flat(x, t), edm(x, t), rtol=1e-6, atol=1e-6)  # labels are float32


@paths
def test_an_untrained_model_is_the_wiener_filter(path: Path):
    gaussian = GaussianDenoiser(randn(0, 2, 2), dense(1, 4), path)
    model, x = PreconditionedDenoiser(Zero(), gaussian), randn(2, 5, 2, 2)
    assert torch.equal(model(x, 0.4), gaussian(x, 0.4))


@paths
def test_training_targets_have_unit_variance_at_every_noise_level(path: Path):
    mean, matrix = randn(0, 8), dense(1, 8)
    gaussian = GaussianDenoiser(mean, matrix, path)
    model, seen = PreconditionedDenoiser(Zero(), gaussian), []
    model.network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x0 = mean + randn(2, 20_000, 8) @ torch.linalg.cholesky(matrix).mT
    t = path.time_of(-torch.logspace(-2, 1, 6, dtype=WIDE).log()).clamp(1e-4, 1 - 1e-4)
    for moment in t.tolist():
        loss = denoising_loss(model, x0, torch.full((len(x0),), moment), randn(3, 20_000, 8), None)
        # The mean of 160,000 correlated squares deviates by about .006, measured over seeds; five of them.
        assert float(loss.mean()) == pytest.approx(1, abs=0.03)
        assert float(seen[-1].square().mean()) == pytest.approx(1, abs=0.03)


def test_a_preconditioned_network_learns_what_is_not_gaussian():
    # Two modes on a line: the Gaussian's answer is far from the exact one, and a network of 2,000 weights closes the gap.
    torch.manual_seed(0)
    path = EDM()
    exact = MixtureDenoiser(torch.ones(2), torch.tensor([[1.0, 0.5], [-1.0, -0.5]]), torch.full((2,), 0.01), path)
    x0 = exact.means[torch.arange(512) % 2].float() + 0.1 * randn(0, 512, 2).float()
    gaussian = GaussianDenoiser.from_samples(x0, path=path)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 2))

        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            return self.layers(torch.cat([x.float(), label[:, None]], 1))

    model = PreconditionedDenoiser(Net(), gaussian)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        log_sigma = torch.randn(512, generator=generator, dtype=WIDE) - 0.5
        z = torch.randn(512, 2, generator=generator)
        loss = denoising_loss(model, x0, path.time_of(-log_sigma).clamp(0, 1), z, None).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    t = path.time_of(-math.log(0.5))
    x = path.mix(x0, randn(9, 512, 2).float(), t)
    error = [float((d(x, t) - exact(x, t)).square().mean().detach()) for d in (model, gaussian)]
    assert error[0] < 0.2 * error[1]  # measured: .04 of it
    assert len(list(model.parameters())) == 6  # the Gaussian is not trained
    replaced = model.replace_network(Zero())
    assert torch.equal(replaced(x, t), gaussian(x, t)) and not torch.equal(model(x, t), gaussian(x, t))


def test_autocast_does_not_touch_the_gaussian():
    gaussian = GaussianDenoiser(randn(0, 6).float(), dense(1, 6))
    model, x = PreconditionedDenoiser(Zero(), gaussian), randn(2, 4, 6).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(x, 0.4), gaussian(x, 0.4))


@pytest.mark.parametrize("kind", ["dense", "low rank", "diagonal", "stationary"])
@pytest.mark.parametrize("iterations", [None, 60])
@given(seed=seeds, t=st.floats(0.05, 0.95), data=st.data())
def test_posterior_is_bayes_rule(kind: str, iterations: int | None, seed: int, t: float, data):
    """Given x_t and v together: one linear observation more, against dense algebra."""
    dtype = data.draw(st.sampled_from([WIDE, torch.complex128]))
    path = data.draw(st.sampled_from(PATHS))
    c: Covariance = {
        "dense": lambda: Modes.from_matrix(dense(seed, 6, dtype)),
        "low rank": lambda: Modes(torch.linalg.qr(randn(seed, 6, 2, dtype=dtype))[0], torch.tensor([2.0, 0.7]), 0.2),
        "diagonal": lambda: Diagonal(randn(seed, 6).exp()),
        "stationary": lambda: Diagonal(torch.tensor([2.0, 1.0, 0.5, 0.2, 0.5, 1.0]), axes=(0,)),
    }[kind]()
    mean, x_t = randn(seed + 1, 6, dtype=dtype), randn(seed + 2, 3, 6, dtype=dtype)
    a, v = randn(seed + 3, 4, 6, dtype=dtype), randn(seed + 4, 3, 4, dtype=dtype)
    noise = randn(seed + 5, 4).abs() + 0.1
    at = path.coefficients(t)
    both = torch.cat([at.a * torch.eye(6, dtype=dtype), a])
    level = torch.cat([at.s.expand(6), noise])
    wanted, _ = interpolate(mean, c.dense().to(dtype), both, torch.cat([x_t, v], 1), level)
    gaussian = GaussianDenoiser(mean, c, path)
    posterior = GaussianPosterior(gaussian, gaussian, Matrix(a), v, noise, iterations)
    # Conjugate gradients end where rounding does: squared condition numbers of up to 1e4 here.
    torch.testing.assert_close(posterior(x_t, torch.tensor(t, dtype=WIDE)), wanted, rtol=1e-6, atol=1e-6)
    times = torch.full((3,), t, dtype=WIDE)
    torch.testing.assert_close(posterior(x_t, times), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "low rank", "stationary"])
@pytest.mark.parametrize("iterations", [None, 40])
def test_untrained_conditional_samples_are_optimal_interpolation(kind: str, iterations: int | None):
    n, path = 5_000, EDM(0.01, 40.0)
    c: Covariance = {
        "dense": lambda: Modes.from_matrix(dense(1, 6)),
        "low rank": lambda: Modes(torch.linalg.qr(randn(1, 6, 2))[0], torch.tensor([2.0, 0.7]), 0.2),
        "stationary": lambda: Diagonal(torch.tensor([2.0, 1.0, 0.5, 0.2, 0.5, 1.0]), axes=(0,)),
    }[kind]()
    mean, noise = randn(2, 6), torch.tensor([0.3, 0.3, 0.5], dtype=WIDE)
    a = torch.zeros(3, 6, dtype=WIDE)
    a[0, :2], a[1, 2:4], a[2, 5] = 0.5, 0.5, 1  # means of blocks, and a station
    v = randn(3, 1, 3)
    wanted, covariance = interpolate(mean, c.dense(), a, v, noise)
    gaussian = GaussianDenoiser(mean, c, path)
    untrained = PreconditionedDenoiser(Zero(), gaussian)
    posterior = GaussianPosterior(untrained, gaussian, Matrix(a), v, noise, iterations)
    found = sample(posterior, solver=Exponential(3), grid=LogSNR(), steps=30, shape=(n, 6), dtype=WIDE)
    exact = posterior.draw(randn(4, n, 6), randn(5, n, 3))
    for draws in (found, exact):
        # Standard errors of 5,000 draws: deviation / 70 for the mean, variance / 50 for a variance; four of them.
        spread = float(covariance.diagonal().max())
        torch.testing.assert_close(draws.mean(0), wanted[0], rtol=0, atol=4 / 70 * math.sqrt(spread))
        torch.testing.assert_close(draws.mT.cov(), covariance, rtol=0, atol=4 / 50 * spread)


def test_each_item_has_its_own_observations_whatever_the_batch():
    gaussian = GaussianDenoiser(randn(0, 5).float(), dense(1, 5).float())
    a, v, x = randn(2, 3, 5).float(), randn(3, 4, 3).float(), randn(4, 4, 5).float()
    whole = GaussianPosterior(gaussian, gaussian, Matrix(a), v, 0.1)(x, 0.5)
    assert whole.dtype == torch.float32
    for i in range(4):
        alone = GaussianPosterior(gaussian, gaussian, Matrix(a), v[i : i + 1], 0.1)(x[i : i + 1], 0.5)
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=1e-6, atol=1e-6)
    own = Matrix(randn(5, 4, 3, 5).float())  # one matrix an item goes by conjugate gradients
    each = GaussianPosterior(gaussian, gaussian, own, v, 0.1, iterations=20)(x, 0.5)
    alone = GaussianPosterior(gaussian, gaussian, Matrix(own.matrix[2]), v[2:3], 0.1)(x[2:3], 0.5)
    torch.testing.assert_close(each[2:3], alone, rtol=1e-4, atol=1e-4)


def test_observations_without_noise_are_refused():
    gaussian = GaussianDenoiser(torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match="noise"):
        GaussianPosterior(gaussian, gaussian, Matrix(torch.eye(2)), torch.zeros(1, 2), torch.tensor([0.1, 0.0]))


@paths
def test_teleportation_is_exact_on_a_gaussian(path: Path):
    gaussian = GaussianDenoiser(randn(0, 4), 0.05 * dense(1, 4), path)
    teleport, x = Teleport(gaussian, 4.0), randn(2, 8, 4)
    start = 0.999
    x_t, t = teleport(x, start, path)
    a, s = path.coefficients(t).a, path.coefficients(t).s
    assert float(s / a) == pytest.approx(4 * math.sqrt(gaussian.covariance.largest()), rel=1e-6)
    torch.testing.assert_close(gaussian.flow(x_t, t, 0.01), gaussian.flow(x, start, 0.01), rtol=1e-6, atol=1e-7)


def test_teleportation_leaves_what_is_below_its_level():
    path = VariancePreserving()
    x = randn(0, 3, 2)
    assert Teleport(GaussianDenoiser(torch.zeros(2), torch.ones(2)))(x, 0.2, path) == (x, 0.2)
    wide = Teleport(GaussianDenoiser(torch.zeros(2), torch.full((2,), 1e12)))
    assert wide.time(path) == 1 and wide(x, 1.0, path) == (x, 1.0)
    with pytest.raises(ValueError):
        Teleport(wide.gaussian, 0.0)


def test_teleportation_costs_little_on_a_mixture_and_less_the_higher_it_ends():
    """gmm64 of the benchmarks, against the flow from the start: the error of the jump alone."""
    generator, path = torch.Generator().manual_seed(0), EDM()
    modes = torch.randn(10, 64, dtype=WIDE, generator=generator)
    mixture = MixtureDenoiser(torch.ones(10), modes, torch.full((10,), 0.04, dtype=WIDE), path)
    mean = modes.mean(0)
    offset = modes - mean
    gaussian = GaussianDenoiser(mean, offset.mT @ offset / 10 + 0.04 * torch.eye(64), path)
    x = 80 * randn(2, 32, 64)

    def run(x: Tensor, start: float) -> Tensor:
        return sample(mixture, solver=Exponential(3), grid=LogSNR(start=start, end=0.2), steps=60, x_start=x)

    def error(found: Tensor) -> float:
        return float((found - end).square().mean().sqrt())

    end, jumped = run(x, 1.0), []
    for factor in (1.0, 2.0, 4.0):
        teleport = Teleport(gaussian, factor)
        x_t, t = teleport(x, 1.0, path)
        jumped.append(error(run(x_t, t)))
    assert jumped[0] > jumped[1] > jumped[2]
    assert jumped[2] < 1e-2 < jumped[0]


def test_a_gaussian_beside_a_model_is_read_back(tmp_path):
    gaussian = GaussianDenoiser.from_samples(randn(0, 30, 4, 5), rank=3, path=Cosine())
    save_tensors(tmp_path / "gaussian.safetensors", gaussian.state_dict())
    read = GaussianDenoiser.from_state(load_tensors(tmp_path / "gaussian.safetensors"), Cosine())
    x = randn(1, 2, 4, 5)
    torch.testing.assert_close(read(x, 0.3), gaussian(x, 0.3))
    torch.testing.assert_close(gaussian.mean, randn(0, 30, 4, 5).mean(0))
    assert expand(gaussian.error(torch.tensor([0.3, 0.4])), x).shape == (2, 1, 1)
