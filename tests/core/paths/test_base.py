"""Every path: coefficients, derivatives, log-SNR and its inverse, and the SDE that has them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from ornstein.core.analytic import GaussianDenoiser
from ornstein.core.denoisers import NetworkDenoiser
from ornstein.core.grids import Quadratic
from ornstein.core.paths import (
    BBED,
    EDM,
    OUVE,
    PFGMPP,
    RDDM,
    BrownianBridge,
    Cosine,
    MeanReverting,
    Path,
    RectifiedFlow,
    Resfusion,
    ResShift,
    SchroedingerBridgeVE,
    SchroedingerBridgeVP,
    Shifted,
    SquareRoot,
    TrigonometricBridge,
    VarianceExploding,
    VariancePreserving,
)
from ornstein.core.solvers import Exponential, sample

TO_NOISE = [
    VariancePreserving(),
    Cosine(),
    Cosine(0.0, math.pi / 2),
    VarianceExploding(),
    EDM(),
    RectifiedFlow(),
    SquareRoot(),
    Shifted(VariancePreserving(), 4.0),
    Shifted(RectifiedFlow(), 3.0),
]
BRIDGES = [
    BrownianBridge(0.7),
    TrigonometricBridge(),
    BBED(),
    SchroedingerBridgeVE(),
    SchroedingerBridgeVP(),
    Shifted(BrownianBridge(), 2.0),
]
TO_Y = [
    OUVE(),
    MeanReverting(),
    MeanReverting(schedule="linear"),
    MeanReverting(schedule="constant"),
    ResShift(),
    RDDM(),
    RDDM(sigma=1.0, p=0, q=0),
    Resfusion(),
    Resfusion(Cosine()),
    *BRIDGES,
]
GAUSSIAN = [*TO_NOISE, *TO_Y]


def each(paths: list[Path]):
    return pytest.mark.parametrize("path", paths, ids=str)


@each([*GAUSSIAN, PFGMPP()])
@given(t=st.floats(0.001, 0.999))
def test_derivatives_match_finite_differences(path: Path, t: float):
    step = 1e-6
    c, low, high = path.coefficients(t), path.coefficients(t - step), path.coefficients(t + step)
    for name in ("a", "b", "s"):
        measured = (getattr(high, name) - getattr(low, name)) / (2 * step)
        # Central differences: truncation of order step^2 times the third derivative (largest for a sqrt near 0).
        assert float(getattr(c, "d" + name)) == pytest.approx(float(measured), rel=1e-5, abs=1e-7)


@each([path for path in GAUSSIAN if not isinstance(path, Shifted)])
def test_derivatives_match_automatic_ones(path: Path):
    # Not for Shifted and not for the inverse, which go through a search.
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64, requires_grad=True)
    c = path.coefficients(t)
    for name in ("a", "b", "s"):
        value = getattr(c, name)
        (derived,) = torch.autograd.grad(value.sum(), t, retain_graph=True) if value.requires_grad else (0 * t,)
        torch.testing.assert_close(getattr(c, "d" + name), derived, rtol=1e-9, atol=1e-11)


@each([*GAUSSIAN, PFGMPP()])
@given(t=st.floats(0.001, 0.999))
def test_time_of_inverts_the_log_snr(path: Path, t: float):
    assert float(path.time_of(path.log_snr(t))) == pytest.approx(t, abs=1e-9)


@each([MeanReverting(), BBED(), TrigonometricBridge(), RDDM()])
def test_searched_inverse_keeps_the_digits_of_small_times_and_ends_at_the_ends(path: Path):
    t = torch.tensor([1e-9, 1e-5, 0.5, 1 - 1e-6], dtype=torch.float64)
    torch.testing.assert_close(path.time_of(path.log_snr(t)), t, rtol=1e-6, atol=0)
    beyond = path.time_of(torch.tensor([math.inf, -math.inf]))
    assert beyond.tolist() == [0.0, 1.0]


@each([*GAUSSIAN, PFGMPP()])
def test_log_snr_is_log_a_over_s_and_falls(path: Path):
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    c, log_snr = path.coefficients(t), path.log_snr(t)
    torch.testing.assert_close(log_snr, torch.log(c.a / c.s), rtol=0, atol=1e-10)
    assert bool((log_snr.diff() < 0).all())


@each([*GAUSSIAN, PFGMPP()])
def test_ends_are_finite_and_log_snr_is_a_number_or_infinite_there(path: Path):
    ends = path.coefficients(torch.tensor([0.0, 1.0]))
    assert all(bool(value.isfinite().all()) for value in (ends.a, ends.b, ends.s))
    log_snr = path.log_snr(torch.tensor([0.0, 1.0]))
    assert float(log_snr[0]) > float(log_snr[1])


@each([*GAUSSIAN, PFGMPP()])
def test_times_of_a_batch_give_the_coefficients_of_each(path: Path):
    t = torch.tensor([0.1, 0.5, 0.9])
    batch, log_snr = path.coefficients(t), path.log_snr(t)
    times = path.time_of(log_snr)
    for i in range(3):
        single = path.coefficients(t[i])
        for whole, one in zip(batch, single, strict=True):
            assert whole.dtype == one.dtype == torch.float64
            # To rounding: a vectorised exp differs from the scalar one in the last bit.
            torch.testing.assert_close(whole[i], one, rtol=1e-13, atol=1e-16)
        torch.testing.assert_close(times[i], path.time_of(log_snr[i]), rtol=1e-12, atol=0)
    shape = (3, 2, 4)
    mixed = path.mix(torch.ones(shape), torch.ones(shape), t, torch.ones(shape) if path.drifts else None)
    assert mixed.shape == shape and mixed.dtype == torch.float32


def test_variance_preserving_paths_preserve_the_variance():
    t = torch.linspace(0, 1, 11)
    for path in (VariancePreserving(), Cosine(), SquareRoot(), Shifted(VariancePreserving(), 4.0)):
        c = path.coefficients(t)
        torch.testing.assert_close(c.a**2 + c.s**2, torch.ones(11, dtype=torch.float64), rtol=0, atol=1e-14)


@each(GAUSSIAN)
def test_moments_of_the_sde_are_those_of_the_path(path: Path):
    # The equations of the mean and the variance of dx = (f x + w y) dt + g dW, m' = f m + w y and v' = 2 f v + g^2,
    # integrated from t = 0.05 for x0 = 2, y = -1; 1e-6 relative is what the integration leaves at its tolerance.
    x0, y, begin, end = 2.0, -1.0, 0.05, 0.95

    def rates(t: float, moments: np.ndarray) -> list[float]:
        f, w, g2 = (float(value) for value in path.diffusion(t))
        assert g2 > 0
        return [f * moments[0] + w * y, 2 * f * moments[1] + g2]

    c, final = path.coefficients(begin), path.coefficients(end)
    start = [float(c.a * x0 + c.b * y), float(c.s) ** 2]
    mean, variance = solve_ivp(rates, (begin, end), start, rtol=1e-9, atol=1e-12).y[:, -1]
    assert mean == pytest.approx(float(final.a * x0 + final.b * y), rel=1e-6, abs=1e-8)
    assert variance == pytest.approx(float(final.s) ** 2, rel=1e-6)


@each([VariancePreserving(), OUVE(), RDDM(), BBED()])
def test_marginals_of_the_simulated_sde_are_those_of_the_path(path: Path):
    # Euler-Maruyama from x0 = 1 and y = -1 known to s(0.3), 200 steps to 0.7; 8,000 walkers.
    generator = torch.Generator().manual_seed(0)
    steps, walkers, begin, end, y = 200, 8_000, 0.3, 0.7, -1.0
    times = torch.linspace(begin, end, steps + 1, dtype=torch.float64)
    c, final = path.coefficients(times[0]), path.coefficients(times[-1])
    x = c.a + c.b * y + c.s * torch.randn(walkers, dtype=torch.float64, generator=generator)
    dt = (end - begin) / steps
    f, w, g2 = (value.tolist() for value in path.diffusion(times))
    for i in range(steps):
        noise = torch.randn(walkers, dtype=torch.float64, generator=generator)
        x = x + (f[i] * x + w[i] * y) * dt + (g2[i] * dt) ** 0.5 * noise
    # Five standard errors of the mean; 4 % for the deviation, of which 0.8 % is one standard error, the rest the step's.
    assert float(x.mean()) == pytest.approx(float(final.a + final.b * y), abs=5 * float(final.s) / walkers**0.5 + 4e-3)
    assert float(x.std()) == pytest.approx(float(final.s), rel=0.04)


@each(GAUSSIAN)
def test_fresh_noise_of_the_chain_fits_into_the_marginals(path: Path):
    # It must fit into s_r, and there is none of it in no time: rho / s is sqrt(2 h), 2e-4 at most over 1e-9.
    t, r, near = 0.8, 0.55, 0.8 - 1e-9
    assert 0 < float(path.fresh_noise(t, r)) < float(path.coefficients(r).s)
    assert float(path.fresh_noise(t, near) / path.coefficients(near).s) < 1e-3


@each([VariancePreserving(), BrownianBridge(), SchroedingerBridgeVE(), OUVE()])
def test_fresh_noise_of_the_sde_is_that_of_its_exact_posterior(path: Path):
    # From the SDE's own transition: x_t given x_r has slope k = a_t / a_r and variance s_t^2 - k^2 s_r^2.
    t, r = 0.7, 0.4
    at, ar = path.coefficients(t), path.coefficients(r)
    transition = at.s**2 - (at.a / ar.a) ** 2 * ar.s**2
    posterior = ar.s**2 * transition / at.s**2
    assert float(path.fresh_noise(t, r)) == pytest.approx(float(posterior.sqrt()), rel=1e-12)


def test_mix_places_data_and_noise():
    x0, z = torch.ones(3, 2), torch.full((3, 2), 2.0)
    mixed = RectifiedFlow().mix(x0, z, torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(mixed[:, 0], torch.tensor([1.0, 1.25, 2.0]))


@each(TO_NOISE)
def test_start_is_pure_noise_whatever_y_conditions(path: Path):
    z = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    expected = z * float(path.coefficients(0.9).s)
    torch.testing.assert_close(path.start(z, t=0.9), expected)
    torch.testing.assert_close(path.start(z, torch.ones(2, 3), 0.9), expected)


@each([path for path in TO_Y if not isinstance(path, Resfusion)])
def test_start_is_y_plus_noise(path: Path):
    # As published; not the mean a x0 + b y, since x0 is not known.
    z, y = torch.full((2, 3), 2.0), torch.full((2, 3), 5.0)
    for t in (1.0, 0.97):
        s = float(path.coefficients(t).s)
        if (
            not isinstance(path, SchroedingerBridgeVP | TrigonometricBridge) or t == 1
        ):  # whose a + b is 1 at the ends only
            torch.testing.assert_close(path.start(z, y, t), y + s * z)


@each(BRIDGES)
def test_bridge_starts_at_y_exactly_and_denoisers_answer_there(path: Path):
    y = torch.full((2, 3), 5.0, dtype=torch.float64)
    start = path.start(torch.ones_like(y), y)
    torch.testing.assert_close(start, y, rtol=1e-14, atol=0)
    exact = GaussianDenoiser(torch.full((3,), 0.3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), path)
    torch.testing.assert_close(exact(start, torch.tensor(1.0), y), torch.full_like(y, 0.3))  # y tells it nothing more
    network = NetworkDenoiser(Doubling(), path)
    assert bool(network(start.float(), torch.tensor(1.0), y.float()).isfinite().all())
    assert bool(network.along(torch.tensor([1.0, 0.5]))[0](start.float(), y.float()).isfinite().all())
    elsewhere = NetworkDenoiser(Doubling(), EDM()).on(path)
    assert bool(elsewhere(start.float(), torch.tensor(1.0), y.float()).isfinite().all())


class Doubling(torch.nn.Module):
    def forward(self, x, label, y):
        return 2 * x + y


@each(TO_Y)
def test_samples_of_a_path_that_drifts_need_y(path: Path):
    denoiser = GaussianDenoiser(torch.zeros(3), torch.ones(3), path)
    with pytest.raises(ValueError, match=f"{type(path).__name__}.* drifts to y, which is missing"):
        sample(denoiser, steps=3, shape=(2, 3))


@each(TO_Y)
@pytest.mark.parametrize("solver", [Exponential(order=2), Exponential(order=1, stochasticity=1.0)], ids=["ODE", "SDE"])
def test_samples_of_every_path_to_y_have_the_conditional_mean_and_spread(path: Path, solver: Exponential):
    # x0 given y is N(0.5 y + 1, 0.3^2). 4,000 samples in 100 steps from t = 1: five standard errors and the integration
    # error; OUVE and ResShift, whose t = 1 still has a of 0.22 and 0.02 of the error of their start.
    generator = torch.Generator().manual_seed(1)
    y = torch.full((4000, 1), -0.6, dtype=torch.float64)
    exact = GaussianDenoiser(0.5 * y[0] + 1, torch.tensor([0.09], dtype=torch.float64), path)

    def noise(step, shape, dtype, device):
        return torch.randn(shape, dtype=dtype, generator=generator)

    x = sample(exact, solver=solver, steps=100, grid=Quadratic(), y=y, noise=noise)
    slack = 0.3 if isinstance(path, OUVE) else 0.0
    assert float(x.mean()) == pytest.approx(0.7, abs=0.035 + slack)
    assert float(x.std()) == pytest.approx(0.3, abs=0.03)
