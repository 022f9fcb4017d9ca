"""Times are drawn from the distributions of their names, and the loss of an untrained network is one."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import Denoiser, NetworkDenoiser
from ornstein.core.networks.unet import UNet
from ornstein.core.paths import EDM, Cosine, Path, RectifiedFlow, VarianceExploding, VariancePreserving
from ornstein.core.training.objectives import LogNormalTimes, UniformTimes, denoising_loss, path_of, stratified

PATHS = [VariancePreserving(), Cosine(), VarianceExploding(), EDM(), RectifiedFlow()]
paths = pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)


@paths
@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9])
def test_log_normal_times_have_the_quantiles_of_the_noise_level(path: Path, quantile: float):
    t = LogNormalTimes(mean=-1.2, std=1.2)(path, torch.tensor([quantile]))
    wanted = math.exp(stats.norm.ppf(quantile, loc=-1.2, scale=1.2))
    assert float(torch.exp(-path.log_snr(t))) == pytest.approx(wanted, rel=1e-6)


@paths
def test_log_normal_times_are_cut_to_the_path(path: Path):
    ends = torch.tensor([0.0, 1e-12, 1 - 1e-12, 1.0], dtype=torch.float64)
    for mean in (-30.0, 0.0, 30.0):
        t = LogNormalTimes(mean=mean, std=3.0)(path, ends)
        assert t.dtype == torch.float64 and bool(((t >= 0) & (t <= 1)).all())


def test_uniform_times_fill_their_interval():
    t = UniformTimes(0.25, 0.75)(EDM(), torch.tensor([0.0, 0.5, 1.0]))
    assert t.tolist() == [0.25, 0.5, 0.75]


@given(batch=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_stratified_numbers_hold_one_in_every_stratum(batch: int, seed: int):
    u = stratified(batch, torch.Generator().manual_seed(seed))
    assert u.shape == (batch,) and u.dtype == torch.float64
    assert sorted((u * batch).floor().int().tolist()) == list(range(batch))


def test_stratified_numbers_come_in_random_order():
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([stratified(4, generator)[0] for _ in range(2000)])
    # The first item is uniform: its Kolmogorov-Smirnov distance is below 0.04 in all but 1 of 300 draws of 2000.
    assert stats.kstest(first.numpy(), "uniform").statistic < 0.04


@paths
def test_loss_of_an_untrained_network_is_one_at_every_noise_level(path: Path):
    network = UNet(2, channels=(8, 16), blocks=1)  # its output is zero at initialisation
    denoiser = NetworkDenoiser(network, path, "edm", 0.5)
    generator = torch.Generator().manual_seed(0)
    x0, z = (torch.randn(8, 1, 32, 32, generator=generator) for _ in range(2))
    t = path.time_of(-torch.logspace(-2, 1, 8, dtype=torch.float64).log()).clamp(1e-4, 1 - 1e-4)
    loss = denoising_loss(denoiser, 0.5 * x0, t, z, 0.5).detach()
    assert loss.shape == (8,) and loss.dtype == torch.float32
    # The mean of 1024 squared Gaussians has deviation sqrt(2 / 1024) = 0.044: four of them.
    assert float((loss - 1).abs().max()) < 0.18


def test_loss_of_the_exact_denoiser_is_the_least():
    """For data N(0, sigma_data^2) it is one at every sigma: E|x0_hat - x0|^2 is the inverse of the weight."""
    path, generator = EDM(), torch.Generator().manual_seed(0)
    x0, z = (torch.randn(6, 4000, generator=generator, dtype=torch.float64) for _ in range(2))
    exact = GaussianDenoiser(
        torch.zeros(4000, dtype=torch.float64), torch.full((4000,), 0.25, dtype=torch.float64), path
    )
    t = path.time_of(-torch.logspace(-1.5, 1, 6, dtype=torch.float64).log())
    best = denoising_loss(exact, 0.5 * x0, t, z, 0.5)
    # weight times error is one for every sigma; deviation of the mean sqrt(2 / 4000) = 0.022: four of them
    torch.testing.assert_close(best, torch.ones(6), rtol=0, atol=0.09)

    class Biased(Denoiser):
        def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
            return exact(x_t, t) + 0.2

    assert bool((denoising_loss(Biased(path), 0.5 * x0, t, z, 0.5) > best).all())


def test_only_a_denoiser_has_a_path():
    denoiser = NetworkDenoiser(nn.Identity(), Cosine(), "data")
    assert path_of(denoiser) == Cosine()
    with pytest.raises(AssertionError, match="Identity"):
        path_of(nn.Identity())  # type: ignore[arg-type]
