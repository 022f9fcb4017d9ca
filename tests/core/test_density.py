"""Log-densities against those of a mixture and a Gaussian in closed form."""

import math

import pytest
import torch
from torch import Tensor

from ornstein.core.analytic import GaussianDenoiser, MixtureDenoiser
from ornstein.core.denoisers import Denoiser
from ornstein.core.density import bits_per_dimension, flow_log_density, ito_log_density
from ornstein.core.paths import EDM, OUVE, PFGMPP, Path, RectifiedFlow, VariancePreserving

WIDE = torch.float64
MEANS = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=WIDE)
WEIGHTS, VARIANCES = torch.tensor([0.3, 0.7], dtype=WIDE), torch.tensor([0.02, 0.2], dtype=WIDE)


class Mixture(Denoiser):
    """The `MixtureDenoiser` of two round Gaussians, in few operations: a density takes hundreds of calls."""

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, **conditions: Tensor) -> Tensor:
        c = self.path.coefficients(t)
        a, s = float(c.a), float(c.s)
        total = a**2 * VARIANCES + s**2
        offset = x_t[:, None] - a * MEANS
        logits = WEIGHTS.log() - offset.square().sum(2) / (2 * total) - total.log()
        parts = MEANS + (a * VARIANCES / total)[:, None] * offset
        return (torch.softmax(logits, dim=1)[..., None] * parts).sum(1)


def mixture(path: Path | None = None) -> Denoiser:
    return Mixture(path or EDM())


def truth(x: Tensor) -> Tensor:
    return MixtureDenoiser(WEIGHTS, MEANS, VARIANCES[:, None].expand(2, 2)).log_density(x, 0.0)


def data(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(count, generator=generator) < 0.7).long()
    return MEANS[chosen] + VARIANCES[chosen].sqrt()[:, None] * torch.randn(count, 2, dtype=WIDE, generator=generator)


def test_the_mixture_of_these_tests_is_that_of_the_core():
    exact = MixtureDenoiser(WEIGHTS, MEANS, VARIANCES[:, None].expand(2, 2), VariancePreserving())
    for t in (0.1, 0.7):
        t = torch.tensor(t, dtype=WIDE)
        torch.testing.assert_close(mixture(VariancePreserving())(data(5), t), exact(data(5), t))


def fast_noise(seed: int):
    """Noise that is not keyed by item: tests of scatter need thousands of items."""
    generator = torch.Generator().manual_seed(seed)
    return lambda step, shape, dtype, device: torch.randn(shape, dtype=dtype, generator=generator)


@pytest.mark.parametrize("path", [EDM(), VariancePreserving(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_flow_density_with_exact_trace_is_right_at_100_steps(path: Path):
    # 2.3e-3 was measured on EDM; the issue asks for 1e-2.
    x = data(64)
    found = flow_log_density(mixture(path), x, steps=100)
    assert float((found - truth(x)).abs().max()) / 2 < 5e-3


def test_flow_density_converges_with_order_two():
    # Against its own limit: the grid's least noise and the noise's own density leave an error that no step takes away.
    x = data(16)
    limit = flow_log_density(mixture(), x, steps=160)
    errors = [float((flow_log_density(mixture(), x, steps=n) - limit).abs().mean()) for n in (10, 20, 40)]
    assert math.log2(errors[0] / errors[2]) / 2 > 1.7


def test_hutchinson_density_is_unbiased_over_probes():
    x = data(4)
    exact = flow_log_density(mixture(), x, steps=10)
    draws = flow_log_density(mixture(), x.repeat_interleave(100, dim=0), steps=10, trace="hutchinson").reshape(4, 100)
    error = (draws.mean(1) - exact) / (draws.std(1) / 10)
    assert float(error.abs().max()) < 3.5  # standard errors, of four means
    assert float(draws.std(1).min()) > 1e-3  # there is scatter, so that the mean says something


def test_hutchinson_density_is_exact_where_the_jacobian_is_diagonal():
    gaussian = GaussianDenoiser(torch.tensor([0.5, -1.0], dtype=WIDE), torch.tensor([0.2, 1.0], dtype=WIDE))
    x = torch.tensor([[0.3, 0.1], [1.0, -2.0]], dtype=WIDE)
    exact, probed = (flow_log_density(gaussian, x, steps=20, trace=trace) for trace in ("exact", "hutchinson"))
    torch.testing.assert_close(exact, probed)


def test_the_gaussian_of_the_data_stands_in_where_noise_never_hides_them():
    # OUVE ends at sigma 0.5 over a = 0.22: its last state is far from pure noise.
    gaussian = GaussianDenoiser(torch.tensor([0.5, -1.0], dtype=WIDE), torch.tensor([0.2, 1.0], dtype=WIDE), OUVE())
    x = torch.tensor([[0.3, 0.1], [1.0, -2.0]], dtype=WIDE)
    y = torch.tensor([[0.1, 0.0], [0.5, 0.7]], dtype=WIDE)
    found = flow_log_density(gaussian, x, y=y, gaussian=gaussian)
    noisy = GaussianDenoiser(gaussian.mean, torch.tensor([0.2, 1.0], dtype=WIDE))
    torch.testing.assert_close(found, noisy.log_density(x, 0.0), atol=5e-3, rtol=0)


def test_ito_density_of_data_closes_in_on_the_truth():
    # Bias 1 / N, scatter between that and N^-1/2: from 100 to 400 steps both fall by more than half.
    x = data(2000)
    wanted = truth(x)
    errors = [ito_log_density(mixture(), x, steps=n, noise=fast_noise(n)) - wanted for n in (100, 400)]
    bias, rms = ([float(f(e)) for e in errors] for f in (Tensor.mean, lambda e: e.square().mean().sqrt()))
    assert abs(bias[1]) < 0.4 * abs(bias[0]) and abs(bias[1]) < 0.15
    assert rms[1] < 0.6 * rms[0] and rms[1] < 0.4


def test_densities_do_not_depend_on_the_batch():
    x = data(3)
    for density in (flow_log_density, ito_log_density):
        whole = density(mixture(), x, steps=10)
        torch.testing.assert_close(whole[1:2], density(mixture(), x[1:2], steps=10, items=[1]))


def test_densities_follow_the_units():
    # Twice the unit halves the numbers: the density of each value doubles. The denoiser's scale says what the unit is.
    class Scaled(GaussianDenoiser):
        @property
        def scale(self) -> float:
            return 2 * float(self.covariance.trace() / 2) ** 0.5

    x = torch.tensor([[0.3, 0.1], [1.0, -2.0]], dtype=WIDE)
    found = []
    for unit in (1.0, 0.5):
        path = EDM(0.002 * unit, 80 * unit)
        gaussian = Scaled(unit * torch.tensor([0.5, -1.0], dtype=WIDE), unit**2 * torch.ones(2, dtype=WIDE), path)
        found.append(flow_log_density(gaussian, unit * x, steps=10))
    torch.testing.assert_close(found[1], found[0] + 2 * math.log(2), atol=1e-6, rtol=0)


def test_bits_per_dimension_of_the_uniform_is_the_number_of_bits():
    # Uniform on [-1, 1]: log p = -d log 2, and bytes have 8 bits.
    d = 12
    assert float(bits_per_dimension(torch.tensor(-d * math.log(2)), d, 2 / 256)) == pytest.approx(8)


def test_what_has_no_density_here_is_refused_by_name():
    with pytest.raises(ValueError, match="PFGMPP"):
        ito_log_density(mixture(PFGMPP()), data(2))
    with pytest.raises(ValueError, match="drifts to y"):
        flow_log_density(mixture(OUVE()), data(2))
    with pytest.raises(ValueError, match="trace 'diagonal'"):
        flow_log_density(mixture(), data(2), trace="diagonal")
