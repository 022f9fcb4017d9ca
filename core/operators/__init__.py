"""Operators of measurements, linear with their adjoints and not, and the solution of what they make."""

from ornstein.core.operators.fourier import Convolution, Fourier
from ornstein.core.operators.krylov import conjugate_gradient, eigen, gmres, inner
from ornstein.core.operators.linear import Adjoint, Composition, LinearOperator, Matrix, Multiple, Stack
from ornstein.core.operators.nonlinear import Nonlinear
from ornstein.core.operators.sampling import BlockMean, Mask, Select

__all__ = [
    "Adjoint",
    "BlockMean",
    "Composition",
    "Convolution",
    "Fourier",
    "LinearOperator",
    "Mask",
    "Matrix",
    "Multiple",
    "Nonlinear",
    "Select",
    "Stack",
    "conjugate_gradient",
    "eigen",
    "gmres",
    "inner",
]
