"""The benchmark's own parts: a peer that is trained on wrong gradients would be no peer."""

import sys

import pytest
import torch

from ornstein.core.operators import conjugate_gradient
from ornstein.domains.mri.operator import MultiCoil


@pytest.fixture(scope="module")
def unrolled(repository):
    """The module of the supervised network."""
    sys.path.insert(0, str(repository / "benchmarks"))
    try:
        import mri_unrolled
    finally:
        sys.path.pop(0)
    return mri_unrolled


@pytest.fixture
def problem():
    """A small operator in float64 and a right side."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 1, 3, 4, 8, dtype=torch.complex128, generator=generator)
    maps = maps / maps.abs().square().sum(2, keepdim=True).sqrt()
    mask = torch.tensor([1, 0, 1, 1, 1, 0, 0, 1], dtype=torch.bool)
    operator = MultiCoil(maps, mask, axes=(-1,))
    return operator, torch.randn(2, 1, 4, 8, dtype=torch.complex128, generator=generator)


def test_gradient_of_the_data_step_is_that_of_finite_differences(unrolled, problem):
    operator, b = problem
    shift = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def solve(b, shift):  # 40 iterations reach rounding errors for 32 unknowns
        return torch.view_as_real(unrolled.Solve.apply(operator, b, torch.zeros_like(b), shift, 40))

    assert torch.autograd.gradcheck(solve, (b.requires_grad_(), shift))


def test_untrained_network_is_the_regularised_solution(unrolled, problem):
    operator, b = problem[0], problem[1].to(torch.complex64)
    operator = MultiCoil(operator.sensitivities.to(torch.complex64), operator.mask, axes=(-1,))
    model = unrolled.Unrolled(steps=2, iterations=30, channels=(8, 8), patch=1, blocks=1)
    found, shift = b, model.shifts[0].exp()
    found = conjugate_gradient(operator.normal, b, iterations=30, shift=shift)
    for _ in range(2):  # its U-Net's last convolution starts at zero, so that D is the identity
        found = conjugate_gradient(operator.normal, b + shift * found, iterations=30, shift=shift)
    # float32 conjugate gradients, condition number about 20
    torch.testing.assert_close(model(operator, b), found, rtol=1e-3, atol=1e-4)


def test_training_measurements_agree_with_their_image(unrolled):
    import numpy as np

    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in (96, 101, 8)), indexing="ij")
    volume = ((i / 0.7) ** 2 + (j / 0.6) ** 2 < 1) * (1 + 0.3 * np.sin(9 * i) * np.cos(7 * j) + 0 * k)
    batches = unrolled.Measurements([(1.0, [(volume.astype(np.float32), np.eye(4))])], slices=2, rows=64)
    for step in range(4):
        made = batches(step, torch.Generator().manual_seed(step))
        operator = MultiCoil(made["maps"], made["mask"], axes=(-1,))
        left = made["y"] - operator.forward(made["x0"])
        # noise of .005 and what one set of estimated maps cannot say
        assert left.norm() < 0.1 * made["y"].norm()
        assert made["mask"].float().mean() == pytest.approx(1 / unrolled.SCANS[step][0], abs=0.02)
