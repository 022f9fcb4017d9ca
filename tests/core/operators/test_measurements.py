"""Measurements have true adjoints, derivatives and inverses, and their Krylov solvers solve what they should."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ornstein.core.operators import (
    BlockMean,
    Convolution,
    Fourier,
    Mask,
    Matrix,
    Nonlinear,
    Select,
    Stack,
    conjugate_gradient,
    gmres,
)

dtypes = st.sampled_from([torch.float32, torch.complex64])
seeds = st.integers(0, 1000)


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@given(
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    factors=st.tuples(*[st.integers(1, 3)] * 2),
    dtype=dtypes,
    seed=seeds,
)
def test_adjoints_match_their_forwards(assert_adjoint, rows, columns, factors, dtype, seed):
    height, width = rows * factors[0], columns * factors[1]
    item, x = (height, width), (2, height, width)
    mask = random(*item, seed=seed) > 0
    areas = random(height, 1, seed=seed).abs() + 0.1
    blocks, mean = (2, rows, columns), BlockMean(factors, areas)
    kernel = random(*(side - 1 + side % 2 for side in item), dtype=dtype, seed=seed)
    stack = Stack((Select(mask), mean), ((int(mask.sum()),), (rows, columns)))
    assert_adjoint(Mask(mask), x, x, dtype, seed=seed)
    assert_adjoint(Select(mask), x, (2, int(mask.sum())), dtype, seed=seed)
    assert_adjoint(mean, x, blocks, dtype, seed=seed)
    assert_adjoint(BlockMean(factors), x, blocks, dtype, seed=seed)
    assert_adjoint(Convolution(kernel), x, x, dtype, seed=seed)
    assert_adjoint(Fourier(mask), x, x, torch.complex64, seed=seed)
    assert_adjoint(stack, x, (2, int(mask.sum()) + rows * columns), dtype, seed=seed)
    v = random(*x, dtype=dtype, seed=seed + 1)
    torch.testing.assert_close(stack.normal(v), stack.adjoint(stack.forward(v)), rtol=1e-4, atol=1e-5)


@given(dtype=dtypes, shift=st.floats(0.1, 10), seed=seeds)
def test_short_inverses_invert(dtype, shift, seed):
    mask = random(4, 6, seed=seed) > 0
    shifts = torch.tensor([shift, 2 * shift])
    b = random(2, 4, 6, dtype=dtype, seed=seed)
    for operator in (Mask(mask), Convolution(random(3, 5, dtype=dtype, seed=seed) / 4), Fourier(mask)):
        right = b.to(torch.complex64) if isinstance(operator, Fourier) else b
        x = operator.solve(right, shifts, 0)
        left = operator.normal(x) + shifts[:, None, None] * x
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_measurements_are_what_they_say():
    x = torch.arange(8.0).reshape(1, 2, 4)
    assert BlockMean((2, 2)).forward(x).tolist() == [[[2.5, 4.5]]]
    assert BlockMean((2, 1), torch.tensor([[3.0], [1.0]])).forward(x).tolist() == [[[1.0, 2.0, 3.0, 4.0]]]
    assert Select(x[0] > 5).forward(x).tolist() == [[6.0, 7.0]]
    shift = Convolution(torch.tensor([[0.0, 0.0, 1.0]]))  # from the left
    assert torch.allclose(shift.forward(x), x.roll(1, 2), atol=1e-6)
    whole = Fourier(torch.ones(2, 4, dtype=torch.bool))
    z = random(1, 2, 4, dtype=torch.complex64)
    torch.testing.assert_close(whole.adjoint(whole.forward(z)), z)
    assert abs(whole.forward(torch.ones(1, 2, 4, dtype=torch.complex64))[0, 1, 2] - 8**0.5) < 1e-6  # centred


@given(seed=seeds)
def test_derivative_of_a_nonlinear_measurement_is_its_jvp_and_vjp(assert_adjoint, seed):
    weights = random(3, 5, seed=seed)
    operator = Nonlinear(lambda x: torch.tanh(x @ weights.mT) ** 2)
    x, v = random(4, 5, seed=seed + 1), random(4, 5, seed=seed + 2)
    derivative = operator.linearise(x)
    step = 1e-6
    slope = (operator.forward(x + step * v) - operator.forward(x - step * v)) / (2 * step)
    torch.testing.assert_close(derivative.forward(v), slope, rtol=1e-6, atol=1e-8)  # the step's square
    assert_adjoint(derivative, (4, 5), (4, 3), torch.float64, tolerance=1e-12, seed=seed)
    linear = Matrix(weights)
    assert linear.linearise(x) is linear


@given(n=st.integers(1, 7), dtype=st.sampled_from([torch.float64, torch.complex128]), seed=seeds)
def test_gmres_solves_what_is_not_symmetric_each_item_by_itself(n, dtype, seed):
    matrix = Matrix(torch.eye(n, dtype=dtype) + 0.3 * random(3, n, n, dtype=dtype, seed=seed) / n**0.5)
    b = random(3, n, dtype=dtype, seed=seed + 1)
    b[0] = 0
    x = gmres(matrix.forward, b, iterations=n + 2)
    torch.testing.assert_close(matrix.forward(x), b, rtol=1e-8, atol=1e-8)
    few = gmres(matrix.forward, b, iterations=min(n, 2))
    alone = gmres(Matrix(matrix.matrix[1:2]).forward, b[1:2], iterations=min(n, 2))
    torch.testing.assert_close(few[1:2], alone, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", ["cg", "gmres"])
def test_preconditioner_makes_few_iterations_enough(solver):
    scales = torch.logspace(0, 6, 30, dtype=torch.float64)
    low = random(30, 2)
    matrix = Matrix(torch.diag(scales) + low @ low.mT)
    b = random(2, 30, seed=1)

    def error(preconditioner) -> float:
        if solver == "cg":
            x = conjugate_gradient(matrix.forward, b, iterations=6, preconditioner=preconditioner)
        else:
            x = gmres(matrix.forward, b, iterations=6, preconditioner=preconditioner)
        return float((matrix.forward(x) - b).norm() / b.norm())

    # Beside the identity a matrix of rank 2: three distinct eigenvalues, so that a few steps are exact.
    assert error(lambda r: r / scales) < 1e-8 < 1e-3 < error(None)
