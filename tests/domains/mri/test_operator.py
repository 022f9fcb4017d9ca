"""The encoding operators are the Fourier transforms they claim to be, with exact adjoints and short normals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ornstein.core.operators import conjugate_gradient
from ornstein.domains.mri.operator import MultiCoil, NonCartesian, encode, fft, ifft

# Image batch and maps batch that go together: K samples of one slice, slices, both.
batches = st.sampled_from(
    [((2,), ()), ((2,), (2,)), ((4,), (1,)), ((3, 2), (3, 1)), ((3, 2), (1, 2)), ((2, 3, 2), (2, 1, 2))]
)
sizes = st.integers(4, 13)


def random(*shape: int, dtype: torch.dtype = torch.complex64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def random_mask(*shape: int, seed: int = 0) -> Tensor:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[..., shape[-1] // 2] = True
    return mask


def direct(image: Tensor, maps: Tensor, k: Tensor) -> Tensor:
    """The definition as a sum over pixels: image (sets, R, P), maps (sets, coils, R, P), k (..., 2) to (coils, ...)."""
    readout, phase = image.shape[-2:]
    y = (torch.arange(readout) - readout // 2).double() / readout
    x = (torch.arange(phase) - phase // 2).double() / phase
    wave = torch.exp(-2j * torch.pi * (k[..., 0, None, None] * y[:, None] + k[..., 1, None, None] * x))
    return torch.einsum("scrp,srp,...rp->c...", maps, image, wave) / (readout * phase) ** 0.5


@given(readout=sizes, phase=sizes)
def test_transform_is_centred_and_orthonormal(readout, phase):
    image = random(1, readout, phase, dtype=torch.complex128)
    grid = torch.stack(
        torch.meshgrid(torch.arange(readout) - readout // 2, torch.arange(phase) - phase // 2, indexing="ij"), -1
    )
    ones = torch.ones(1, 1, readout, phase, dtype=torch.complex128)
    torch.testing.assert_close(fft(image), direct(image, ones, grid.double()))  # float64: closed form
    torch.testing.assert_close(ifft(fft(image)), image)


@given(readout=sizes, phase=sizes, sets=st.integers(1, 2), batch=batches, axes=st.sampled_from([(-2, -1), (-1,)]))
def test_adjoint_matches_forward(assert_adjoint, readout, phase, sets, batch, axes):
    images, slices = batch
    operator = MultiCoil(random(*slices, sets, 3, readout, phase), random_mask(phase), axes)
    assert_adjoint(operator, (*images, sets, readout, phase), (*images, 3, readout, phase))


@given(readout=sizes, phase=sizes, batch=batches, axes=st.sampled_from([(-2, -1), (-1,)]), sets=st.integers(1, 2))
def test_forward_is_the_masked_centred_transform_of_the_coil_images(readout, phase, batch, axes, sets):
    images, slices = batch
    maps = random(*slices, sets, 3, readout, phase, dtype=torch.complex128)
    mask = random_mask(readout, phase) if axes == (-2, -1) else random_mask(phase)
    x = random(*images, sets, readout, phase, dtype=torch.complex128, seed=1)
    expected = fft((x.unsqueeze(-3) * maps).sum(-4), axes) * mask
    torch.testing.assert_close(MultiCoil(maps, mask, axes).forward(x), expected)


@given(readout=sizes, phase=sizes, sets=st.integers(1, 2), batch=batches, seed=st.integers(0, 99))
def test_the_short_normal_equals_adjoint_of_forward(readout, phase, sets, batch, seed):
    images, slices = batch
    inside = torch.rand((*slices, sets, 1, readout, phase), generator=torch.Generator().manual_seed(seed)) < 0.6
    maps = random(*slices, sets, 3, readout, phase, dtype=torch.complex128) * inside
    operator = MultiCoil(maps, random_mask(phase, seed=seed), (-1,))
    x = random(*images, sets, readout, phase, dtype=torch.complex128, seed=1)
    expected = operator.adjoint(operator.forward(x))
    torch.testing.assert_close(operator.normal(x), expected)


@given(readout=sizes, phase=sizes, sets=st.integers(1, 2), batch=batches, shift=st.floats(0.01, 10))
def test_solve_is_the_inverse_of_the_shifted_normal(readout, phase, sets, batch, shift):
    images, slices = batch
    inside = torch.rand((*slices, sets, 1, readout, phase), generator=torch.Generator().manual_seed(0)) < 0.7
    maps = random(*slices, sets, 3, readout, phase, dtype=torch.complex128) * inside
    operator = MultiCoil(maps, random_mask(phase), (-1,))
    b = random(*images, sets, readout, phase, dtype=torch.complex128, seed=1)
    x = operator.solve(b, shift, iterations=0)  # no iterations: the rows are solved exactly
    torch.testing.assert_close(operator.normal(x) + shift * x, b, rtol=1e-9, atol=1e-9)


def test_rows_of_different_widths_are_solved_exactly_block_by_block(coils, lines):
    rows, phase = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 80), indexing="ij")
    maps = (coils * (rows**2 + phase**2 < 0.8)).to(torch.complex128)[None]
    operator = MultiCoil(maps.expand(2, *maps.shape), lines(80, 4, 8), (-1,))
    assert operator._rows is not None and len({block.shape[-1] for block in operator._rows.matrices}) > 2
    b = random(2, 3, 1, 96, 80, dtype=torch.complex128)
    operator = MultiCoil(maps.expand(2, 1, *maps.shape), lines(80, 4, 8), (-1,))
    x = operator.solve(b, 0.1, iterations=0)
    torch.testing.assert_close(operator.normal(x) + 0.1 * x, b, rtol=1e-9, atol=1e-9)


def test_single_precision_keeps_its_digits(coils, head, lines):
    mask = lines(80, 4, 8)
    narrow, wide = (MultiCoil(coils[None].to(d), mask, (-1,)) for d in (torch.complex64, torch.complex128))
    x = head[None, None]
    error = (narrow.normal(x) - wide.normal(x.to(torch.complex128))).norm() / x.norm()
    assert error < 1e-6  # float32 has 6e-8 a number


@given(readout=sizes, phase=sizes, sets=st.integers(1, 2), seed=st.integers(0, 99))
def test_trajectory_operator_is_its_definition(readout, phase, sets, seed):
    generator = torch.Generator().manual_seed(seed)
    k = (torch.rand(4, 5, 2, generator=generator, dtype=torch.float64) - 0.5) * torch.tensor([readout, phase])
    maps = random(sets, 3, readout, phase, dtype=torch.complex128)
    x = random(sets, readout, phase, dtype=torch.complex128, seed=1)
    y = NonCartesian(maps, k, accuracy=1e-10).forward(x[None])[0]
    expected = direct(x, maps, k)
    assert (y - expected).norm() < 1e-8 * expected.norm()  # accuracy asked for: 1e-10 of the largest


def test_trajectory_on_the_grid_is_the_cartesian_operator(coils, head):
    axes = torch.arange(96) - 48, torch.arange(80) - 40
    k = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).float()
    x = head[None, None]
    full = MultiCoil(coils[None], torch.ones(80, dtype=torch.bool))
    error = (NonCartesian(coils[None], k).forward(x) - full.forward(x)).norm() / x.norm()
    assert error < 2e-5  # FINUFFT's own single precision, asked for 1e-6


@given(readout=sizes, phase=sizes, sets=st.integers(1, 2), batch=batches)
def test_trajectory_operator_has_an_exact_adjoint(assert_adjoint, readout, phase, sets, batch):
    images, slices = batch
    k = (torch.rand(4, 6, 2, generator=torch.Generator().manual_seed(1)) - 0.5) * torch.tensor([readout, phase])
    operator = NonCartesian(random(*slices, sets, 3, readout, phase), k)
    assert_adjoint(operator, (*images, sets, readout, phase), (*images, 3, 4, 6))


@given(readout=sizes, phase=sizes, batch=batches)
def test_convolution_is_the_normal_of_the_trajectory_operator(readout, phase, batch):
    images, slices = batch
    k = (torch.rand(4, 6, 2, generator=torch.Generator().manual_seed(1)) - 0.5) * torch.tensor([readout, phase])
    operator = NonCartesian(random(*slices, 2, 3, readout, phase, dtype=torch.complex128), k.double(), accuracy=1e-10)
    x = random(*images, 2, readout, phase, dtype=torch.complex128, seed=1)
    expected = operator.adjoint(operator.forward(x))
    assert (operator.normal(x) - expected).norm() < 1e-8 * expected.norm()


def test_density_weights_of_full_spokes_make_the_adjoint_an_image(coils, head):
    angle = torch.pi * torch.arange(160) / 160
    radius = (torch.arange(192) - 96) / 192 * 1.0
    k = torch.stack([radius * 96 * torch.cos(angle)[:, None], radius * 80 * torch.sin(angle)[:, None]], -1).float()
    operator = NonCartesian(coils[None], k)
    x = head[None, None]
    y = operator.forward(x)
    weighted, plain = operator.adjoint(y * operator.density), operator.adjoint(y)

    def error(image: Tensor) -> float:
        scale = torch.vdot(image.flatten(), x.flatten()) / image.norm() ** 2
        return float((scale * image - x).norm() / x.norm())

    # Measured .095 against .63; what is left is the corners of k-space that no spoke reaches.
    assert error(weighted) < 0.15 < 0.5 < error(plain)
    # The weights are those of an isometry: the image comes at its own scale (measured 1.02).
    assert (torch.vdot(x.flatten(), weighted.flatten()).abs() / x.norm() ** 2).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("two_dimensional", [False, True])
def test_encode_gives_an_operator_that_explains_the_data(coils, head, lines, two_dimensional):
    mask = random_mask(96, 80) if two_dimensional else lines(80, 2, 16)
    kspace = fft(head * coils)[None]
    operator, y = encode(kspace * mask, coils[None], mask)
    assert operator.axes == ((-2, -1) if two_dimensional else (-1,))
    # Float32 transforms on both sides.
    torch.testing.assert_close(operator.forward(head[None, None]), y, rtol=1e-5, atol=2e-6)
    operator, y = encode(kspace, coils[None])
    torch.testing.assert_close(operator.adjoint(y)[0, 0], head, rtol=1e-5, atol=2e-6)


def test_undersampled_noiseless_data_give_the_image_back(coils, head, lines):
    mask = lines(80, 2, 16)
    operator, y = encode((fft(head * coils) * mask)[None], coils[None] * (head.abs() > 0), mask)
    x = conjugate_gradient(operator.normal, operator.adjoint(y), iterations=300)
    assert (
        x[0, 0] - head
    ).norm() < 0.02 * head.norm()  # measured at 300 steps: the system is solvable but ill-conditioned


def test_wrong_shapes_are_named(coils):
    with pytest.raises(AssertionError, match="mask"):
        MultiCoil(coils[None], torch.ones(81, dtype=torch.bool))
    with pytest.raises(AssertionError, match="lack"):
        MultiCoil(coils, torch.ones(80, dtype=torch.bool))
