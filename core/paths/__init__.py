"""Gaussian paths x_t = a(t) x0 + b(t) y + s(t) z: the coefficients, their log-SNR and what follows from them."""

from ornstein.core.paths.base import Coefficients, Path, expand, time
from ornstein.core.paths.standard import EDM, Cosine, RectifiedFlow, VarianceExploding, VariancePreserving

__all__ = [
    "EDM",
    "Coefficients",
    "Cosine",
    "Path",
    "RectifiedFlow",
    "VarianceExploding",
    "VariancePreserving",
    "expand",
    "time",
]
