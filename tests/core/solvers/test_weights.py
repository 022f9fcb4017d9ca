"""The weights of exponential integrators are integrals: compared with quadrature, and exact for polynomials."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ornstein.core.solvers.weights import interpolation_weights, log_moments, phi, power_moments

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(80)


def integral(function, low: float, high: float) -> float:
    """By 20 panels of 80 Gauss points: to rounding for these smooth integrands."""
    edges = np.linspace(low, high, 21)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    return float((half * WEIGHTS * function(middle + half * POINTS)).sum())


@given(order=st.integers(1, 4), z=st.floats(-40, 40))
def test_phi_is_its_integral(order: int, z: float):
    wanted = integral(lambda v: np.exp((1 - v) * z) * v ** (order - 1) / math.factorial(order - 1), 0, 1)
    # The recurrence loses up to three digits just beyond |z| = 1.
    assert phi(order, np.array([z]))[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("z", [0.0, 1e-300, 1e-12, -1e-5])
def test_phi_at_nothing_is_one_over_the_factorial(z: float):
    for order in (1, 2, 3, 4):
        assert phi(order, np.array([z]))[0] == pytest.approx(1 / math.factorial(order), rel=1e-4)


@given(h=st.floats(1e-3, 8), p=st.sampled_from([-1.0, 1.0, 1.5, 2.0]), k=st.integers(0, 3))
def test_moments_are_their_integrals(h: float, p: float, k: int):
    value = log_moments(4, np.array([h]), p)[0, k]
    assert value == pytest.approx(integral(lambda u: np.exp(-p * (h - u)) * (u / h) ** k, 0, h), rel=1e-11)
    for sign in (1, -1):
        value = power_moments(4, np.array([h]), p, sign)[0, k]
        wanted = integral(lambda u: np.exp(-p * (h - u)) * np.exp(sign * (u - h)) ** k, 0, h)  # noqa: B023
        assert value == pytest.approx(wanted, rel=1e-11)


@given(h=st.floats(0.01, 3), nodes=st.lists(st.floats(0.05, 2), min_size=2, max_size=2))
def test_interpolation_is_exact_for_a_parabola(h: float, nodes: list[float]):
    at = np.array([0, -nodes[0], -nodes[0] - nodes[1]])
    weights = interpolation_weights(at[None] / h, log_moments(3, np.array([h]), 1.0))[0]
    wanted = integral(lambda u: np.exp(-(h - u)) * (2 - u + 3 * u**2), 0, h)
    assert weights @ (2 - at + 3 * at**2) == pytest.approx(wanted, rel=1e-8)
