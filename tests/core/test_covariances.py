"""Covariances by modes and by Fourier components: against dense linear algebra, and their estimates against their definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ornstein.core.covariances import Covariance, Diagonal, Modes, from_state, gaspari_cohn, ledoit_wolf

REAL, COMPLEX = torch.float64, torch.complex128
seeds = st.integers(0, 2**20)
dtypes = st.sampled_from([REAL, COMPLEX])


def randn(seed: int, *shape: int, dtype: torch.dtype = REAL) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def modes(seed: int, d: int, k: int, dtype: torch.dtype) -> Modes:
    basis, _ = torch.linalg.qr(randn(seed, d, k, dtype=dtype))
    return Modes(basis, randn(seed + 1, k).exp(), 0.3)


def stationary(seed: int, shape: tuple[int, ...], axes: tuple[int, ...], real: bool) -> Diagonal:
    if real:  # the spectrum of a real field is the power of one
        return Diagonal(torch.fft.fftn(randn(seed, *shape), dim=axes, norm="ortho").abs().square() + 0.1, axes)
    return Diagonal(randn(seed, *shape).exp(), axes)


@st.composite
def covariances(draw) -> tuple[Covariance, Tensor]:
    """A covariance and its matrix by other means."""
    seed, dtype = draw(seeds), draw(dtypes)
    kind = draw(st.sampled_from(["diagonal", "modes", "stationary"]))
    if kind == "diagonal":
        variances = randn(seed, draw(st.integers(1, 4)), draw(st.integers(1, 3))).exp()
        return Diagonal(variances), variances.flatten().diag()
    if kind == "modes":
        d = draw(st.integers(1, 7))
        c = modes(seed, d, draw(st.integers(1, d)), dtype)
        span = c.basis @ c.basis.mH
        unit = torch.eye(d, dtype=dtype)
        return c, c.basis @ c.variances.diag().to(dtype) @ c.basis.mH + 0.3 * (unit - span)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    axes = draw(st.sampled_from([(0,), (1, 2), (-1,), (0, 1, 2)]))
    c = stationary(seed, shape, axes, real=dtype == REAL)
    # Fourier's matrix over the axes, by its definition.
    fourier = torch.ones(1, 1, dtype=COMPLEX)
    for axis, n in enumerate(shape):
        k = torch.arange(n, dtype=REAL)
        over = axis in [a % 3 for a in axes]
        factor = torch.exp(-2j * math.pi * torch.outer(k, k) / n) / math.sqrt(n) if over else torch.eye(n)
        fourier = torch.kron(fourier, factor.to(COMPLEX))
    matrix = fourier.mH @ c.variances.diag().to(COMPLEX) @ fourier
    return c, matrix.real if dtype == REAL else matrix


@given(pair=covariances(), seed=seeds, dtype=dtypes)
def test_every_covariance_is_its_matrix(pair: tuple[Covariance, Tensor], seed: int, dtype: torch.dtype):
    c, matrix = pair
    x = randn(seed, 3, c.size, dtype=dtype)
    kind = torch.promote_types(matrix.dtype, dtype)
    matrix, flat, unit = matrix.to(kind), x.to(kind), torch.eye(c.size, dtype=kind)

    def near(found: Tensor, wanted: Tensor) -> None:
        torch.testing.assert_close(found.to(wanted.dtype), wanted, rtol=1e-9, atol=1e-9)

    near(c(x), flat @ matrix.mT)
    near(c.solve(x, 0.7, 0.4), torch.linalg.solve(0.49 * matrix + 0.16 * unit, flat.mT).mT)
    near(c.root(c.root(x)), flat @ matrix.mT)
    near(c.diagonal(), matrix.diagonal().real)
    near(c.trace(), matrix.trace().real)
    assert c.largest() == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-9)
    values = torch.stack([c.eigenvalues.sqrt(), 1 / c.eigenvalues])
    inverse = torch.linalg.inv(matrix)
    near(c.dense(values)[1], inverse)
    near(c.diagonal(values)[1], inverse.diagonal().real)
    near(c.trace(values)[1], inverse.trace().real)
    # With values for each item, each has its own function.
    both = c.function(x[:2], values)
    near(both[1], (flat[1:2] @ inverse.mT)[0])
    near(both[:1], c.root(x[:1]).to(kind))


def test_modes_of_a_matrix_are_the_matrix():
    root = randn(0, 6, 6, dtype=COMPLEX)
    matrix = root @ root.mH
    torch.testing.assert_close(Modes.from_matrix(matrix).dense(), matrix)


@given(seed=seeds)
def test_a_stationary_covariance_is_circulant(seed: int):
    matrix = stationary(seed, (8,), (0,), real=True).dense()
    torch.testing.assert_close(matrix.roll((1, 1), (0, 1)), matrix)
    torch.testing.assert_close(matrix, matrix.mT)


def test_real_items_stay_real_and_narrow_ones_narrow():
    x = randn(0, 2, 6).float()
    for c in (modes(0, 6, 3, REAL), stationary(0, (6,), (0,), True), Diagonal(torch.ones(2, 3))):
        assert c(x).dtype == c.solve(x, 1.0, 1.0).dtype == c.root(x).dtype == torch.float32
        assert c.function(x, c.eigenvalues).dtype == torch.float64
        assert c(x.reshape(2, 2, 3)).shape == (2, 2, 3)
    assert modes(0, 6, 3, COMPLEX)(x).dtype == torch.complex64


@pytest.mark.parametrize("kind", ["dense", "low rank", "diagonal", "stationary"])
def test_a_state_in_half_the_digits_is_the_same_covariance(kind: str, tmp_path):
    from ornstein.core.checkpoints import load_model, save_model

    made = {
        "dense": modes(0, 12, 12, REAL),
        "low rank": modes(0, 12, 4, REAL),
        "diagonal": Diagonal(randn(0, 3, 4).exp()),
        "stationary": stationary(0, (3, 4), (-2, -1), True),
    }[kind]
    exact = from_state(made.state_dict(), (3, 4))
    torch.testing.assert_close(exact.dense(), made.dense())
    save_model(tmp_path, made.state_dict(), {"name": "x"}, dtype=torch.bfloat16)
    read = from_state(load_model(tmp_path)[0], (3, 4))
    # bfloat16 keeps 8 bits: directions move by 2^-9, and the covariance by a few times as much.
    torch.testing.assert_close(read.dense(), made.dense(), rtol=0, atol=2e-2 * made.largest())
    torch.testing.assert_close(read.trace(), made.trace(), rtol=1e-6, atol=0)


@given(seed=seeds, dtype=dtypes, n=st.integers(2, 30))
def test_samples_have_their_own_covariance(seed: int, dtype: torch.dtype, n: int):
    x = randn(seed, n, 2, 3, dtype=dtype)
    flat = x.reshape(n, 6)
    sample = torch.atleast_2d(flat.mT.cov())
    torch.testing.assert_close(Modes.from_samples(x, shrinkage=0.0).dense(), sample)
    shrunk = 0.8 * sample + 0.2 * sample.trace() / 6 * torch.eye(6)
    torch.testing.assert_close(Modes.from_samples(x, shrinkage=0.2).dense(), shrunk)
    low = Modes.from_samples(x, rank=2, shrinkage=0.0)
    torch.testing.assert_close(low.trace(), sample.trace().real)
    values = torch.linalg.eigvalsh(sample).flip(0)
    torch.testing.assert_close(low.eigenvalues[: min(2, n - 1)].flip(0), values[: min(2, n - 1)])
    torch.testing.assert_close(Diagonal.from_samples(x).dense().diagonal().real, sample.diagonal().real)


@given(seed=seeds, dtype=dtypes)
def test_shrinkage_is_that_of_ledoit_and_wolf(seed: int, dtype: torch.dtype):
    x = randn(seed, 7, 5, dtype=dtype) * torch.logspace(-1, 0, 5, dtype=REAL)
    x = x - x.mean(0)
    products = x[:, :, None] * x[:, None].conj()  # by the definitions, term by term
    sample = products.mean(0)
    spread = (sample - sample.trace() / 5 * torch.eye(5)).abs().square().sum()
    noise = (products - sample).abs().square().sum() / 7**2
    assert ledoit_wolf(x) == pytest.approx(float((noise / spread).clamp(max=1)), rel=1e-9)


def test_few_samples_are_shrunk_and_come_nearer_to_the_truth():
    truth = torch.logspace(-1, 0, 40, dtype=REAL).flip(0).diag()
    x = randn(0, 20, 40) @ truth.sqrt()
    shrunk, raw = Modes.from_samples(x), Modes.from_samples(x, shrinkage=0.0)
    assert float(shrunk.eigenvalues.min()) > 0
    assert float((shrunk.dense() - truth).norm()) < 0.6 * float((raw.dense() - truth).norm())
    torch.testing.assert_close(shrunk.trace(), raw.trace())


def test_a_spectrum_from_samples_is_the_spectrum():
    c = stationary(3, (2, 8), (1,), real=True)
    x = c.root(randn(0, 20_000, 2, 8))
    found = Diagonal.from_samples(x, axes=(-1,))
    # A component's power has relative deviation sqrt(2 / n) = 0.01 at most: five of them.
    torch.testing.assert_close(found.variances, c.variances, rtol=0.05, atol=0)


def test_gaspari_cohn_falls_smoothly_to_zero_at_twice_its_radius():
    r = torch.linspace(0, 2.5, 2501, dtype=REAL)
    value = gaspari_cohn(3 * r, 3.0)
    assert value[0] == 1 and bool((value[r >= 2] == 0).all()) and bool((value.diff() <= 0).all())
    # 4 - 5 + 5/3 + 5/8 - 1/2 + 1/12 - 2/3 = 5/24 from both sides, with equal slopes.
    assert float(value[1000]) == pytest.approx(5 / 24)
    slope = value.diff() / 1e-3
    assert float((slope.diff().abs() / 1e-3).max()) < 4  # the second derivative stays bounded: no kink
    distance = torch.cdist(*[torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0))] * 2)
    assert float(torch.linalg.eigvalsh(gaspari_cohn(distance, 2.0)).min()) > 0


def test_a_taper_localises_fields_and_helps_few_samples():
    position = torch.arange(30, dtype=REAL)
    distance = (position[:, None] - position).abs()
    truth = torch.exp(-((distance / 2) ** 2) / 2) + 1e-6 * torch.eye(30)
    x = randn(0, 25, 30) @ torch.linalg.cholesky(truth).mT
    tapered, raw = Modes.from_samples(x, taper=gaspari_cohn(distance, 6.0)), Modes.from_samples(x, shrinkage=0.0)
    assert float(tapered.dense()[distance >= 12].abs().max()) < 1e-12
    assert float((tapered.dense() - truth).norm()) < 0.7 * float((raw.dense() - truth).norm())
    torch.testing.assert_close(tapered.diagonal(), raw.diagonal())
    pair = torch.stack([x, x.roll(1, 1)], 1)
    assert Modes.from_samples(pair, taper=gaspari_cohn(distance, 6.0)).dense()[0, 45].abs() < 1e-12


@pytest.mark.parametrize("make", [
    lambda: Diagonal(-torch.ones(3)),
    lambda: Diagonal(torch.ones(3, dtype=COMPLEX)),
    lambda: Diagonal(torch.ones(3), axes=(1,)),
    lambda: Modes(torch.ones(3, 2), torch.ones(2)),
    lambda: Modes(torch.eye(3), torch.ones(2)),
    lambda: Modes(torch.eye(3), -torch.ones(3)),
    lambda: Modes(torch.eye(3)[:, :2], torch.ones(2), -1.0),
    lambda: Modes.from_matrix(torch.ones(2, 3)),
    lambda: Modes.from_samples(torch.ones(1, 3)),
    lambda: Modes.from_samples(torch.ones(4, 3), rank=0),
    lambda: Modes.from_samples(torch.ones(4, 3), shrinkage=1.1),
    lambda: Modes.from_samples(torch.ones(4, 3), taper=torch.ones(2, 2)),
    lambda: gaspari_cohn(torch.zeros(3), 0.0),
])  # fmt: skip
def test_what_is_no_covariance_is_refused(make):
    with pytest.raises(ValueError):
        make()
