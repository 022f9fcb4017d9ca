"""Integrals of an exponential against a polynomial: the weights of exponential integrators.

A step of length h in the log-SNR integrates exp(-p (h - u)) f(u) over u from 0 to h, with f interpolated through its
values at some nodes: p = 1 for x0_hat, 1 + stochasticity for its SDE twin, and -1 for the noise.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
QUADRATURE = 32  # points a step: 1e-12 for steps of up to 8 in the log-SNR


def phi(order: int, z: Array) -> Array:
    """phi_k(z) = integral over v in [0, 1] of exp((1 - v) z) v^(k - 1) / (k - 1)!, for k = `order` at least 1.

    phi_1(z) = (exp(z) - 1) / z and phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z; where |z| < 1 the recurrence cancels, and the
    Taylor series takes its place.

    Source: Hochbruck and Ostermann (2010), Exponential integrators, Acta Numerica 19, section 2.
    """
    z = np.asarray(z, dtype=np.float64)
    small = np.abs(z) < 1
    near, far = np.where(small, z, 0.0), np.where(small, 1.0, z)
    series = np.full_like(z, 1 / math.factorial(order + 19))
    for n in range(18, -1, -1):
        series = series * near + 1 / math.factorial(order + n)
    value = np.expm1(far) / far
    for k in range(1, order):
        value = (value - 1 / math.factorial(k)) / far
    return np.where(small, series, value)


def log_moments(count: int, h: Array, p: Array | float) -> Array:
    """m_k = integral over u in [0, h] of exp(-p (h - u)) (u / h)^k for k = 0 ... count - 1: (..., count) from (...)."""
    return np.stack([h * math.factorial(k) * phi(k + 1, -p * h) for k in range(count)], axis=-1)


def power_moments(count: int, h: Array, p: Array | float, sign: int) -> Array:
    """The same integrals of exp(sign (u - h))^k, the powers of a / s (sign 1) or of s / a (sign -1) over their ends."""
    return np.stack([h * phi(1, -(p + sign * k) * h) for k in range(count)], axis=-1)


def angle_weights(nodes: Array, base: Array, end: Array, p: Array, scale: float) -> Array:
    """w of sum_j w_j f_j, the integral of exp(-p (end - l)) f(l) over the log-SNR l with f a polynomial in the angle

        theta(l) = atan(exp(-l) / scale),

    by Gauss-Legendre quadrature: the integrand has no closed form, and is smooth.

    Args:
        nodes: log-SNR of the values, (steps, n); -infinity (pure noise) is the angle pi / 2.
        base, end: finite log-SNR of the steps' ends, (steps,).
        p: as in `log_moments`, (steps,).
        scale: of sigma = s / a, in the data's units, above 0.
    """
    places, weights = np.polynomial.legendre.leggauss(QUADRATURE)
    h = end - base
    between = base[:, None] + h[:, None] * (places + 1) / 2
    kernel = h[:, None] / 2 * weights * np.exp(-p[:, None] * (end[:, None] - between))

    def angle(log_snr: Array) -> Array:
        first, last = np.arctan(np.exp(-base) / scale), np.arctan(np.exp(-end) / scale)
        with np.errstate(over="ignore"):
            return (np.arctan(np.exp(-log_snr) / scale) - last[:, None]) / (first - last)[:, None]

    powers = angle(between)[:, :, None] ** np.arange(nodes.shape[1])
    return interpolation_weights(angle(nodes), (kernel[:, :, None] * powers).sum(1))


def interpolation_weights(nodes: Array, moments: Array) -> Array:
    """w with sum_j w_j nodes_j^k = moments_k: the integral of the polynomial through f_j at nodes_j is sum_j w_j f_j.

    Args:
        nodes: (..., n), distinct.
        moments: (..., n), the integrals of the powers 0 ... n - 1 of the variable that the nodes are given in.
    """
    powers = nodes[..., None, :] ** np.arange(nodes.shape[-1])[:, None]
    return np.linalg.solve(powers, moments[..., None])[..., 0]
