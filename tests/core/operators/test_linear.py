"""Operators have true adjoints, compose, and conjugate gradients solve what they should."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ornstein.core.operators import LinearOperator, Matrix, conjugate_gradient

sizes = st.integers(1, 7)
dtypes = st.sampled_from([torch.float32, torch.complex64])


def random(*shape: int, dtype: torch.dtype = torch.complex64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@given(batch=sizes, m=sizes, n=sizes, k=sizes, dtype=dtypes, seed=st.integers(0, 1000))
def test_adjoints_of_all_combinations_match_their_forwards(assert_adjoint, batch, m, n, k, dtype, seed):
    a, b = Matrix(random(m, n, dtype=dtype, seed=seed)), Matrix(random(k, m, dtype=dtype, seed=seed + 1))
    factor = 2 - 3j if dtype.is_complex else -1.5
    assert_adjoint(a, (batch, n), (batch, m), dtype, seed=seed)
    assert_adjoint(a.H, (batch, m), (batch, n), dtype, seed=seed)
    assert_adjoint(factor * (b @ a), (batch, n), (batch, k), dtype, seed=seed)
    assert_adjoint((b @ a).H, (batch, k), (batch, n), dtype, seed=seed)


@given(m=sizes, n=sizes, k=sizes, dtype=dtypes)
def test_combinations_are_the_matrices_they_stand_for(m, n, k, dtype):
    a, b = random(m, n, dtype=dtype), random(k, m, dtype=dtype, seed=1)
    x = random(3, n, dtype=dtype, seed=2)
    both = 2.0 * (Matrix(b) @ Matrix(a))
    matrix = 2.0 * b @ a
    # 1e-5: float32 products of at most seven terms, taken in another order.
    torch.testing.assert_close(both.forward(x), x @ matrix.mT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(both.normal(x), x @ (matrix.mH @ matrix).mT, rtol=1e-4, atol=1e-4)


def test_adjoint_of_the_adjoint_is_the_operator_itself():
    a = Matrix(random(3, 2))
    assert a.H.H is a


def test_composition_uses_a_short_normal():
    @dataclass(frozen=True, eq=False)
    class Unitary(LinearOperator):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("the short way was not taken")

        def adjoint(self, y: Tensor) -> Tensor:
            raise AssertionError("the short way was not taken")

        def normal(self, x: Tensor) -> Tensor:
            return x

    a = Matrix(random(3, 2))
    x = random(4, 2)
    assert torch.equal((Unitary() @ a).normal(x), a.normal(x))


def test_operators_combine_with_operators_and_numbers_only():
    a = Matrix(random(3, 2))
    with pytest.raises(TypeError):
        a @ 2
    with pytest.raises(TypeError):
        "2" * a


@given(n=st.integers(1, 8), batch=st.integers(1, 4), dtype=st.sampled_from([torch.float64, torch.complex128]))
def test_conjugate_gradient_solves_in_as_many_steps_as_unknowns(n, batch, dtype):
    matrix = random(batch, n + 2, n, dtype=dtype)
    b = random(batch, n, dtype=dtype, seed=1)
    shift = torch.linspace(0.1, 2, batch, dtype=torch.float64)
    x = conjugate_gradient(Matrix(matrix).normal, b, iterations=n + 2, shift=shift)
    dense = matrix.mH @ matrix + shift[:, None, None] * torch.eye(n, dtype=dtype)
    # 1e-6: n + 2 steps in float64 at condition numbers up to some 1e3.
    torch.testing.assert_close(x, torch.linalg.solve(dense, b), rtol=1e-6, atol=1e-6)


def test_each_item_is_solved_as_if_it_were_alone():
    matrices = random(5, 12, 8) * torch.logspace(-2, 2, 5)[:, None, None]
    b = random(5, 8, seed=1)
    shift = torch.logspace(-3, 1, 5)
    for tolerance in (0.0, 1e-2):
        whole = conjugate_gradient(Matrix(matrices).normal, b, iterations=6, tolerance=tolerance, shift=shift)
        for i in range(5):
            alone = conjugate_gradient(
                Matrix(matrices[i : i + 1]).normal,
                b[i : i + 1],
                iterations=6,
                tolerance=tolerance,
                shift=shift[i : i + 1],
            )
            # Another number of items is another order of the same float32 sums.
            torch.testing.assert_close(whole[i], alone[0], rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


def test_tolerance_is_kept_and_stops_early():
    matrix = Matrix(random(2, 40, 30, dtype=torch.complex128))
    b = random(2, 30, dtype=torch.complex128, seed=1)
    calls = []

    def normal(x: Tensor) -> Tensor:
        calls.append(1)
        return matrix.normal(x)

    x = conjugate_gradient(normal, b, iterations=500, tolerance=1e-3, shift=1.0)
    residual = b - matrix.normal(x) - x
    assert len(calls) < 500
    assert (residual.norm(dim=1) <= 1.001e-3 * b.norm(dim=1)).all()


def test_start_at_the_solution_and_zero_right_side_stay_finite():
    matrix = Matrix(random(1, 6, 4, dtype=torch.complex128))
    x = random(1, 4, dtype=torch.complex128, seed=1)
    again = conjugate_gradient(matrix.normal, matrix.normal(x), x, iterations=10)
    torch.testing.assert_close(again, x, rtol=1e-9, atol=1e-9)
    nothing = conjugate_gradient(matrix.normal, torch.zeros_like(x), iterations=10)
    assert torch.equal(nothing, torch.zeros_like(x))


def test_start_is_used():
    matrix = Matrix(torch.diag(torch.tensor([1.0, 100.0, 1e4])))
    b = torch.ones(1, 3)
    solution = conjugate_gradient(matrix.normal, b, iterations=30)
    near = conjugate_gradient(matrix.normal, b, solution, iterations=0)
    assert torch.equal(near, solution)
