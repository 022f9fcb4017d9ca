"""ResShift, RDDM and Resfusion: their published schedules, chains and starts as values of (a, b, s) and rho."""

import math

import numpy as np
import pytest
import torch

from ornstein.core.paths import RDDM, Path, Resfusion, ResShift, VariancePreserving


def chain_step(path: Path, t: float, r: float, share: float = 1.0) -> dict[str, float]:
    """The weights of x_t, x0, y and z in x_r = a_r x0 + b_r y + sqrt(s_r^2 - rho^2) (x_t - a_t x0 - b_t y) / s_t + rho z."""
    at, ar = (tuple(float(v) for v in path.coefficients(u)[:3]) for u in (t, r))
    rho = share * float(path.fresh_noise(t, r))
    keep = math.sqrt(ar[2] ** 2 - rho**2) / at[2]
    return {"x": keep, "x0": ar[0] - keep * at[0], "y": ar[1] - keep * at[1], "z": rho}


def published_eta(steps: int, kappa: float, power: float) -> np.ndarray:
    """Yue et al. (2023): sqrt(eta_k) = sqrt(eta_1) base^beta_k, beta_k = ((k - 1) / (T - 1))^p (T - 1)."""
    first, last = 0.04 / kappa, 0.99
    base = math.exp(math.log(last / first) / (steps - 1))
    beta = (np.arange(steps) / (steps - 1)) ** power * (steps - 1)
    return (first * base**beta) ** 2


def test_equal_times_of_resshift_are_its_published_schedule():
    steps, path = 15, ResShift(kappa=2.0, power=0.3)
    c = path.coefficients(torch.linspace(0, 1, steps, dtype=torch.float64))
    eta = torch.from_numpy(published_eta(steps, 2.0, 0.3))
    torch.testing.assert_close(c.b, eta, rtol=1e-12, atol=0)
    torch.testing.assert_close(c.a, 1 - eta, rtol=1e-12, atol=0)
    torch.testing.assert_close(c.s, 2 * torch.sqrt(eta), rtol=1e-12, atol=0)


@pytest.mark.parametrize("k", [1, 7, 14])
def test_resshift_chain_has_the_published_posterior(k):
    # q(x_{k-1} | x_k, x0, y) = N(eta_{k-1} / eta_k x_k + alpha_k / eta_k x0, kappa^2 eta_{k-1} / eta_k alpha_k).
    eta = published_eta(15, 2.0, 0.3)
    alpha = eta[k] - eta[k - 1]
    step = chain_step(ResShift(), k / 14, (k - 1) / 14)
    assert step["x"] == pytest.approx(eta[k - 1] / eta[k], rel=1e-9)
    assert step["x0"] == pytest.approx(alpha / eta[k], rel=1e-9)
    assert step["y"] == pytest.approx(0, abs=1e-12)
    assert step["z"] ** 2 == pytest.approx(4 * eta[k - 1] / eta[k] * alpha, rel=1e-9)


def test_rddm_is_the_limit_of_its_published_schedule():
    # alpha_k falls and beta_k^2 grows linearly in k, scaled to sums of 1 and sigma^2; an error of order 1 / T.
    steps, path = 1000, RDDM(sigma=0.1)
    k = np.arange(1, steps + 1)
    alpha = k[::-1] / (steps * (steps + 1) / 2)
    beta2 = 0.01 * k / (steps * (steps + 1) / 2)
    c = path.coefficients(torch.from_numpy(k / steps))
    np.testing.assert_allclose(c.b, np.cumsum(alpha), atol=1.1 / steps)
    np.testing.assert_allclose(c.s**2, np.cumsum(beta2), atol=0.01 * 1.1 / steps)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_rddm_chain_has_the_published_update(share):
    # x_r = x_t - alpha res - (beta_bar_t - sqrt(beta_bar_r^2 - sigma^2)) eps + sigma z, res = y - x0,
    # sigma^2 = eta beta^2 beta_bar_r^2 / beta_bar_t^2, eps = (x_t - x0 - alpha_bar_t res) / beta_bar_t.
    path, t, r, (x, x0, y, z) = RDDM(sigma=0.3), 0.7, 0.4, (0.9, -0.4, 1.3, 0.5)
    bar = {u: (float(path.coefficients(u).b), float(path.coefficients(u).s)) for u in (t, r)}
    residual = y - x0
    eps = (x - x0 - bar[t][0] * residual) / bar[t][1]
    sigma = share * math.sqrt((bar[t][1] ** 2 - bar[r][1] ** 2) * bar[r][1] ** 2 / bar[t][1] ** 2)
    published = x - (bar[t][0] - bar[r][0]) * residual
    published += -(bar[t][1] - math.sqrt(bar[r][1] ** 2 - sigma**2)) * eps + sigma * z
    step = chain_step(path, t, r, share)
    assert step["x"] * x + step["x0"] * x0 + step["y"] * y + step["z"] * z == pytest.approx(published, rel=1e-12)


def test_resfusion_chain_has_the_published_posterior():
    # q(x_r | x_t, x0, R) with R = y - x0 and alpha_bar of the schedule: that of DDPM for x - R, moved by R.
    path, t, r = Resfusion(), 0.9, 0.6
    at, ar = (path.coefficients(u) for u in (t, r))
    hat_t, hat_r = (float(1 - c.s**2) for c in (at, ar))  # alpha_bar
    alpha = hat_t / hat_r
    x, x0, y = 0.9, -0.4, 1.3
    residual = y - x0
    mean = math.sqrt(alpha) * (1 - hat_r) * (x - residual) + math.sqrt(hat_r) * (1 - alpha) * (x0 - residual)
    published = mean / (1 - hat_t) + residual
    step = chain_step(path, t, r)
    assert step["x"] * x + step["x0"] * x0 + step["y"] * y == pytest.approx(published, rel=1e-10)
    assert step["z"] ** 2 == pytest.approx((1 - hat_r) / (1 - hat_t) * (1 - alpha), rel=1e-10)


def test_resfusion_starts_where_x0_has_gone():
    # The acceleration point, sqrt(alpha_bar) = 1/2: x = y / 2 + sqrt(3/4) z, whatever x0 was.
    path = Resfusion(VariancePreserving())
    y, z = torch.full((2, 3), 4.0), torch.full((2, 3), 2.0)
    torch.testing.assert_close(path.start(z, y), 2.0 + math.sqrt(3) * torch.ones(2, 3))
    assert float(path.coefficients(1.0).a) == 0
