"""The default solver is ahead of the published ones on exact targets, and a closed-form start agrees with the flow."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.gaussian import Teleport
from ornstein.core.grids import Explicit, Karras, LogOnePlus, LogSNR
from ornstein.core.paths import EDM, Cosine, RectifiedFlow, VariancePreserving
from ornstein.core.solvers import Exponential, auto, sample
from ornstein.core.solvers.weights import angle_weights

WIDE = torch.float64


def ring() -> MixtureDenoiser:
    """Eight modes on the unit circle."""
    angle = torch.arange(8, dtype=WIDE) * math.pi / 4
    points = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixtureDenoiser(torch.ones(8), points, torch.full((8,), 0.01, dtype=WIDE))


def gaussian(dimensions: int = 16) -> GaussianDenoiser:
    mean = 0.5 * torch.randn(dimensions, dtype=WIDE, generator=torch.Generator().manual_seed(1))
    return GaussianDenoiser(mean, torch.logspace(-4, 0, dimensions, dtype=WIDE))


def start(size: int, count: int = 256) -> Tensor:
    return 80 * torch.randn(count, size, dtype=WIDE, generator=torch.Generator().manual_seed(2))


def rmse(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().mean().sqrt())


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_the_default_is_ahead_of_the_published_solvers_of_third_order(steps):
    published = [
        (Exponential(3, "noise"), Karras()),  # azula's zEAB3
        (Exponential(3, weights="dpm"), LogSNR()),
        (Exponential(3, weights="b2", corrector=True), Karras()),
    ]
    ring_end = sample(ring(), solver=published[2][0], grid=LogSNR(), steps=300, x_start=start(2))
    for denoiser, x, end in (
        (ring(), start(2), ring_end),
        (gaussian(), start(16), gaussian().flow(start(16), 1.0, 0.0)),
    ):
        ours = rmse(sample(denoiser, steps=steps, x_start=x), end)
        theirs = [rmse(sample(denoiser, solver=s, grid=g, steps=steps, x_start=x), end) for s, g in published]
        assert ours < min(theirs), f"{denoiser}: {ours} against {theirs}"


@pytest.mark.parametrize(
    "path", [EDM(), VariancePreserving(), Cosine(), RectifiedFlow()], ids=lambda p: type(p).__name__
)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 50])
def test_the_default_serves_any_path_and_number_of_steps(path, steps):
    made = sample(gaussian(4).on(path), steps=steps, shape=(64, 4), dtype=WIDE)
    assert made.isfinite().all()
    if steps == 50:
        exact = gaussian(4).on(path)
        z = sample(exact, solver=Exponential(3), grid=LogSNR(), steps=400, shape=(64, 4), dtype=WIDE)
        assert rmse(made, z) < 1e-3  # measured 2e-5 to 1e-4; the flow's grids begin at sigma 80


def test_the_default_follows_the_scale_of_the_data():
    """Data in other units, on a path in the same units, give the same picture in those units."""

    class Shrunk(torch.nn.Module):
        """The network of a Gaussian of deviation sigma_data, whatever that is: the edm skip is exact, nothing is left."""

        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            return 0.3 * torch.tanh(x)

    ends = []
    for unit in (1.0, 100.0):
        denoiser = NetworkDenoiser(Shrunk(), EDM(0.002 * unit, 80 * unit), sigma_data=0.5 * unit)
        grid = auto(6, unit)[1]
        made = sample(
            denoiser,
            steps=6,
            x_start=unit * start(3, 8),
            grid=type(grid)(sigma_min=0.002 * unit, sigma_max=80 * unit, scale=grid.scale, rho=grid.rho),
        )
        ends.append(made / unit)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("path", [EDM(), VariancePreserving(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_a_network_gets_the_default_for_networks_on_any_path(path):
    network = NetworkDenoiser(torch.nn.Tanh(), EDM(), sigma_data=0.3)
    network.network.forward = lambda x, label: torch.tanh(x)
    assert network.on(path).traits == (0.6, True)
    solver, grid = auto(8, learned=True)
    made = sample(network.on(path), steps=8, shape=(4, 3), dtype=WIDE)
    torch.testing.assert_close(
        made, sample(network.on(path), solver=solver, grid=grid, steps=8, shape=(4, 3), dtype=WIDE), rtol=0, atol=0
    )


@pytest.mark.parametrize("p", [1.0, 2.0, -1.0])
def test_angle_weights_integrate_a_polynomial_in_the_angle_exactly(p):
    rng, scale = np.random.default_rng(0), 0.7
    base, end = np.array([-3.0, 0.1]), np.array([-1.0, 2.5])
    nodes = np.stack([base, base - 0.9, base - 2.1], axis=1)
    weights = angle_weights(nodes, base, end, np.full(2, p), scale)
    c = rng.standard_normal(3)

    def f(log_snr):
        return np.polyval(c, np.arctan(np.exp(-log_snr) / scale))

    for i in range(2):
        places = np.linspace(base[i], end[i], 200001)
        values = np.exp(-p * (end[i] - places)) * f(places)
        wanted = float(((values[1:] + values[:-1]) / 2 * np.diff(places)).sum())
        assert (weights[i] * f(nodes[i])).sum() == pytest.approx(wanted, rel=1e-8)


def test_pure_noise_is_a_value_like_any_other_to_the_angle():
    far = angle_weights(np.array([[-1.0, -40.0]]), np.array([-1.0]), np.array([0.0]), np.ones(1), 1.0)
    infinite = angle_weights(np.array([[-1.0, -np.inf]]), np.array([-1.0]), np.array([0.0]), np.ones(1), 1.0)
    np.testing.assert_allclose(infinite, far, rtol=1e-12)


def test_a_closed_form_start_is_exact_on_a_gaussian():
    exact = gaussian()
    jump = Teleport(exact)
    x = start(16)
    there, t = jump(x, 1.0, exact.path)
    torch.testing.assert_close(there, exact.flow(x, 1.0, t))
    grid = LogOnePlus(scale=0.3)
    made = sample(exact, solver=auto(12)[0], steps=12, grid=grid, x_start=x, teleport=jump)
    by_hand = sample(exact, solver=auto(12)[0], steps=12, grid=LogOnePlus(start=t, scale=0.3), x_start=there)
    torch.testing.assert_close(made, by_hand, rtol=0, atol=0)


def test_a_closed_form_start_refuses_what_it_cannot_shorten():
    exact = gaussian()
    with pytest.raises(ValueError, match="teleport"):
        sample(exact, x_start=start(16), grid=Explicit((1.0, 0.5, 0.0)), teleport=Teleport(exact))
